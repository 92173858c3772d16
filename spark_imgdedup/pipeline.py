"""START HERE. The whole flow, top to bottom. A step reads tables, applies a stage, writes tables, and counts.

shards -> embeddings -> clusters -> similarities -> duplicates -> kept -> report
          embed         cluster     pairwise        identify      remove  report
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spark_imgdedup import schemas
from spark_imgdedup.config import Config, StepName
from spark_imgdedup.files import storage
from spark_imgdedup.files.publishing import output_path
from spark_imgdedup.report.summary import Summary, write_report
from spark_imgdedup.runs import counts
from spark_imgdedup.runs.dataset import require_sums, write_dataset
from spark_imgdedup.runs.engine import Counts, Step, has_index, run_step
from spark_imgdedup.runs.plan import idle_steps, plan_steps, resolve_eps
from spark_imgdedup.runs.tables import Tables, require_unique_ids
from spark_imgdedup.stages.cluster import assign_clusters, fit_centroids
from spark_imgdedup.stages.embed import embed_images, embed_shards
from spark_imgdedup.stages.identify import identify_duplicates
from spark_imgdedup.stages.pairwise import score_pairs
from spark_imgdedup.stages.read import index_images, open_table, read_images
from spark_imgdedup.stages.remove import mark_removals, select_ids

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


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
            run_step(name, STEPS[name], tables, planned, force=force)
    return write_report(tables, config, leave_out=idle_steps(config))


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
    if has_index(tables, config):
        return tables.read("embeddings").select("image_id", "shard", "key", "rejected_because")
    index = tables.write("index", index_images(tables.spark, config))
    require_unique_ids(index.where(schemas.IS_SAMPLE), "image_id")
    return index


def _ids_to_remove(tables: Tables, config: Config) -> DataFrame:
    paths = config.remove.ids_path
    if paths is None:
        return select_ids(tables.read("duplicates"), config.id_column)
    return select_ids(open_table(tables.spark, (paths,) if isinstance(paths, str) else paths), config.remove.id_field)
