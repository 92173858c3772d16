"""START HERE. The whole flow, top to bottom. A step reads tables, applies a stage, writes tables, and counts.

shards -> embeddings -> scored -> copies  -> clusters -> similarities -> duplicates -> kept -> report
          embed         score     detect     cluster     pairwise        identify      remove  report

`score` and `detect` are taken where the settings ask for them; see `config.steps` for other orders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

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
from spark_imgdedup.errors import without_credentials
from spark_imgdedup.files import storage, writing
from spark_imgdedup.files.not_read import count_not_read
from spark_imgdedup.files.owning.publishing import output_path
from spark_imgdedup.files.owning.work_dir import claim
from spark_imgdedup.report.page.write import write_page
from spark_imgdedup.report.summarize import write_report
from spark_imgdedup.report.summary import Summary
from spark_imgdedup.runs import counting, leases, running
from spark_imgdedup.runs.current import has_hashes, is_current, require_current
from spark_imgdedup.runs.dataset import require_sums, write_dataset
from spark_imgdedup.runs.deletion import delete_rows, table_index
from spark_imgdedup.runs.display import show_log_in_notebooks
from spark_imgdedup.runs.engine import Work, run_step
from spark_imgdedup.runs.findings import find_duplicates
from spark_imgdedup.runs.groups import Stored
from spark_imgdedup.runs.listed import listed_once
from spark_imgdedup.runs.plan import idle_steps, plan_steps, require_inputs, resolve_eps, resolve_format, searched_eps
from spark_imgdedup.runs.preflight import require_ready
from spark_imgdedup.runs.preview import Preview, preview_run
from spark_imgdedup.runs.problems import errors_in_our_words
from spark_imgdedup.runs.progress import progress_of
from spark_imgdedup.runs.side_by_side import side_by_side
from spark_imgdedup.runs.sources import (
    all_embeddings,
    count_searched,
    ids_to_remove,
    require_planned_lists,
    sample_index,
    searched_images,
    write_pixels,
)
from spark_imgdedup.runs.staying import leave_staying
from spark_imgdedup.runs.tables import Tables
from spark_imgdedup.runs.undeletion import insert_brought_back
from spark_imgdedup.runs.vectors import LINKS, MARKS, PROBES, open_blocks, population_of, searched_vectors, store_blocks
from spark_imgdedup.runs.written import trace_input
from spark_imgdedup.stages.centroids import fit_source
from spark_imgdedup.stages.detect import group_exact
from spark_imgdedup.stages.near_hashes import near_hashes, search_recall
from spark_imgdedup.stages.preference import preference
from spark_imgdedup.stages.remove import mark_removals, select_ids
from spark_imgdedup.stages.score import check_filters, filters_of, score_images
from spark_imgdedup.stages.searching.blocks import read_clusters
from spark_imgdedup.stages.searching.search import Folders, search_blocks

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def embed(tables: Tables, config: Config) -> ImageCounts:
    """Decode every image of the input and give it an embedding."""
    return write_pixels("embed", tables, config)


def score(tables: Tables, config: Config) -> ScoreCounts:
    """Score every embedding, and mark the images that a filter rejects."""
    field = config.cluster.embedding_field if config.own_embeddings else "embedding"
    filters = filters_of(config.score, config.storage_options)
    embeddings, ours = all_embeddings(tables, config), not config.own_embeddings
    scored = tables.write("scored", score_images(embeddings, filters, embedding=field, one_length=ours))
    return counting.count_scored(scored, filters, config.id_column)


def hashes(tables: Tables, config: Config) -> ImageCounts:
    """Take the hashes of every image; on the way of `detect`, where the embeddings have none."""
    return write_pixels("hashes", tables, config)


def detect(tables: Tables, config: Config) -> DetectCounts:
    """Find exact copies by digests, and perceptual hashes that are near each other, without a model."""
    if not has_hashes("embed", tables, config):
        run_step("hashes", hashes, tables)
    images, counted = searched_images(tables, config), count_searched(tables, config)
    with side_by_side(tables.spark) as start:
        n_images = start(images.count if counted is None else lambda: counted)
        copies = start(lambda: _write_copies(images, tables, config))
        near = start(lambda: _write_near_hashes(images, tables, config))
    return DetectCounts(n_images.result(), **copies.result(), **near.result())


def _write_copies(images: DataFrame, tables: Tables, config: Config) -> dict[str, Any]:
    if "exact" not in config.detect.hashes:
        return {}
    copies = group_exact(images, order=preference(config, with_distances=False))
    tables.write("copies", copies)
    return {"copies": tables.count("copies")}


def _write_near_hashes(images: DataFrame, tables: Tables, config: Config) -> dict[str, Any]:
    if "phash" not in config.detect.hashes:
        return {}
    bits, radius = config.detect.phash_bits, config.detect.searched_radius
    records = (tables.record(step) for step in ("embed", "hashes"))
    n_images = max(record.counts.table_rows for record in records if record is not None)
    near = near_hashes(images, n_bits=bits, radius=radius, n_images=n_images)
    tables.write("near_hashes", near)
    return {"near_hashes": tables.count("near_hashes"), **search_recall(n_bits=bits, radius=radius)}


def cluster(tables: Tables, config: Config) -> ClusterCounts:
    """Group similar images, so that only images of one group need comparing."""
    source = searched_vectors(tables, config)
    population = population_of(tables, source, config)
    tables.expect_rows(population.n_rows)
    about = config.cluster.model_dump()
    centroids = tables.write_array("centroids", fit_source(source, population), about)
    blocks = store_blocks(tables, source, centroids, population)
    tables.write("clusters", read_clusters(source, blocks.index))
    storage.delete(tables.path(MARKS), config.storage_options)
    return counting.count_clusters(blocks)


def pairwise(tables: Tables, config: Config) -> PairwiseCounts:
    """Find the better-ranked image that each image resembles most."""
    blocks, sample = open_blocks(tables, config)
    storage.delete(tables.path(LINKS), config.storage_options)
    folders = Folders(probes=tables.path(PROBES), links=tables.path(LINKS))
    search = search_blocks(blocks, sample, searched_eps(config), folders)
    tables.write("similarities", search.similarities)
    storage.delete(tables.path(PROBES), config.storage_options)
    return counting.count_search(search, tables.count("similarities"))


def identify(tables: Tables, config: Config) -> IdentifyCounts:
    """Name the images that repeat another one, and for each of them one that stays."""
    found = find_duplicates(tables, config)
    duplicates = tables.write("duplicates", found.duplicates)
    Stored(tables).forget()
    return counting.count_duplicates(duplicates, found)


def remove(tables: Tables, config: Config) -> RemoveCounts:
    """Copy the dataset without what identify, a filter or a list of ids names."""
    output_path(config)  # refused before any work, not after it
    if config.deletes:
        insert_brought_back(tables, config)
    seen = trace_input(config) if config.deletes else None
    ids = ids_to_remove(tables, config)
    index = sample_index(tables, config) if seen is None else table_index(tables, seen, config)
    samples = index.where(schemas.IS_SAMPLE)
    may_be_gone = seen is not None and bool(seen.deletions)
    read = counting.count_samples(index, ids, config.remove.match_field, may_be_gone=may_be_gone)
    marked = mark_removals(samples, select_ids(ids, "image_id"), config)
    goes, stays = leave_staying(marked, samples, tables, config)
    leaving = tables.write("removed", goes)
    removed = counting.count_removed(leaving)
    counting.require_images(read.read, removed)
    check = partial(require_sums, read, removed)
    if seen is None:
        written = write_dataset(tables, samples, leaving, config, check)
    else:
        written = delete_rows(tables, seen, leaving, read.read, config)
        check(written)
    output = config.input.paths[0] if config.deletes else config.output.path
    counts = RemoveCounts.of(read, removed, output and without_credentials(output), written)
    stay_anyway = 0 if stays is None else stays.count()
    return replace(counts, not_read=count_not_read(config.input), stay_anyway=stay_anyway)


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


@listed_once()
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
        LeaseError: another run works in work_dir or in the output folder.
    """
    with errors_in_our_words():
        planned, tables, config = _prepare(config, spark, steps, force=force)
        with leases.held(planned, config), running.told(planned, config):
            if planned != ["report"]:
                claim(config, planned)
                place = storage.join(config.work_dir, "config.yaml")
                writing.write_bytes(place, counting.to_yaml(config).encode(), config.storage_options)
            for name in planned:
                if name != "report":
                    run_step(name, WORK[name], tables, force=force)
            with progress_of(tables, "report", STEP["report"].purpose):
                summary = write_report(tables, config, leave_out=idle_steps(config), compute="report" in planned)
                if "report" in planned:
                    write_page(tables, config)
            return summary


@listed_once()
def preview(
    config: Config, spark: SparkSession | None = None, *, steps: Sequence[StepName] | None = None, force: bool = False
) -> Preview:
    """What `run` with these arguments would read, do, write, replace and remove. Nothing is written.

    Raises:
        ImgDedupError: as `run` raises it before it takes a step.
    """
    with errors_in_our_words():
        planned, tables, config = _prepare(config, spark, steps, force=force, is_preview=True)
        return preview_run(planned, tables, config, force=force)


@listed_once()
def require_startable(config: Config, spark: SparkSession | None = None) -> list[StepName]:
    """What `run` with this configuration refuses before its first step; the steps it would not skip. Writes nothing.

    Raises:
        ImgDedupError: as `run` raises it.
    """
    with errors_in_our_words():
        planned, tables, config = _prepare(config, spark, None, force=False)
        return [name for name in planned if name == "report" or not is_current(name, tables, config)]


def _prepare(
    config: Config,
    spark: SparkSession | None,
    steps: Sequence[StepName] | None,
    *,
    force: bool,
    is_preview: bool = False,
) -> tuple[list[StepName], Tables, Config]:
    """The steps, the tables and the settings with numbers for `auto`.

    What cannot succeed is refused here, before anything is written and, but for tables with names, before Spark starts.
    """
    show_log_in_notebooks()
    config = resolve_format(config)
    planned = plan_steps(config, steps)
    config = resolve_eps(config)
    tables = Tables(spark, config, is_forced=force)
    require_ready(planned, tables, config, force=force)
    if not is_preview:
        leases.require_free(planned, config)
    if "remove" in planned:
        output_path(config)
    if "score" in planned:
        check_filters(config)
    require_planned_lists(planned, config)
    require_inputs(planned, tables, config)
    tables.require_writable(planned)
    for place, name in enumerate(planned):
        if name != "report" and not set(STEP[name].built_on(config)) & set(planned[:place]):
            require_current(name, tables, config)
    return planned, tables, config
