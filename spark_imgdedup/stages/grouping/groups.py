"""All rows of one value of a column, as one Arrow table, in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from spark_imgdedup.stages.tasks import map_batches

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import StructType

GroupWork = Callable[[pa.Table], pa.Table]


def map_groups(df: DataFrame, key: str, work: GroupWork, schema: StructType, n_partitions: int) -> DataFrame:
    """What `work` makes of each group of rows with one value of `key`, an integer column without nulls.

    Spark 3.5 has no `applyInArrow`; there the groups are cut from sorted partitions, with the same result.
    """
    rows = df.repartition(n_partitions, key)
    grouped = rows.groupBy(key)
    if hasattr(grouped, "applyInArrow"):
        return grouped.applyInArrow(work, schema)
    return map_sorted_groups(rows, key, work, schema)


def map_sorted_groups(rows: DataFrame, key: str, work: GroupWork, schema: StructType) -> DataFrame:
    """`map_groups` by a sort, where all rows of a group are in one partition already."""

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for group in sorted_groups(batches, key):
            yield from work(group).to_batches()

    return map_batches(rows.sortWithinPartitions(key), run, schema)


def sorted_groups(batches: Iterable[pa.RecordBatch], key: str) -> Iterator[pa.Table]:
    """The groups of batches that are sorted by `key`; one group may go over several batches."""
    begun: list[pa.RecordBatch] = []
    for batch in batches:
        if not batch.num_rows:
            continue
        values = batch.column(key).to_numpy()
        if begun and begun[-1].column(key)[-1].as_py() != values[0]:
            yield pa.Table.from_batches(begun)
            begun = []
        cuts = [0, *(np.flatnonzero(values[1:] != values[:-1]) + 1).tolist(), len(values)]
        for start, end in pairwise(cuts):
            if start:
                yield pa.Table.from_batches(begun)
                begun = []
            begun.append(batch.slice(start, end - start))
    if begun:
        yield pa.Table.from_batches(begun)
