"""START HERE. The whole flow, top to bottom. A step reads tables, applies a stage, writes tables, and counts.

shards -> embeddings -> scored -> copies  -> clusters -> similarities -> duplicates -> kept -> report
          embed         score     detect     cluster     pairwise        identify      remove  report

`score` and `detect` are taken where the settings ask for them; see `config.steps` for other orders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from spark_imgdedup import schemas
from spark_imgdedup.config import Config, StepName
from spark_imgdedup.config.steps import STEP
from spark_imgdedup.counts import (
    ClusterCounts,
    DetectCounts,
    IdentifyCounts,
    ImageCounts,
    PairwiseCounts,
    RemoveCounts,
    ScoreCounts,
)
from spark_imgdedup.files import storage
from spark_imgdedup.files.publishing import output_path
from spark_imgdedup.report.summary import Summary, write_report
from spark_imgdedup.runs import counting
from spark_imgdedup.runs.current import has_hashes, require_current
from spark_imgdedup.runs.dataset import require_sums, write_dataset
from spark_imgdedup.runs.deletion import delete_rows, table_index
from spark_imgdedup.runs.engine import Work, run_step
from spark_imgdedup.runs.findings import find_duplicates
from spark_imgdedup.runs.groups import Stored
from spark_imgdedup.runs.object_stores import require_reachable
from spark_imgdedup.runs.plan import idle_steps, plan_steps, require_inputs, resolve_eps, searched_eps
from spark_imgdedup.runs.sources import (
    all_embeddings,
    ids_to_remove,
    read_pixels,
    sample_index,
    searched_images,
)
from spark_imgdedup.runs.tables import Tables, require_unique_ids
from spark_imgdedup.runs.vectors import LINKS, PROBES, open_blocks, searched_vectors, store_blocks
from spark_imgdedup.runs.written import trace_input
from spark_imgdedup.stages.blocks import read_clusters
from spark_imgdedup.stages.centroids import fit_source, measure
from spark_imgdedup.stages.detect import group_exact, near_hashes, search_recall
from spark_imgdedup.stages.preference import preference
from spark_imgdedup.stages.remove import mark_removals, select_ids
from spark_imgdedup.stages.score import check_filters, filters_of, score_images
from spark_imgdedup.stages.search import Folders, search_blocks

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def embed(tables: Tables, config: Config) -> ImageCounts:
    """Decode every image of the input and give it an embedding."""
    embeddings = tables.write("embeddings", read_pixels(tables, config, with_model=True))
    require_unique_ids(embeddings.where(schemas.IS_SAMPLE), "image_id")
    return counting.count_images(embeddings, config)


def score(tables: Tables, config: Config) -> ScoreCounts:
    """Score every embedding, and mark the images that a filter rejects."""
    field = config.cluster.embedding_field if config.own_embeddings else "embedding"
    filters = filters_of(config.score, config.storage_options)
    scored = tables.write("scored", score_images(all_embeddings(tables, config), filters, embedding=field))
    return counting.count_scored(scored, filters)


def hashes(tables: Tables, config: Config) -> ImageCounts:
    """Take the hashes of every image; on the way of `detect`, where the embeddings have none."""
    hashed = tables.write("hashes", read_pixels(tables, config, with_model=False))
    require_unique_ids(hashed.where(schemas.IS_SAMPLE), "image_id")
    return counting.count_images(hashed, config)


def detect(tables: Tables, config: Config) -> DetectCounts:
    """Find exact copies by digests, and perceptual hashes that are near each other, without a model."""
    if not has_hashes("embed", tables, config):
        run_step("hashes", hashes, tables)
    images = searched_images(tables, config)
    found = DetectCounts(images.count())
    if "exact" in config.detect.hashes:
        copies = group_exact(images, order=preference(config, with_distances=False))
        found = replace(found, copies=tables.write("copies", copies).count())
    if "phash" in config.detect.hashes:
        bits, radius = config.detect.phash_bits, config.detect.searched_radius
        near = near_hashes(images, n_bits=bits, radius=radius)
        recall = search_recall(n_bits=bits, radius=radius)
        found = replace(found, near_hashes=tables.write("near_hashes", near).count(), **recall)
    return found


def cluster(tables: Tables, config: Config) -> ClusterCounts:
    """Group similar images, so that only images of one group need comparing."""
    source = searched_vectors(tables, config)
    population = measure(source)
    about = config.cluster.model_dump()
    centroids = tables.write_array("centroids", fit_source(source, population), about)
    blocks = store_blocks(tables, source, centroids, population)
    tables.write("clusters", read_clusters(source, blocks.index))
    return counting.count_clusters(blocks)


def pairwise(tables: Tables, config: Config) -> PairwiseCounts:
    """Find the better-ranked image that each image resembles most."""
    blocks, sample = open_blocks(tables, config)
    storage.delete(tables.path(LINKS), config.storage_options)
    folders = Folders(probes=tables.path(PROBES), links=tables.path(LINKS))
    search = search_blocks(blocks, sample, searched_eps(config), folders)
    n_rows = tables.write("similarities", search.similarities).count()
    storage.delete(tables.path(PROBES), config.storage_options)
    return counting.count_search(search, n_rows)


def identify(tables: Tables, config: Config) -> IdentifyCounts:
    """Name the images that repeat another one, and for each of them one that stays."""
    found = find_duplicates(tables, config)
    duplicates = tables.write("duplicates", found.duplicates)
    Stored(tables).forget()
    return counting.count_duplicates(duplicates, found)


def remove(tables: Tables, config: Config) -> RemoveCounts:
    """Copy the dataset without what identify, a filter or a list of ids names."""
    output_path(config)  # refused before any work, not after it
    seen = trace_input(config) if config.deletes else None
    ids = ids_to_remove(tables, config)
    index = sample_index(tables, config) if seen is None else table_index(tables, seen, config)
    samples = index.where(schemas.IS_SAMPLE)
    may_be_gone = seen is not None and bool(seen.deletions)
    read = counting.count_samples(index, ids, config.remove.match_field, may_be_gone=may_be_gone)
    leaving = tables.write("removed", mark_removals(samples, select_ids(ids, "image_id"), config))
    removed = counting.count_removed(leaving)
    counting.require_images(read.read, removed)
    check = partial(require_sums, read, removed)
    if seen is None:
        written = write_dataset(tables, samples, leaving, config, check)
    else:
        written = delete_rows(tables, seen, leaving, read.read, config)
        check(written)
    return RemoveCounts.of(read, removed, config.input.paths[0] if config.deletes else config.output.path, written)


# What each step of `config.steps` does.
WORK: dict[StepName, Work] = {
    "embed": embed,
    "score": score,
    "detect": detect,
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
    require_reachable(config)
    if "remove" in planned:
        output_path(config)
    if "score" in planned:
        check_filters(config)
    tables = Tables(spark, config)
    require_inputs(planned, tables, config)
    tables.require_writable(planned)
    for place, name in enumerate(planned):
        if name != "report" and not set(STEP[name].built_on(config)) & set(planned[:place]):
            require_current(name, tables, config)  # refused before anything is written
    if planned != ["report"]:
        storage.write_bytes(
            storage.join(config.work_dir, "config.yaml"), counting.to_yaml(config).encode(), config.storage_options
        )
    for name in planned:
        if name != "report":
            run_step(name, WORK[name], tables, force=force)
    return write_report(tables, config, leave_out=idle_steps(config), compute="report" in planned)
