"""Whether `run` would start with these settings: it is asked what it would refuse, and the model is loaded."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from spark_imgdedup.checkup.check import Check
from spark_imgdedup.config import Config
from spark_imgdedup.files.reach import without
from spark_imgdedup.models import EncoderSettings, cached_encoder
from spark_imgdedup.models.scorers import cached_pixel_scorer
from spark_imgdedup.pipeline import require_startable
from spark_imgdedup.runs.plan import idle_steps
from spark_imgdedup.runs.problems import in_one_line
from spark_imgdedup.runs.session import needs_delta

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DELTA_EXTENSION, DELTA_CATALOG = "io.delta.sql.DeltaSparkSessionExtension", "DeltaCatalog"


def names_input(config: Config) -> bool:
    """False for settings that no run could start from; libraries can be looked for all the same."""
    return config.input.path is not None or config.own_embeddings


def check_start(config: Config, spark: SparkSession | None) -> Iterator[Check]:
    """What `run` asks before its first step, all of it: the steps, the places and whose they are, libraries, leases.

    Also the model, where it would be loaded: an embed that is done already needs none.
    """
    to_do: list[str] = [step for step in config.steps if step not in idle_steps(config)]
    if names_input(config):
        found: list[str] = []

        def attempt() -> str:
            found.extend(require_startable(config, spark))
            return f"would take {', '.join(found)}"

        remedy = "what the line says; `run --dry-run` says what would be read and written"
        check = _tried("run", attempt, "asked what it would refuse", remedy, config)
        to_do = found if check.is_ok else to_do
        yield check
    takes_model = config.detect.method == "embedding" or not config.score.is_idle
    if "embed" in to_do and takes_model:
        yield _model(config, spark)


def _model(config: Config, spark: SparkSession | None) -> Check:
    """Load the encoder and the scorers of pixels where the work is done: they may be missing, damaged, or too large."""
    settings = EncoderSettings(
        model=config.embed.model,
        model_dir=config.embed.model_dir,
        device="cpu",
        precision="fp32",
        preprocess=config.embed.preprocess,
        storage_options=config.storage_options,
    )
    specs = config.embed.pixel_scorers

    def load() -> str:
        encoder = cached_encoder(settings)
        for spec in specs:
            cached_pixel_scorer(spec, 1, "cpu")
        return f"{encoder.name}, vectors of {encoder.dim} numbers" + "".join(f", {spec}" for spec in specs)

    remedy = "`spark-imgdedup fetch-model` fills embed.model_dir where a cluster has no way to a model hub"
    attempt = load if spark is None else lambda: _on_worker(spark, load)
    return _tried("model", attempt, "embed loads it", remedy, config)


def _on_worker(spark: SparkSession, attempt: Callable[[], str]) -> str:
    import pyarrow as pa

    def run(batches: Iterable[Any]) -> Iterable[Any]:
        for _ in batches:
            yield pa.RecordBatch.from_pydict({"found": [json.dumps(attempt())]})

    return str(json.loads(spark.range(0, 1, 1, 1).mapInArrow(run, "found string").collect()[0]["found"]))


def check_delta(config: Config, spark: SparkSession | None) -> Iterator[Check]:
    """Whether the session has Delta, where a place is a Delta table or becomes one."""
    if spark is None or not needs_delta(config):
        return

    def attempt() -> str:
        extensions = spark.conf.get("spark.sql.extensions", "") or ""
        catalog = spark.conf.get("spark.sql.catalog.spark_catalog", "") or ""
        is_databricks = "DATABRICKS_RUNTIME_VERSION" in os.environ
        if not is_databricks and (DELTA_EXTENSION not in extensions or DELTA_CATALOG not in catalog):
            raise LookupError("the session was started without Delta's extension and catalog")
        try:
            _ = spark.read.format("delta").load("/no/such/delta/table").schema
        except Exception as error:
            # That there is no such table is Delta's own answer.
            if "DELTA_" not in str(error) and "PATH_NOT_FOUND" not in str(error):
                raise
        return "the session has it"

    remedy = "start Spark with its package, extension and catalog: see docs/guide-delta.md"
    yield _tried("delta in Spark", attempt, "tables of this run are Delta", remedy, config)


def _tried(name: str, attempt: Callable[[], str], why: str, remedy: str, config: Config) -> Check:
    try:
        return Check(name, True, attempt(), why, remedy, True)
    except Exception as error:  # of Java, of any library and storage
        said = without(without(in_one_line(error), config.storage_options), config.input.storage_options)
        said = without(said, config.output.storage_options)
        return Check(name, False, "; ".join(said.splitlines()), why, remedy, True)
