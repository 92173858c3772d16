"""Which rows hang together by pairs that are as similar as asked for, told by edges of trees, never by all pairs.

300,000 near-identical rows have 4.5e10 pairs, and 299,999 edges that hold them together. The search hands every tile's
products on to `Linker`, so that no product is made for this alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spark_imgdedup.kernels.arrays import Array, namespace, slices, to_host
from spark_imgdedup.kernels.cosines import PROPOSAL_TOLERANCE, rounded_pair_cosines
from spark_imgdedup.kernels.vectors import UnitRows

# Pairs looked at together: 4 MiB of row numbers. Beyond, those that are connected already are left out first.
_MAX_PAIRS = 2**18

Nodes = NDArray[np.int64]


class Trees:
    """Disjoint sets of n nodes, and the edges that joined them."""

    def __init__(self, n: int) -> None:
        self.root = np.arange(n, dtype=np.int64)  # of each node, always the lowest of its tree
        self._edges: list[tuple[Nodes, Nodes]] = []

    def add(self, left: Nodes, right: Nodes) -> None:
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

    def edges(self) -> tuple[Nodes, Nodes]:
        """All edges so far, (E,) left and right: at most one less than there are nodes."""
        none = np.empty(0, dtype=np.int64)
        return np.concatenate([none, *(left for left, _ in self._edges)]), np.concatenate(
            [none, *(right for _, right in self._edges)]
        )


@dataclass
class Links:
    """The pairs of rows whose rounded cosine is at least `min_cosine`, as trees that hold the same rows together.

    Rows are nodes from 0 on, those of `others` follow them. Which rows hang together is defined by the rounded cosines
    alone; which of several edges joins two trees may differ with the size of tiles and the device.

    Attributes:
        rows: (N, D) rows.
        min_cosine: From -1 to 1.
        others: (M, D) rows, where pairs are of one of `rows` and one of these. Default: pairs are within `rows`.
    """

    rows: UnitRows
    min_cosine: float
    others: UnitRows | None = None
    trees: Trees = field(init=False)

    def __post_init__(self) -> None:
        self.trees = Trees(len(self.rows) + len(self.others or ()))

    @property
    def low(self) -> np.float32:
        """The product that a pair must reach to be looked at."""
        return np.float32(self.min_cosine - PROPOSAL_TOLERANCE)

    def take(self, one: Nodes, other: Nodes, products: NDArray[np.float32]) -> None:
        """Take in pairs of nodes (P,) and their float32 products; what these leave open is computed."""
        certain = products >= np.float32(self.min_cosine + PROPOSAL_TOLERANCE)
        self.trees.add(one[certain], other[certain])
        # Of the rest, only what these did not connect is computed.
        rest = np.flatnonzero(~certain & (self.trees.root[one] != self.trees.root[other]))
        left, right = np.minimum(one[rest], other[rest]), np.maximum(one[rest], other[rest])
        enough = self._cosines(left, right) >= self.min_cosine
        self.trees.add(left[enough], right[enough])

    def _cosines(self, left: Nodes, right: Nodes) -> NDArray[np.float64]:
        xp = namespace(self.rows.vectors)
        targets, offset = (self.rows, 0) if self.others is None else (self.others, len(self.rows))
        return to_host(rounded_pair_cosines(self.rows, xp.asarray(left), targets, xp.asarray(right - offset)))


@dataclass(frozen=True)
class Linker:
    """Takes the tiles of a search in: queries and targets of the search are these nodes of `links`."""

    links: Links
    queries: Nodes  # (N,)
    targets: Nodes  # (M,)

    def offer(
        self, products: Array, best: tuple[Array, Array, Array], rows: slice, base: int | NDArray[np.int64]
    ) -> None:
        """Take a tile in.

        Args:
            products: (B, R), of which the maximum of each row is overwritten by -inf, as other targets may be.
            best: (B,) the column of that maximum, itself, and the highest of the rest: what `two_best` gives.
            rows: The queries.
            base: The target in column 0, or (B,) for each query.
        """
        xp = namespace(products)
        column, top, second = best
        low = self.links.low
        first = xp.nonzero(top >= low)[0]
        if not first.shape[0]:
            return
        nth = to_host(first)
        bases = np.full(products.shape[0], base) if isinstance(base, int) else base
        queries = self.queries[rows.start + nth]
        self.links.take(queries, self.targets[to_host(column[first]) + bases[nth]], to_host(top[first]))
        more = to_host(xp.nonzero(second >= low)[0])
        if len(more):
            self._take_rest(products, more, rows.start, bases)

    def offer_columns(self, products: Array, columns: slice, base: int) -> None:
        """As `offer`, of a tile (R, B) whose columns are the queries and whose rows are targets from `base` on."""
        xp, root = namespace(products), self.links.trees.root
        queries, targets = self.queries[columns], self.targets[base : base + products.shape[0]]
        if (root[targets] == root[queries[0]]).all() and (root[queries] == root[queries[0]]).all():
            return  # one tree has nothing to add
        target, query = xp.nonzero(products >= self.links.low)
        one, other = queries[to_host(query)], targets[to_host(target)]
        apart = root[one] != root[other]
        if apart.any():
            self.links.take(one[apart], other[apart], to_host(products[target, query])[apart])

    def _take_rest(self, products: Array, nth: NDArray[np.int64], start: int, bases: NDArray[np.int64]) -> None:
        """The pairs of the tile's rows `nth` beyond the best of each; a crowd in one tree is passed over."""
        xp = namespace(products)
        root, width = self.links.trees.root, products.shape[1]
        for strip in slices(len(nth), max(1, min(len(nth), _MAX_PAIRS // max(width, 1)))):
            part = nth[strip]
            lowest, end = int(bases[part].min()), min(int(bases[part].max()) + width, len(self.targets))
            met = root[self.targets[lowest:end]]
            if (met == met[0]).all():  # one tree: what belongs to it has nothing to add
                part = part[root[self.queries[start + part]] != met[0]]
            if not len(part):
                continue
            row, column = xp.nonzero(products[xp.asarray(part)] >= self.links.low)
            near, place = part[to_host(row)], to_host(column)
            values = to_host(products[xp.asarray(near), column])
            one, other = self.queries[start + near], self.targets[place + bases[near]]
            apart = root[one] != root[other]
            self.links.take(one[apart], other[apart], values[apart])
            root = self.links.trees.root
