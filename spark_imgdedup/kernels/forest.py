"""Which rows hang together: a spanning forest of the pairs that are as similar as asked for, never all of these pairs.

N rows, D dimensions. Arrays are NumPy or CuPy; what is found comes back on the host.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark_imgdedup.kernels.arrays import Array, Products, namespace, slices, to_host
from spark_imgdedup.kernels.cosines import PROPOSAL_TOLERANCE, rounded_pair_cosines
from spark_imgdedup.kernels.plan import tile_shape
from spark_imgdedup.kernels.vectors import UnitRows

# Pairs looked at together: 4 MiB of row numbers. Beyond, those that are connected already are left out first.
_MAX_PAIRS = 2**18
_STRIP_ROWS = 64


@dataclass(frozen=True)
class Forest:
    """Edges (E,) of a spanning forest: each joins two trees, and each pair as similar as asked for lies within one."""

    left: NDArray[np.int64]  # row numbers
    right: NDArray[np.int64]  # row numbers; of the second set where there are two, else higher than `left`
    cosines: NDArray[np.float64]  # rounded to 6 decimals


def spanning_forest(
    rows: UnitRows, min_cosine: float, others: UnitRows | None = None, *, batch_size: int = 1024
) -> Forest:
    """A spanning forest of the pairs of rows whose rounded cosine is at least `min_cosine`.

    Which rows hang together is defined by the rounded cosines alone. Which of several edges joins two trees may differ
    with batch_size and device.

    Args:
        rows: (N, D) rows: all pairs of them.
        min_cosine: From -1 to 1.
        others: (M, D) rows: the pairs of one of `rows` and one of these, instead.
        batch_size: Rows per matrix product. Changes memory and speed, and edges as said.

    Raises:
        ValueError: batch_size is below 1, or D differs.

    Cost: N * N / 2 (or N * M) * D multiply-adds. Scratch: about 5 bytes * batch_size * max(batch_size, 1024).
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}. The default, 1024, suits a CPU.")
    targets = rows if others is None else others
    if targets.dim != rows.dim:
        raise ValueError(
            f"Rows of {rows.dim} and {targets.dim} numbers cannot be compared. Embed both with one encoder."
        )
    offset = 0 if others is None else len(rows)
    search = _Search(rows, targets, min_cosine, offset, _Trees(offset + len(targets)))
    shape = tile_shape(len(rows), len(targets), batch_size)
    with Products.of(rows.proposals, *shape) as products:
        for part in slices(len(rows), shape[0]):
            for columns in slices(len(targets), shape[1]):
                if others is not None or columns.stop > part.start + 1:  # else: the other half of the square
                    tile = products.product(rows.proposals[part], targets.proposals[columns])
                    search.take_in(tile, part.start, columns.start)
    left, right = search.trees.edges()
    return Forest(left, right - offset, search.cosines(left, right))


class _Trees:
    """Disjoint sets of n nodes, and the edges that joined them."""

    def __init__(self, n: int) -> None:
        self.root = np.arange(n, dtype=np.int64)  # of each node, always the lowest of its tree
        self._edges: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []

    def add(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> None:
        """Join along these edges (M,); those within one tree are left out."""
        while True:
            one, other = self.root[left], self.root[right]
            apart = one != other
            if not apart.any():
                return
            left, right, one, other = left[apart], right[apart], one[apart], other[apart]
            high, low = np.maximum(one, other), np.minimum(one, other)
            # Each tree hangs itself below one lower root: no cycle can close, whatever the others do.
            hooks, nth = np.unique(high, return_index=True)
            self._edges.append((left[nth], right[nth]))
            parent = np.arange(len(self.root))
            parent[hooks] = low[nth]
            while not np.array_equal(above := parent[parent], parent):
                parent = above
            self.root = parent[self.root]

    def edges(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """All edges so far, (E,) left and right."""
        none = np.empty(0, dtype=np.int64)
        return np.concatenate([none, *(left for left, _ in self._edges)]), np.concatenate(
            [none, *(right for _, right in self._edges)]
        )


@dataclass(frozen=True)
class _Search:
    """Rows are nodes from 0 on, targets from `offset` on: the same nodes, if `offset` is 0."""

    rows: UnitRows
    targets: UnitRows
    min_cosine: float
    offset: int
    trees: _Trees

    def take_in(self, tile: Array, first_row: int, first_target: int) -> None:
        """Join what the products of a tile show to be similar enough."""
        for row, column, value in self._near(tile, first_row, first_target + self.offset):
            left, right = row + first_row, column + first_target + self.offset
            if self.offset == 0:
                upper = left < right
                left, right, value = left[upper], right[upper], value[upper]
            certain = value >= np.float32(self.min_cosine + PROPOSAL_TOLERANCE)
            self.trees.add(left[certain], right[certain])
            # Of the rest, only what these did not connect is computed.
            rest = np.flatnonzero(~certain & (self.trees.root[left] != self.trees.root[right]))
            enough = rest[self.cosines(left[rest], right[rest]) >= self.min_cosine]
            self.trees.add(left[enough], right[enough])

    def cosines(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float64]:
        """Rounded cosines (M,) of two nodes each."""
        xp = namespace(self.rows.vectors)
        i, j = xp.asarray(left), xp.asarray(right - self.offset)
        return to_host(rounded_pair_cosines(self.rows, i, self.targets, j))

    def _near(
        self, tile: Array, first_row: int, first_node: int
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]:
        """Rows, columns and products that may be similar enough, on the host; in strips where there are many."""
        xp = namespace(tile)
        n, width = tile.shape
        near = tile >= xp.float32(self.min_cosine - PROPOSAL_TOLERANCE)
        crowded = int(xp.count_nonzero(near)) > _MAX_PAIRS
        for strip in slices(n, _STRIP_ROWS if crowded else n):
            wanted = near[strip]
            if crowded:
                own = self.trees.root[first_row + strip.start : first_row + strip.stop]
                apart = own[:, None] != self.trees.root[first_node : first_node + width][None, :]
                wanted = wanted & xp.asarray(apart)
            row, column = xp.divmod(xp.nonzero(xp.reshape(wanted, (-1,)))[0], width)
            row += strip.start
            yield to_host(row), to_host(column), to_host(tile[row, column])
