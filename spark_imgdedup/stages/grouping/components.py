"""edges -> labels: which nodes hang together, in one task where they fit one, else by stars on all of the cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_imgdedup.stages.tasks import map_batches

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

LABELS = "node bigint, label bigint, size bigint"
# So many nodes have at most a few edges each: some GB in the task that holds them.
ONE_TASK_NODES = 20_000_000

Numbers = npt.NDArray[np.int64]
# Stores a DataFrame and gives it back as it is read from there: what follows does not compute it again.
Store = Callable[["DataFrame"], "DataFrame"]


def label_components(edges: DataFrame, n_nodes: int, store: Store) -> DataFrame:
    """node, label, size of every node that has an edge: the lowest node of its component, and how many there are.

    Args:
        edges: two columns bigint, in any order and number.
        n_nodes: How many nodes there may be; decides how it is done.
        store: For the rounds of stars.
    """
    return label_in_one_task(edges) if n_nodes <= ONE_TASK_NODES else label_by_stars(edges, store)


def label_in_one_task(edges: DataFrame) -> DataFrame:
    """`label_components` by one task that holds all edges: about 40 bytes each."""

    def label(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        parts = [batch for batch in batches if batch.num_rows]
        if not parts:
            return
        one, other = (np.concatenate([batch.column(side).to_numpy() for batch in parts]) for side in (0, 1))
        columns = [pa.array(column) for column in components(one, other)]
        yield pa.RecordBatch.from_arrays(columns, names=["node", "label", "size"])

    return map_batches(edges.repartition(1), label, LABELS)


def components(one: Numbers, other: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """The nodes of these edges (E,), the lowest node of each one's component, and the nodes that it has."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    nodes, places = np.unique(np.concatenate([one, other]), return_inverse=True)
    left, right = places[: len(one)], places[len(one) :]
    graph = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(len(nodes), len(nodes)))
    numbers = connected_components(graph, directed=False)[1]
    _, first, sizes = np.unique(numbers, return_index=True, return_counts=True)
    return nodes, nodes[first][numbers], sizes[numbers]


def label_by_stars(edges: DataFrame, store: Store) -> DataFrame:
    """`label_components` by rounds of large stars and small stars, each two shuffles of the edges.

    In a round every node first hands its lowest neighbour to all higher ones, then to all lower ones. It ends where
    each edge leads to the lowest node of its component. A chain of 1,000 takes 8 rounds.

    Source: Kiveris, Lattanzi, Mirrokni, Rastogi and Vassilvitskii, Connected Components in MapReduce and Beyond
    (SoCC 2014).
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    stars = store(_pairs(edges, *(F.col(name) for name in edges.columns)))
    before: tuple[int, int] | None = None
    while True:
        row = stars.agg(F.count(F.lit(1)), F.sum(F.xxhash64("u", "v").cast("decimal(38, 0)"))).collect()[0]
        now = (int(row[0]), int(row[1] or 0))
        if now == before:
            break
        before, stars = now, store(_small_stars(_large_stars(stars)))
    labels = stars.select(F.col("u").alias("node"), F.col("v").alias("label"))
    labels = labels.unionByName(labels.select(F.col("label").alias("node"), "label")).distinct()
    return labels.withColumn("size", F.count("*").over(Window.partitionBy("label")))


def _large_stars(edges: DataFrame) -> DataFrame:
    """Each node's higher neighbours, joined to the lowest of it and its neighbours."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    both = edges.select("u", "v").unionByName(edges.select(F.col("v").alias("u"), F.col("u").alias("v")))
    lowest = F.least(F.min("v").over(Window.partitionBy("u")), F.col("u"))
    return _pairs(both.withColumn("lowest", lowest).where("v > u"), F.col("v"), F.col("lowest"))


def _small_stars(edges: DataFrame) -> DataFrame:
    """Each node and its lower neighbours, joined to the lowest of these."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    told = edges.withColumn("lowest", F.min("v").over(Window.partitionBy("u")))  # u > v here
    lower = _pairs(told.where("v != lowest"), F.col("v"), F.col("lowest"))
    return lower.unionByName(_pairs(told, F.col("u"), F.col("lowest"))).distinct()


def _pairs(edges: DataFrame, one: Column, other: Column) -> DataFrame:
    """Distinct edges u > v between these columns."""
    from pyspark.sql import functions as F

    u, v = F.greatest(one, other), F.least(one, other)
    return edges.select(u.alias("u"), v.alias("v")).where("u != v").distinct()
