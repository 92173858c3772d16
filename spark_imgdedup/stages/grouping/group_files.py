"""blocks, labels -> groups: the rows that hang together with others, as blocks of their own, group by group.

A block's "cluster" is a bin here: whole groups, in so many bins that a task takes one. A group that would hold up its
task has a bin to itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from spark_imgdedup.files import writing
from spark_imgdedup.files.block_reader import BlockReader
from spark_imgdedup.files.blocks import BlockIndex, Rows
from spark_imgdedup.stages.grouping.groups import sorted_groups
from spark_imgdedup.stages.partitions import number_of
from spark_imgdedup.stages.searching.blocks import Blocks
from spark_imgdedup.stages.searching.probes import WRITTEN, write_piles
from spark_imgdedup.stages.tasks import map_batches

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

GROUP = "group"
# Rows in a bin, about: at 512 numbers 32 MB, and a second of comparisons where all of them are one group.
BIN_ROWS = 16_384
_PLACED = f"file int, row bigint, {GROUP} bigint, bin int"


@dataclass(frozen=True)
class Extent:
    """How many groups there are, and how large.

    Attributes:
        n_rows: In all groups.
        n_groups: Of any size.
        largest: Rows of the largest.
        large: The labels of those with a bin to themselves, in order.
        n_small: Rows in the others.
    """

    n_rows: int
    n_groups: int
    largest: int
    large: tuple[int, ...]
    n_small: int


def extent_of(labels: DataFrame) -> Extent:
    """How many groups `labels` names, and how large; one Spark job.

    Args:
        labels: node (a row's position), label (the lowest node of its group), size, as `label_components` gives.
    """
    from pyspark.sql import functions as F

    is_large = F.col("size") > BIN_ROWS
    row = labels.agg(
        F.count("*").alias("rows"),
        F.count_if(F.col("node") == F.col("label")).alias("groups"),
        F.max("size").alias("largest"),
        F.collect_set(F.when(is_large, F.col("label"))).alias("large"),
        F.count_if(~is_large).alias("small"),
    ).collect()[0]
    large = tuple(sorted(row["large"]))
    return Extent(int(row["rows"]), int(row["groups"]), int(row["largest"] or 0), large, int(row["small"]))


def write_groups(blocks: Blocks, labels: DataFrame, extent: Extent, folder: str) -> BlockIndex:
    """Write the rows that `labels` names below `folder`, with the label of their group; one Spark job.

    Args:
        blocks: Where their vectors are.
        labels: node (a row's position), label, size, as `label_components` gives.
        extent: Of `labels`.
        folder: A URL that every worker reaches.
    """
    index, options = blocks.index, blocks.config.storage_options
    least = min(2 * number_of(blocks.spark.conf.get("spark.sql.shuffle.partitions")), 1 + extent.n_small // 256)
    n_small = max(-(-extent.n_small // BIN_ROWS), least)
    n_bins = n_small + len(extent.large)

    def write(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        with BlockReader(index, options) as reader:
            found = (rows for told in sorted_groups(batches, "file") for rows in _rows(reader, told.combine_chunks()))
            yield from write_piles(found, folder, index, n_bins, options)

    placed = _placed(labels, index, extent.large, n_small)
    n_tasks = max(1, len(index.names))
    # A number of our own: adaptive execution would merge these tasks by the bytes of the labels.
    by_file = placed.repartition(n_tasks, "file").sortWithinPartitions("file", "row")
    writing.make_folder(folder, options)
    counts = {row["name"]: row["counts"] for row in map_batches(by_file, write, WRITTEN).collect()}
    return BlockIndex.of(folder, counts, n_bins, index.dim, index.dtype)


def _placed(labels: DataFrame, index: BlockIndex, large: Sequence[int], n_small: int) -> DataFrame:
    """The file and the row there of each position, its group and its bin."""
    offsets, large_labels = index.offsets, np.array(large, np.int64)

    def place(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            position, label, size = (batch.column(name).to_numpy() for name in ("node", "label", "size"))
            file = np.searchsorted(offsets, position, side="right") - 1
            bins = _mixed(label) % np.uint64(n_small)
            if len(large_labels):
                is_large = size > BIN_ROWS
                bins[is_large] = n_small + np.searchsorted(large_labels, label[is_large])
            columns = [file.astype(np.int32), position - offsets[file], label, bins.astype(np.int32)]
            names = ["file", "row", GROUP, "bin"]
            yield pa.RecordBatch.from_arrays([pa.array(column) for column in columns], names=names)

    return map_batches(labels, place, _PLACED)


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """Numbers that neighbour each other, far apart: the low bits of a product by an odd constant are spread."""
    return (numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(33)


def _rows(reader: BlockReader, told: pa.Table) -> Iterator[Rows]:
    """The rows of one file that are named, row group by row group."""
    file, wanted = told["file"][0].as_py(), told["row"].to_numpy()
    passed = 0
    for thin, raw in reader.bands(file):
        low, high = np.searchsorted(wanted, [passed, passed + len(raw)])
        part = told.slice(low, high - low)
        places = wanted[low:high] - passed
        passed += len(raw)
        if len(places):
            chosen = thin.take(pa.array(places)).append_column(GROUP, part[GROUP])
            yield Rows(chosen, raw[places], part["bin"].to_numpy().astype(np.int64))
