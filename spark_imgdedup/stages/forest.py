"""blocks -> edges: which rows hang together by pairs within eps, told by a spanning forest of each tile.

Never all pairs: 300,000 near-identical rows have 4.5e10 of them, and 299,999 edges that hold them together. The
components of the edges of all tiles are those of all pairs within eps that the tiles compare.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from spark_imgdedup.config import Config
from spark_imgdedup.files.blocks import BlockIndex
from spark_imgdedup.kernels.forest import Forest, spanning_forest
from spark_imgdedup.kernels.packing import Task, Tile
from spark_imgdedup.stages.blocks import Blocks
from spark_imgdedup.stages.gpu_tasks import gpu_profile
from spark_imgdedup.stages.identify import similarity_threshold
from spark_imgdedup.stages.tasks import map_tasks
from spark_imgdedup.stages.tiles import Loaded, Spans, shared_parts

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def forest_edges(blocks: Blocks, copies: BlockIndex | None, tasks: Sequence[Task], eps: float) -> DataFrame:
    """Edges id_a, id_b, cosine of a spanning forest of each tile: at most one edge less than it has rows.

    Args:
        blocks: What is compared.
        copies: Rows that are compared in other clusters than their home.
        tasks: The tiles, as for `score_tiles`.
        eps: Cosine distance: pairs with a cosine of at least 1 - eps hang together.
    """
    index, config, low = blocks.index, blocks.config, similarity_threshold(eps)
    lists = [task.tiles for task in tasks]

    def find(numbers: Iterator[int]) -> Iterator[pa.RecordBatch]:
        with Spans(index, copies, config) as spans:
            for tile in (tile for number in numbers for tile in lists[number]):
                yield from _edges(tile, spans, config, low)

    id_type = blocks.id_type.simpleString()
    schema = f"id_a {id_type}, id_b {id_type}, cosine double"
    return map_tasks(blocks.spark, len(lists), find, schema, gpu_profile(blocks.spark, config))


def _edges(tile: Tile, spans: Spans, config: Config, low: float) -> Iterator[pa.RecordBatch]:
    one, other = spans.sides(tile)
    size = config.pairwise.batch_size
    if other is None:
        for part in _clusters(one, tile):
            yield _rows(spanning_forest(one.rows[part], low, batch_size=size), (one, part), (one, part), config)
        return
    for mine, theirs in shared_parts(one, other, tile):
        forest = spanning_forest(one.rows[mine], low, other.rows[theirs], batch_size=size)
        yield _rows(forest, (one, mine), (other, theirs), config)


def _clusters(loaded: Loaded, tile: Tile) -> Iterator[slice]:
    if not tile.within:
        yield slice(0, len(loaded.clusters))
        return
    for cluster in np.unique(loaded.clusters).tolist():
        yield loaded.of_cluster(cluster)


def _rows(forest: Forest, left: tuple[Loaded, slice], right: tuple[Loaded, slice], config: Config) -> pa.RecordBatch:
    ids = [
        loaded.thin[config.id_column].combine_chunks().take(pa.array(rows + part.start))
        for (loaded, part), rows in ((left, forest.left), (right, forest.right))
    ]
    return pa.RecordBatch.from_arrays([*ids, pa.array(forest.cosines)], names=["id_a", "id_b", "cosine"])
