"""Rule semdedup and pairs that people have called different: no image goes for the other one, at the end of a chain.

A row names a better-ranked one, which may go itself, and name another. The last of them stays, and all of the chain go
for it. A row that was called different from it stays, and is the last one of what leads to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_imgdedup.stages.columns import quoted
from spark_imgdedup.stages.local_rows import local_rows
from spark_imgdedup.stages.tasks import map_batches

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

Numbers = npt.NDArray[np.int64]
IdPairs = Sequence[tuple[str, str]]


def without_pairs(found: DataFrame, apart: IdPairs, id_column: str) -> DataFrame:
    """The rows whose max_id is not one of those that their id was called different from."""
    from pyspark.sql import functions as F

    if not apart:
        return found
    both = [*apart, *((other, one) for one, other in apart)]
    pairs = F.broadcast(local_rows(found.sparkSession, both, "_one string, _other string"))
    is_pair = (F.col(quoted(id_column)).cast("string") == F.col("_one")) & (
        F.col("max_id").cast("string") == F.col("_other")
    )
    return found.join(pairs, is_pair, "left_anti")


def cut_chains(found: DataFrame, apart: IdPairs, id_column: str) -> DataFrame:
    """The rows that still go; one task holds all edges, as that of the survivors does.

    Args:
        found: id and max_id among its columns; no row names one that it was called different from.
        apart: Pairs of ids that are different.
        id_column: The name of the id.
    """
    from pyspark.sql import functions as F

    if not apart:
        return found
    spark, id_ = found.sparkSession, F.xxhash64(F.col(quoted(id_column)).cast("string"))
    told = local_rows(spark, apart, "one string, other string")
    rows = told.select(F.xxhash64("one"), F.xxhash64("other")).collect()
    pairs = np.array([tuple(row) for row in rows], np.int64)

    def cut(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        parts = [batch for batch in batches if batch.num_rows]
        if parts:
            child, parent = (np.concatenate([batch.column(side).to_numpy() for batch in parts]) for side in (0, 1))
            yield pa.RecordBatch.from_arrays([pa.array(cut_nodes(child, parent, pairs))], names=["_cut"])

    edges = found.select(id_.alias("child"), F.xxhash64(F.col("max_id").cast("string")).alias("parent"))
    stay = map_batches(edges.repartition(1), cut, "_cut bigint")
    return found.join(F.broadcast(stay), id_ == F.col("_cut"), "left_anti")


def cut_nodes(child: Numbers, parent: Numbers, apart: Numbers) -> Numbers:
    """The nodes that must be the last of their chain, so that none ends at one that it is different from.

    Args:
        child: (E,) nodes, each once.
        parent: (E,) where each leads to; no way leads back.
        apart: (P, 2) nodes that are different.
    """
    if not len(child):
        return child
    nodes, places = np.unique(np.concatenate([child, parent]), return_inverse=True)
    above = np.arange(len(nodes))
    above[places[: len(child)]] = places[len(child) :]
    ends = above
    while not np.array_equal(farther := ends[ends], ends):
        ends = farther
    known = np.minimum(np.searchsorted(nodes, apart), len(nodes) - 1)
    one, other = known[(nodes[known] == apart).all(axis=1)].T
    against: dict[int, set[int]] = {}
    for left, right in zip(one.tolist(), other.tolist(), strict=True):
        if ends[left] == ends[right]:
            against.setdefault(left, set()).add(right)
            against.setdefault(right, set()).add(left)
    end: dict[int, int] = {}
    for start in against:
        way = [start]
        while way[-1] not in end and above[way[-1]] != way[-1]:
            way.append(int(above[way[-1]]))
        last = end.setdefault(way[-1], way[-1])
        for node in reversed(way[:-1]):
            last = end[node] = node if last in against.get(node, ()) else last
    return nodes[[node for node, last in end.items() if last == node and above[node] != node]]
