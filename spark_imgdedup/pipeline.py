"""START HERE. The whole flow, top to bottom. A step reads tables, applies a stage, writes tables, and counts.

shards -> embeddings -> clusters -> similarities -> duplicates -> kept -> report
          embed         cluster     pairwise        identify      remove  report
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from spark_imgdedup import __version__, schemas
from spark_imgdedup.config import STEP_NAMES, Config, StepName
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.files import storage
from spark_imgdedup.files.publishing import is_published, output_path
from spark_imgdedup.models import recommended_eps
from spark_imgdedup.report import counts
from spark_imgdedup.report.summary import Summary, write_report
from spark_imgdedup.runs.dataset import require_sums, write_dataset
from spark_imgdedup.runs.progress import progress_lines
from spark_imgdedup.runs.resume import fingerprint, steps_before
from spark_imgdedup.runs.tables import TABLES_OF, StepRecord, Tables, require_unique_ids
from spark_imgdedup.stages.cluster import assign_clusters, fit_centroids
from spark_imgdedup.stages.embed import embed_images, embed_shards
from spark_imgdedup.stages.identify import identify_duplicates
from spark_imgdedup.stages.pairwise import score_pairs
from spark_imgdedup.stages.read import index_images, open_table, read_images
from spark_imgdedup.stages.remove import mark_removals, select_ids

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger(__name__)

Counts = dict[str, Any]

# Own embeddings have no measured preset; this removes near-identical rows only.
OWN_EMBEDDINGS_EPS = 0.01


def embed(tables: Tables, config: Config) -> Counts:
    """Decode every image of the input and give it an embedding."""
    if config.input.format == "webdataset":
        images = embed_shards(tables.spark, config)
    else:
        images = embed_images(read_images(tables.spark, config), config)
    embeddings = tables.write("embeddings", images)
    require_unique_ids(embeddings.where(schemas.IS_SAMPLE), "image_id")
    return counts.count_images(embeddings, config)


def cluster(tables: Tables, config: Config) -> Counts:
    """Group similar images, so that only images of one group need comparing."""
    embeddings = _embeddings(tables, config)
    centroids = tables.write_array("centroids", fit_centroids(embeddings, config), config.cluster.model_dump())
    clusters = tables.write("clusters", assign_clusters(embeddings, centroids, config))
    return counts.count_clusters(clusters)


def pairwise(tables: Tables, config: Config) -> Counts:
    """Find the better-ranked image that each image resembles most."""
    similarities = tables.write("similarities", score_pairs(tables.read("clusters"), config))
    return {"rows": similarities.count()}


def identify(tables: Tables, config: Config) -> Counts:
    """Call an image a duplicate when it resembles a better-ranked one closely enough."""
    duplicates = tables.write("duplicates", identify_duplicates(tables.read("similarities"), config))
    return {"eps": config.identify.eps, "duplicates": duplicates.count()}


def remove(tables: Tables, config: Config) -> Counts:
    """Copy the dataset without what identify, a filter or a list of ids names."""
    output_path(config)  # refused before any work, not after it
    ids = _ids_to_remove(tables, config)
    index = _index(tables, config)
    samples = index.where(schemas.IS_SAMPLE)
    found = counts.count_samples(index, ids)
    removed = tables.write("removed", mark_removals(samples, ids, config))
    n_damaged = found.pop("n_damaged_shards")
    found |= {"removed": counts.count_removed(removed), "output": config.output.path}
    found |= write_dataset(tables, samples, removed, config)
    require_sums(found, n_damaged=n_damaged)
    return found


Step = Callable[[Tables, Config], Counts]
STEPS: dict[str, Step] = {
    "embed": embed,
    "cluster": cluster,
    "pairwise": pairwise,
    "identify": identify,
    "remove": remove,
}


def run(
    config: Config, spark: SparkSession | None = None, *, steps: Sequence[StepName] | None = None, force: bool = False
) -> Summary:
    """Run steps in the order of the data, skip those whose settings and inputs are unchanged, and say what was done.

    Args:
        config: Every setting; `config.steps` unless `steps` is given.
        spark: A session; by default the active one, else a local one is started.
        steps: Only these.
        force: Run unchanged steps again.

    Raises:
        ImgDedupError: something the user can mend, in one line.
    """
    planned = plan_steps(config, steps)
    config = resolve_eps(config)
    if "remove" in planned:
        output_path(config)
    tables = Tables(spark, config)
    if planned != ["report"]:
        storage.write_bytes(storage.join(config.work_dir, "config.yaml"), counts.to_yaml(config).encode())
    for name in planned:
        if name != "report":
            _run_step(name, tables, config, planned, force=force)
    return write_report(tables, config, leave_out=idle_steps(config))


def plan_steps(config: Config, steps: Sequence[str] | None = None) -> list[StepName]:
    """The steps that a run takes, in the order of the data.

    Those asked for, or else those of `config.steps` that its other settings leave something to do for.

    Raises:
        ConfigError: a step asked for is unknown, or the configuration lacks its input.
    """
    unknown = [name for name in steps or () if name not in STEP_NAMES]
    if unknown:
        raise ConfigError(f"steps: there is no step {', '.join(unknown)}. The steps are {', '.join(STEP_NAMES)}.")
    idle = idle_steps(config)
    if steps:
        for name in steps:
            if name in idle and name != "embed":
                raise ConfigError(f"{name}: {idle[name]}")
        planned = [name for name in STEP_NAMES if name in steps]
    else:
        for name in config.steps:
            if name in idle:
                log.info("%s is left out: %s", name, idle[name])
        planned = [name for name in config.steps if name not in idle]
    if "embed" in planned and config.input.path is None:
        raise ConfigError(
            "input.path is not set. Name the folder of shards (--set input.path=data/), or set cluster.embeddings_path."
        )
    return planned


def idle_steps(config: Config) -> dict[str, str]:
    """The steps that have nothing to work on, and why."""
    idle: dict[str, str] = {}
    no_eps = "identify.eps is null. `spark-imgdedup eps` prints what each eps would remove; then --set identify.eps=…"
    if config.own_embeddings:
        idle["embed"] = f"cluster.embeddings_path is set, so the run starts from {config.cluster.embeddings_path}."
    if resolve_eps(config).identify.eps is None:
        idle["identify"] = no_eps
        if config.remove.ids_path is None:
            idle["remove"] = no_eps
    if config.input.path is None and config.own_embeddings:
        idle["remove"] = "input.path is not set, so there is no dataset to copy. The duplicates are in work_dir."
    return idle


def resolve_eps(config: Config) -> Config:
    """`config` with a number (or null) in place of identify.eps auto: the encoder's measured preset."""
    if config.identify.eps != "auto":
        return config
    eps = OWN_EMBEDDINGS_EPS if config.own_embeddings else recommended_eps(config.embed.model)
    return config.model_copy(update={"identify": config.identify.model_copy(update={"eps": eps})})


def _run_step(name: StepName, tables: Tables, config: Config, planned: Sequence[str], *, force: bool) -> None:
    step = STEPS[name]
    built_on = _built_on(name, tables, config)
    mark = fingerprint(name, config, built_on)
    earlier = tables.record(name)
    if not force and earlier is not None and earlier.fingerprint == mark and _is_complete(name, tables, config):
        log.info(
            "%s: unchanged since the last run, skipped (%s; --force runs it again)", name, counts.in_words(earlier)
        )
        return
    _warn_of_older(name, tables, config, planned)
    summary = (step.__doc__ or name).splitlines()[0]
    spark = tables.spark  # starting one is not the step's time
    log.info("%s: %s", name, summary)
    start = time.monotonic()
    with progress_lines(spark, name, summary):
        found = step(tables, config)
    record = StepRecord(name, mark, round(time.monotonic() - start, 3), found, built_on, __version__)
    tables.finish(record)
    log.info("%s: %s", name, counts.in_words(record))


def _built_on(name: str, tables: Tables, config: Config) -> dict[str, str]:
    """The fingerprints of the tables that a step is going to read."""
    before = [*steps_before(name, config), *(["embed"] if name == "remove" and _has_own_index(tables, config) else [])]
    records = {step: tables.record(step) for step in before}
    return {step: record.fingerprint for step, record in records.items() if record is not None}


def _warn_of_older(name: str, tables: Tables, config: Config, planned: Sequence[str]) -> None:
    """A step run alone reads what is there: say so where other settings made it."""
    for step in steps_before(name, config):
        record = tables.record(step)
        if record is not None and step not in planned:
            try:
                is_same = fingerprint(step, config, record.built_on) == record.fingerprint
            except ConfigError:  # the shards are gone, which the steps after embed need not mind
                continue
            if not is_same:
                log.warning(
                    "%s: the tables of %s were made with other settings or inputs; `spark-imgdedup run` renews them",
                    name,
                    step,
                )


def _is_complete(name: str, tables: Tables, config: Config) -> bool:
    is_there = all(storage.exists(tables.path(table)) for table in TABLES_OF[name])
    return is_there and (name != "remove" or is_published(config))


def _embeddings(tables: Tables, config: Config) -> DataFrame:
    path = config.cluster.embeddings_path
    if path is None:
        return tables.read("embeddings")
    embeddings = open_table(tables.spark, (path,))
    schemas.require(embeddings, {config.cluster.id_field: None, config.cluster.embedding_field: None}, stage="cluster")
    require_unique_ids(embeddings, config.cluster.id_field)
    return embeddings


def _index(tables: Tables, config: Config) -> DataFrame:
    """image_id, shard, key, rejected_because of every sample: from the embeddings, if they are of this very input."""
    if _has_own_index(tables, config):
        return tables.read("embeddings").select("image_id", "shard", "key", "rejected_because")
    index = tables.write("index", index_images(tables.spark, config))
    require_unique_ids(index.where(schemas.IS_SAMPLE), "image_id")
    return index


def _has_own_index(tables: Tables, config: Config) -> bool:
    record = tables.record("embed")
    return record is not None and tables.has("embeddings") and record.fingerprint == fingerprint("embed", config, {})


def _ids_to_remove(tables: Tables, config: Config) -> DataFrame:
    paths = config.remove.ids_path
    if paths is None:
        return select_ids(tables.read("duplicates"), config.id_column)
    return select_ids(open_table(tables.spark, (paths,) if isinstance(paths, str) else paths), config.remove.id_field)
