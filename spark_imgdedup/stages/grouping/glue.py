"""blocks, near_hashes -> edges: which rows may count as one image, told by so few edges that they hang together.

What hangs together is a group. The rules look at all pairs of a group and at no others, so an edge too many costs
comparisons and decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spark_imgdedup.files.block_reader import BlockReader
from spark_imgdedup.files.blocks import POSITION
from spark_imgdedup.kernels.content import PLAIN_BYTES, plain_keys
from spark_imgdedup.stages.kept_columns import matrix, plain_names
from spark_imgdedup.stages.object_stores import jvm_path
from spark_imgdedup.stages.searching.blocks import Blocks
from spark_imgdedup.stages.searching.tiles import LINK
from spark_imgdedup.stages.tasks import map_tasks

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_EDGES = f"{LINK[0]} bigint, {LINK[1]} bigint"


def link_edges(blocks: Blocks, folder: str) -> DataFrame:
    """The edges that the tasks of a search wrote: one, other, positions of rows."""
    path = jvm_path(blocks.spark, folder, blocks.config.storage_options)
    return blocks.spark.read.schema(_EDGES).parquet(path)


def hash_edges(blocks: Blocks, near: DataFrame) -> DataFrame:
    """Edges between rows that share a perceptual hash, in any orientation, or have two that are near each other.

    And between plain pictures whose pixels may be nearly equal.

    Args:
        blocks: With the evidence of `config.searched_columns`.
        near: What `stages.detect.near_hashes` gives.
    """
    from pyspark.sql import functions as F

    values = _hash_values(blocks)
    first = values.groupBy("value").agg(F.min(POSITION).alias("first"))
    equal = values.join(first, "value").select(F.col(POSITION).alias(LINK[0]), F.col("first").alias(LINK[1]))
    a = first.select(F.col("value").alias("phash_a"), F.col("first").alias(LINK[0]))
    b = first.select(F.col("value").alias("phash_b"), F.col("first").alias(LINK[1]))
    edges = equal.unionByName(near.join(a, "phash_a").join(b, "phash_b").select(*LINK))
    return edges.where(F.col(LINK[0]) != F.col(LINK[1]))


def _hash_values(blocks: Blocks) -> DataFrame:
    """(value, position) of each row's own hash and of its views; of plain pictures, keys that near-equal ones share."""
    index, config = blocks.index, blocks.config
    names = plain_names(config.searched_columns)
    options = config.storage_options

    def read(numbers: Iterator[int]) -> Iterator[pa.RecordBatch]:
        with BlockReader(index, options) as reader:
            for file in numbers:
                thin = reader.thin(file, [names["phash"], names["phash_views"], names["plain_pixels"]])
                own, views, plain = (thin[name].combine_chunks() for name in list(thin.column_names)[:3])
                positions = thin[POSITION].combine_chunks()
                says, is_plain = pc.and_(pc.is_valid(own), pc.is_null(plain)), pc.is_valid(plain)
                yield from _batches(own.filter(says), views.filter(says), positions.filter(says).to_numpy())
                yield from _key_batches(plain.filter(is_plain), positions.filter(is_plain).to_numpy())

    return map_tasks(blocks.spark, len(index.names), read, f"value binary, {POSITION} bigint")


def _key_batches(plain: pa.Array, positions: np.ndarray) -> Iterator[pa.RecordBatch]:
    for column, keys in enumerate(plain_keys(matrix(plain, PLAIN_BYTES)).T if len(plain) else ()):
        values = [b"plain %d %d" % (column, key) for key in keys.tolist()]
        yield pa.RecordBatch.from_arrays(
            [pa.array(values, pa.binary()), pa.array(positions)], names=["value", POSITION]
        )


def _batches(own: pa.Array, views: pa.Array, positions: np.ndarray) -> Iterator[pa.RecordBatch]:
    if not len(own):
        return
    width = len(own[0].as_py())
    yield pa.RecordBatch.from_arrays([own, pa.array(positions)], names=["value", POSITION])
    parts = [(value, place) for value, place in zip(views.to_pylist(), positions.tolist(), strict=True) if value]
    cut = [(value[at : at + width], place) for value, place in parts for at in range(0, len(value), width)]
    if cut:
        values, places = zip(*cut, strict=True)
        yield pa.RecordBatch.from_arrays([pa.array(values, pa.binary()), pa.array(places)], names=["value", POSITION])
