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
from spark_imgdedup.config import Config, IdentifyConfig, StepName
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.files import storage
from spark_imgdedup.files.publishing import is_published, output_path
from spark_imgdedup.models import recommended_eps
from spark_imgdedup.report import counts
from spark_imgdedup.report.summary import Summary, write_report
from spark_imgdedup.runs.dataset import require_sums, write_dataset
from spark_imgdedup.runs.progress import progress_lines
from spark_imgdedup.runs.resume import fingerprint
from spark_imgdedup.runs.tables import StepRecord, Tables, require_unique_ids
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
    index = _index(tables, config)
    samples = index.where(schemas.IS_SAMPLE)
    ids = _ids_to_remove(tables, config)
    removed = tables.write("removed", mark_removals(samples, ids, config))
    found = counts.count_removals(samples, ids, removed) | write_dataset(tables, samples, removed, config)
    require_sums(found, n_damaged=index.where(f"not {schemas.IS_SAMPLE}").count())
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
    from spark_imgdedup.runs.session import get_session

    planned = plan_steps(config, steps)
    config = resolve_eps(config)
    if "remove" in planned:
        output_path(config)
    tables = Tables(spark or get_session(config), config)
    storage.write_bytes(storage.join(config.work_dir, "config.yaml"), counts.to_yaml(config).encode())
    for name in planned:
        if name != "report":
            _run_step(name, tables, config, force=force)
    return write_report(tables, config)


def plan_steps(config: Config, steps: Sequence[StepName] | None = None) -> list[StepName]:
    """The steps that a run takes: those asked for, less what its settings leave nothing to do for.

    Raises:
        ConfigError: a step was named for which the configuration lacks an input.
    """
    planned = list(steps or config.steps)
    if steps is None and config.own_embeddings:
        planned = [name for name in planned if name != "embed" and (name != "remove" or config.input.path is not None)]
        log.info("starting from the embeddings in %s", config.cluster.embeddings_path)
    if steps is None and resolve_eps(config).identify.eps is None and "identify" in planned:
        planned = [name for name in planned if name not in ("identify", "remove")]
        log.info(
            "identify.eps is null: stopping after similarities. `spark-imgdedup eps` prints what each eps would remove."
        )
    if "embed" in planned and config.input.path is None:
        raise ConfigError(
            "input.path is not set. Name the folder of shards (--set input.path=data/), or set cluster.embeddings_path."
        )
    return planned


def resolve_eps(config: Config) -> Config:
    """`config` with a number (or null) in place of identify.eps auto: the encoder's measured preset."""
    if config.identify.eps != "auto":
        return config
    eps = OWN_EMBEDDINGS_EPS if config.own_embeddings else recommended_eps(config.embed.model)
    return config.model_copy(update={"identify": IdentifyConfig(eps=eps, rule=config.identify.rule)})


def _run_step(name: StepName, tables: Tables, config: Config, *, force: bool) -> None:
    step = STEPS[name]
    summary = (step.__doc__ or name).splitlines()[0]
    mark = fingerprint(name, config)
    earlier = tables.record(name)
    if not force and earlier is not None and earlier.fingerprint == mark and _is_complete(name, tables, config):
        log.info(
            "%s: unchanged since the last run, skipped (%s; --force runs it again)", name, counts.in_words(earlier)
        )
        return
    log.info("%s: %s", name, summary)
    tables.begin(name)
    start = time.monotonic()
    with progress_lines(tables.spark, name, summary):
        found = step(tables, config)
    record = StepRecord(name, mark, round(time.monotonic() - start, 3), found, __version__)
    tables.finish(record)
    log.info("%s: %s", name, counts.in_words(record))


def _is_complete(name: StepName, tables: Tables, config: Config) -> bool:
    own = {
        "embed": ("embeddings",),
        "cluster": ("centroids", "clusters"),
        "pairwise": ("similarities",),
        "identify": ("duplicates",),
    }
    return is_published(config) if name == "remove" else all(storage.exists(tables.path(table)) for table in own[name])


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
    record = tables.record("embed")
    if record is not None and record.fingerprint == fingerprint("embed", config) and tables.has("embeddings"):
        index = tables.read("embeddings").select("image_id", "shard", "key", "rejected_because")
    else:
        index = tables.write("index", index_images(tables.spark, config))
        require_unique_ids(index.where(schemas.IS_SAMPLE), "image_id")
    return index


def _ids_to_remove(tables: Tables, config: Config) -> DataFrame:
    paths = config.remove.ids_path
    if paths is None:
        return select_ids(tables.read("duplicates"), config.id_column)
    return select_ids(open_table(tables.spark, (paths,) if isinstance(paths, str) else paths), config.remove.id_field)
