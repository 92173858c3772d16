"""blocks -> similarities: choose where rows are compared, measure what that finds, and compare them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spark_imgdedup.kernels.packing import MIN_TASK_PAIRS, Tile, all_tiles, count_pairs, home_tiles, pack
from spark_imgdedup.stages.identify import similarity_threshold
from spark_imgdedup.stages.partitions import number_of
from spark_imgdedup.stages.searching.blocks import Blocks, Sample
from spark_imgdedup.stages.searching.choice import choose_plan
from spark_imgdedup.stages.searching.probes import Plan, write_copies
from spark_imgdedup.stages.searching.survey import Recall, halves, measure_recall, near_pairs
from spark_imgdedup.stages.searching.tiles import LinkFiles, score_tiles

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

log = logging.getLogger(__name__)

# Bytes of float32 vectors on one side of a tile.
SIDE_BYTES = 64 * 2**20
# Tasks for each partition of a shuffle: enough that the last ones to end keep all cores busy.
TASKS_PER_PARTITION = 4


@dataclass(frozen=True)
class Folders:
    """URLs that every worker reaches.

    Attributes:
        probes: For rows compared in other clusters than their home; they must stay until `similarities` is stored.
        links: For what hangs together by pairs within eps; empty at first, whole once `similarities` is stored.
    """

    probes: str
    links: str


@dataclass(frozen=True)
class Search:
    """What a search is, and what it finds.

    Attributes:
        similarities: One row per image, as `stages.pairwise.score_pairs` gives.
        plan: Where rows are compared.
        why: What chose it, in words.
        eps: What it was made for.
        for_any_eps: Whether it would be the same for another eps.
        n_rows: Rows of `similarities`.
        n_pairs: Comparisons.
        recall: The share of the pairs within eps that it compares.
    """

    similarities: DataFrame
    plan: Plan
    why: str
    eps: float
    for_any_eps: bool
    n_rows: int
    n_pairs: int
    recall: Recall


def search_blocks(blocks: Blocks, sample: Sample, eps: float, folders: Folders) -> Search:
    """Compare the rows of the blocks as `pairwise.probes` says. Runs Spark jobs, but not the last one.

    Args:
        blocks: What is searched.
        sample: Rows of it.
        eps: What the search is for.
        folders: For what tasks write by themselves.
    """
    sizes = blocks.index.sizes
    plan, why, recall = _plan(blocks, sample, eps)
    copies = write_copies(blocks, plan, eps, folders.probes) if plan.copies else None
    guests = None if copies is None else copies.sizes
    n_rows = int(sizes.sum())
    n_pairs = n_rows * (n_rows - 1) // 2 if plan.probes == "all" else count_pairs(sizes, guests)
    n_tasks = TASKS_PER_PARTITION * number_of(blocks.spark.conf.get("spark.sql.shuffle.partitions"))
    max_rows, max_pairs = max(1, SIDE_BYTES // (4 * blocks.index.dim)), max(n_pairs / n_tasks, MIN_TASK_PAIRS)
    if plan.probes == "all":
        tiles = list(all_tiles(n_rows, len(sizes), max_rows=max_rows, max_pairs=max_pairs))
    else:
        tiles = list(home_tiles(sizes, guests, max_rows=max_rows, max_pairs=max_pairs))
    tasks = pack(tiles, n_tasks)
    log.info("pairwise: %s, %s comparisons in %d tiles: %s", plan, f"{n_pairs:,}", len(tiles), why)
    links = LinkFiles(folders.links, similarity_threshold(eps), blocks.config.storage_options)
    links.write(len(tasks), [])  # also where nothing is compared there is a file, and a schema
    similarities = score_tiles(blocks, copies, tasks, links, merges=_overlap(tiles))
    for_any_eps = recall.rows == 0 or blocks.config.pairwise.probes not in ("auto", "margin")
    return Search(similarities, plan, why, eps, for_any_eps, n_rows, n_pairs, recall)


def _plan(blocks: Blocks, sample: Sample, eps: float) -> tuple[Plan, str, Recall]:
    """What is compared, why, and what that finds."""
    pairwise, report = blocks.config.pairwise, blocks.config.report
    whole = Recall(1.0, 1.0, 1.0, 0, 0)
    if np.count_nonzero(blocks.index.sizes) <= 1:
        return Plan("home"), "there is one cluster, so every pair is compared", whole
    if pairwise.probes == "all":
        return Plan("all"), "every pair is compared", whole
    looked_at = sample.first(report.recall_sample)
    pairs = near_pairs(blocks, looked_at, eps)
    if pairwise.probes != "auto":
        plan = _fixed_plan(pairwise.probes, pairwise.probe_margin)
        return plan, f"pairwise.probes is {pairwise.probes}", measure_recall(pairs, plan, len(looked_at))
    judged, measured = halves(pairs)
    choice = choose_plan(blocks, looked_at, judged, eps)
    return choice.plan, choice.why, measure_recall(measured, choice.plan, len(looked_at) // 2)


def _fixed_plan(probes: int | str, alpha: float) -> Plan:
    if isinstance(probes, int):
        return Plan("nearest", n_nearest=probes)
    return Plan("margin", alpha=alpha) if probes == "margin" else Plan("home")


def _overlap(tiles: list[Tile]) -> bool:
    """Whether a row may be in several tiles: a cluster is cut, or has copies."""
    return any(tile.others is not None or not tile.within for tile in tiles)
