"""Asked before Spark starts and before anything is written: what can be known of a run that cannot succeed.

`spark-imgdedup doctor` asks more, since it may: it starts Spark, imports each library, and writes to each place.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

from spark_imgdedup.config import Config
from spark_imgdedup.config.steps import STEP
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.files import storage
from spark_imgdedup.files.reach import obstacle
from spark_imgdedup.models import require_known
from spark_imgdedup.models.scorers import pixel_scorer_name
from spark_imgdedup.runs.current import is_current
from spark_imgdedup.runs.libraries import LIBRARIES
from spark_imgdedup.runs.object_stores import require_reachable
from spark_imgdedup.runs.session import STARTED_ELSEWHERE, active_session

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from spark_imgdedup.runs.tables import Tables

MASTER = re.compile(r"local(-cluster)?(\[.+\])?|yarn(-client|-cluster)?|(spark|k8s|mesos)://.+")

IsToDo = Callable[[str], bool]


def require_ready(planned: Sequence[str], tables: Tables, config: Config, *, force: bool = False) -> None:
    """Look for what the steps need: places to read and write, models, libraries, a master.

    Nothing is asked for a step that will be skipped: a folder of embeddings that are done needs no model, and their
    input may be gone.

    Raises:
        ConfigError: with a line for each thing that is wrong.
        ModelError: there is no such encoder or scorer.
    """

    def is_to_do(step: str) -> bool:
        return step in planned and (force or not is_current(step, tables, config))

    spark = tables.session or active_session()
    require_reachable(config)
    _refuse([*_master(config, spark), *_not_writable("work_dir", config.work_dir)])
    problems = [*_sources(config, is_to_do), *_targets(config, is_to_do)]
    is_here = runs_here(config, spark)
    if is_here:
        problems += _libraries(config, is_to_do, has_session=spark is not None)
    _refuse(problems)
    if is_here and is_to_do("embed"):
        _require_models(config)
    elif "embed" in planned and ":" not in config.embed.model:
        require_known(config.embed.model)  # the rest of it is for the workers to know


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        raise ConfigError("\n".join(dict.fromkeys(problems)))


def runs_here(config: Config, spark: SparkSession | None) -> bool:
    """True where tasks run on this machine in this Python, so that what it lacks is missing."""
    if spark is not None:
        master = spark.conf.get("spark.master", None) or ""
    elif any(name in os.environ for name in STARTED_ELSEWHERE) or "spark.remote" in config.spark:
        return False
    else:
        master = config.spark.get("spark.master", "local")
    python = shutil.which(os.environ.get("PYSPARK_PYTHON") or sys.executable)
    return re.fullmatch(r"local(\[.*\])?", master) is not None and python == shutil.which(sys.executable)


def _master(config: Config, spark: SparkSession | None) -> Iterator[str]:
    master = config.spark.get("spark.master")
    if master is not None and not MASTER.fullmatch(master) and spark is None:
        yield (
            f"spark.master: '{master}' is no master. Name local[N], spark://host:port, yarn or k8s://…, or leave it "
            "out for this machine."
        )


def _sources(config: Config, is_to_do: IsToDo) -> Iterator[str]:
    """What is read must be there; where all of it is gone, the steps that read it may be done."""
    given, ours = config.input, config.storage_options
    if given.path is not None:
        if given.format == "table":  # a tar or an image that two of the paths name is read once
            yield from _overlaps("input.path", given.paths)
        yield from _missing("input.path", given.paths, given.storage_options, lambda: _any("input", is_to_do))
    if (own := config.cluster.embeddings_path) is not None:
        yield from _missing("cluster.embeddings_path", (own,), ours, lambda: _any("own_embeddings", is_to_do))
    for name, paths, source in (
        ("remove.ids_path", config.remove.paths, "ids"),
        ("remove.never", config.remove.never_paths, "never"),
    ):
        yield from _missing(name, paths, ours, lambda source=source: _any(source, is_to_do))  # type: ignore[misc]


def _any(source: str, is_to_do: IsToDo) -> bool:
    return any(is_to_do(step.made_by or name) for name, step in STEP.items() if source in step.sources)


def _missing(name: str, paths: Sequence[str], options: Mapping[str, Any], is_read: Callable[[], bool]) -> Iterator[str]:
    gone = [path for path in paths if not storage.exists(path, options) and not storage.is_glob(path)]
    if gone and (len(gone) < len(paths) or is_read()):
        yield f"{name}: there is nothing at {', '.join(gone)}. Correct the path, or leave it out."


def _overlaps(name: str, paths: Sequence[str]) -> Iterator[str]:
    for one, other in combinations([path for path in paths if not storage.is_glob(path)], 2):
        inner, outer = (one, other) if storage.is_within(one, other) else (other, one)
        if storage.is_within(inner, outer):
            yield f"{name}: {inner} lies within {outer}, so its rows would be read twice. Leave one of them out."


def _targets(config: Config, is_to_do: IsToDo) -> Iterator[str]:
    if config.output.path is not None and not config.deletes and is_to_do("remove"):
        yield from _not_writable("output.path", config.output.path)


def _not_writable(name: str, path: str) -> Iterator[str]:
    """Of a local folder, or of the nearest one above it that is there. What a store allows is known by trying."""
    found = obstacle(storage.canonical(path))
    if found is None:
        return
    folder, what = found
    if what == "not writable":
        yield f"{name}: {folder} cannot be written to. Mount it for writing, ask for the right, or name another place."
    else:
        yield f"{name}: {folder} is {what}, where a folder is needed. Name another place."


def _libraries(config: Config, is_to_do: IsToDo, *, has_session: bool) -> Iterator[str]:
    for library in LIBRARIES:
        if library.module == "delta" and has_session:  # it may have Delta without Python's part
            continue
        is_missing = library.is_needed(config) and importlib.util.find_spec(library.module) is None
        if is_missing and any(is_to_do(step) for step in library.steps):
            yield f"{library.module} is not installed ({library.why}). Run `{library.remedy}`."


def _require_models(config: Config) -> None:
    if config.detect.method == "embedding" or not config.score.is_idle:
        require_known(config.embed.model)
        if config.embed.preprocess is None and config.embed.model.startswith(("onnx:", "torchscript:")):
            raise ConfigError(
                f"embed.preprocess: '{config.embed.model}' needs it, since such a file does not say how to resize and "
                "scale. Set its size, layout, dtype, mean, std, resize and interpolation."
            )
    for spec in config.embed.pixel_scorers:
        pixel_scorer_name(spec)
