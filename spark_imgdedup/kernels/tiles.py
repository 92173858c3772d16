"""The best partner of each query, found tile by tile.

A tile is a product of some queries (rows) and some targets (columns). Each query may be matched with a range of targets
only. Targets come in rank order: of two that score alike the one with the lower number is the partner.
B queries and R targets per tile. Arrays are NumPy or CuPy: where the rows live is where the work is done.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spark_imgdedup.kernels.arrays import Array, is_on_host, namespace, slices, to_host, two_best
from spark_imgdedup.kernels.cosines import (
    PROPOSAL_TOLERANCE,
    cosine_error,
    round_cosine,
    rounded_cosines,
    rounded_pair_cosines,
    wide_unit_rows,
)
from spark_imgdedup.kernels.links import Linker
from spark_imgdedup.kernels.vectors import DECIMALS, UnitRows

# Above this share of a tile, one float64 product of it is cheaper than gathering its pairs (measured at D = 768).
_DENSE_SHARE = 0.02
# A crowd is settled by float64 products of at most this many rows a side.
_CROWD_ROWS = 1024
# Proposals that wait for their float64 cosine: 3 MiB.
_MAX_PENDING = 2**17
_MASKED_PRODUCTS = 2**16
# True where a column is not below its row.
_STEPS = np.triu(np.ones((64, 64), dtype=bool))


@dataclass
class BestMatches:
    """What the queries have met so far. The tiles of a query must come with its targets ascending."""

    queries: UnitRows
    targets: UnitRows
    first: NDArray[np.int64]  # (N,) the first target that each query may be matched with; ascending
    stop: NDArray[np.int64]  # (N,) the one after its last; ascending
    linker: Linker | None = None  # told of each tile too
    scores: NDArray[np.float64] = field(init=False)  # (N,) rounded to 6 decimals; -inf before the first match
    indices: NDArray[np.int64] = field(init=False)  # (N,) the target that reaches it; -1 before the first match
    _ceiling: Array = field(init=False)  # (N,) float32: highest product met, +inf once a score of 1 is found
    _pending: list[tuple[Array, Array, Array]] = field(init=False, default_factory=list)
    _n_pending: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        n = len(self.queries)
        xp = namespace(self.queries.vectors)
        self.scores, self.indices = np.full(n, -np.inf), np.full(n, -1, dtype=np.int64)
        self._ceiling = xp.full(n, -xp.inf, dtype=xp.float32)

    def offer(self, products: Array, rows: slice, base: int | NDArray[np.int64]) -> None:
        """Take in a tile.

        Args:
            products: (B, R) float32 products of the queries `rows`; overwritten.
            rows: Which queries.
            base: The target in column 0: one that none of the queries' ranges starts after, or (B,) for each of them.
        """
        xp = namespace(products)
        if isinstance(base, int):
            mask_staircase(products, self.stop[rows] - base)
        else:
            mask_outside(products, self.first[rows] - base, self.stop[rows] - base)
        column, top, second = two_best(products)
        if self.linker is not None:
            self.linker.offer(products, (column, top, second), rows, base)
        reach = self._reach(rows, top)
        contested = xp.nonzero(second >= reach)[0]
        if contested.shape[0]:
            products[contested, column[contested]] = top[contested]
            self._look_again(_rows_of(products, contested), contested, rows.start, base, reach[contested])
            top[contested] = -xp.inf
        found = xp.nonzero(top >= reach)[0]
        self._add(found + rows.start, column[found] + _of(base, found), top[found])

    def offer_columns(self, products: Array, columns: slice, base: int) -> None:
        """As `offer`, of a tile (R, B) whose columns are the queries and whose rows are targets from `base` on."""
        xp = namespace(products)
        mask_staircase(products.T, self.stop[columns] - base)
        if self.linker is not None:
            self.linker.offer_columns(products, columns, base)
        near = products >= self._reach(columns, xp.max(products, axis=0))[None, :]
        n_targets, n_queries = products.shape
        if int(xp.count_nonzero(near)) > _DENSE_SHARE * n_targets * n_queries + n_queries:
            queries = to_host(xp.nonzero(xp.any(near, axis=0))[0])
            self._settle_crowd(queries + columns.start, base, base + n_targets)
            return
        row, column = xp.divmod(xp.nonzero(xp.reshape(near, (-1,)))[0], n_queries)
        self._add(column + columns.start, row + base, products[row, column])

    def settle(self) -> None:
        """Turn the proposals that wait into scores. Needed after the last tile."""
        if not self._pending:
            return
        xp = namespace(self.queries.vectors)
        query, target, value = (xp.concat(parts) for parts in zip(*self._pending, strict=True))
        self._pending, self._n_pending = [], 0
        lowest = xp.minimum(self._ceiling, xp.asarray(1.0, dtype=xp.float32)) - xp.float32(PROPOSAL_TOLERANCE)
        near = xp.nonzero(value >= lowest[query])[0]
        query, target = query[near], target[near]
        scores = to_host(rounded_pair_cosines(self.queries, query, self.targets, target))
        self._improve(to_host(query), scores, to_host(target))

    def _reach(self, rows: slice, top: Array) -> Array:
        """Take the tile's highest products (B,) in; what a product must reach from now on (B,) float32."""
        xp = namespace(top)
        self._ceiling[rows] = xp.maximum(self._ceiling[rows], top)
        # -2 is below any cosine and above -inf: a query with nothing to compare proposes nothing.
        floor = xp.asarray(-2.0, dtype=xp.float32)
        return xp.maximum(self._ceiling[rows] - xp.float32(PROPOSAL_TOLERANCE), floor)

    def _look_again(self, products: Array, nth: Array, start: int, base: int | NDArray[np.int64], reach: Array) -> None:
        """Find all near-best products of these queries (M, R): where they are many, by a float64 product."""
        xp = namespace(products)
        near = products >= reach[:, None]
        crowd = int(xp.count_nonzero(near)) > _DENSE_SHARE * products.shape[0] * products.shape[1] + products.shape[0]
        if not crowd:
            row, column = xp.divmod(xp.nonzero(xp.reshape(near, (-1,)))[0], products.shape[1])
            self._add(nth[row] + start, column + _of(base, nth[row]), products[row, column])
            return
        width = products.shape[1]
        queries = to_host(nth)
        bases = np.full(len(queries), base) if isinstance(base, int) else base[queries]
        for each in np.unique(bases).tolist():
            self._settle_crowd(queries[bases == each] + start, each, min(each + width, len(self.targets)))

    def _settle_crowd(self, queries: NDArray[np.int64], start: int, stop: int) -> None:
        xp = namespace(self.queries.vectors)
        for part in slices(len(queries), _CROWD_ROWS):
            chosen = queries[part]
            some = self.queries[xp.asarray(chosen)]
            for targets in slices(stop - start, _CROWD_ROWS):
                low = start + targets.start
                limits = self.first[chosen] - low, self.stop[chosen] - low
                values, column = best_of_crowd(some, self.targets[low : start + targets.stop], *limits)
                met = values > -np.inf
                self._improve(chosen[met], values[met], column[met] + low)

    def _add(self, query: Array, target: Array, value: Array) -> None:
        self._pending.append((query, target, value))
        self._n_pending += int(query.shape[0])
        if self._n_pending > _MAX_PENDING:
            self.settle()

    def _improve(self, queries: NDArray[np.int64], scores: NDArray[np.float64], targets: NDArray[np.int64]) -> None:
        """Take what is higher, or as high and earlier; nothing beats 1, so such a query wants no more proposals."""
        if len(queries) > 1 and not np.all(queries[1:] > queries[:-1]):
            order = np.lexsort((targets, -scores, queries))
            order = order[np.unique(queries[order], return_index=True)[1]]
            queries, scores, targets = queries[order], scores[order], targets[order]
        known = self.scores[queries]
        better = (scores > known) | ((scores == known) & (targets < self.indices[queries]))
        queries, scores, targets = queries[better], scores[better], targets[better]
        self.scores[queries], self.indices[queries] = scores, targets
        done = queries[scores >= 1.0]
        if len(done):
            self._ceiling[namespace(self._ceiling).asarray(done)] = np.inf


def best_of_crowd(
    queries: UnitRows, targets: UnitRows, first: NDArray[np.int64], stop: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The highest rounded cosine of each query, and the first target that reaches it (B,), by one float64 product.

    Query r is compared with targets first[r] to stop[r] - 1; -inf where there are none.
    """
    xp = namespace(queries.vectors)
    cosines = wide_unit_rows(queries) @ wide_unit_rows(targets).T
    mask_outside(cosines, first, stop)
    highest = xp.max(cosines, axis=1)
    scores = round_cosine(highest)
    # A defined cosine lies within `slack` of the one here: what is nearer to a rounding boundary may round either way.
    slack = 2 * cosine_error(queries.dim)
    boundary = scores - 0.5 * 10.0**-DECIMALS
    column = xp.argmax(cosines >= (boundary - slack)[:, None], axis=1)  # the first of those that may round alike
    is_sure = cosines[xp.arange(len(queries)), column] >= boundary + slack
    is_sure &= highest < boundary + 10.0**-DECIMALS - slack
    is_sure |= highest == -xp.inf
    unsure = xp.nonzero(~is_sure)[0]
    scores, column = to_host(scores), to_host(column)
    if unsure.shape[0]:
        del cosines
        which = to_host(unsure)
        defined = rounded_cosines(queries[unsure], targets)
        mask_outside(defined, first[which], stop[which])
        scores[which], column[which] = to_host(xp.max(defined, axis=1)), to_host(xp.argmax(defined, axis=1))
    return scores, column


def mask_outside(products: Array, first: NDArray[np.int64], stop: NDArray[np.int64]) -> None:
    """Set to -inf what lies outside of columns first[r] to stop[r] - 1 in each row r of (B, R)."""
    n, width = products.shape
    if n == 0 or (first.max() <= 0 and stop.min() >= width):
        return
    xp = namespace(products)
    columns = xp.arange(width)[None, :]
    for rows in slices(n, max(1, _MASKED_PRODUCTS // width) if is_on_host(products) else n):
        _mask(products[rows], columns >= xp.asarray(stop[rows])[:, None])
        if first[rows].max() > 0:
            _mask(products[rows], columns < xp.asarray(first[rows])[:, None])


def mask_staircase(products: Array, stop: NDArray[np.int64]) -> None:
    """`mask_outside` for rows that start at column 0 and whose stops ascend."""
    n, width = products.shape
    if n == 0 or stop[0] >= width:
        return
    xp = namespace(products)
    size = len(_STEPS) if is_on_host(products) else n
    is_diagonal = size == len(_STEPS) and stop[-1] - stop[0] == n - 1 and bool(np.all(stop[1:] > stop[:-1]))
    for rows in slices(n, size):
        low, high = (min(max(int(each), 0), width) for each in (stop[rows.start], stop[rows.stop - 1]))
        products[rows, high:] = -xp.inf
        if low == high:
            continue
        if is_diagonal and low == stop[rows.start]:
            mask = _STEPS[: rows.stop - rows.start, : high - low]
        else:
            mask = xp.arange(low, high)[None, :] >= xp.asarray(stop[rows])[:, None]
        _mask(products[rows, low:high], mask)


def _mask(products: Array, mask: Array) -> None:
    if is_on_host(products):
        np.copyto(products, -np.inf, where=mask)  # indexing by a mask takes three times as long
    else:
        products[mask] = -np.inf


def _rows_of(products: Array, nth: Array) -> Array:
    return products if nth.shape[0] == products.shape[0] else products[nth]


def _of(base: int | NDArray[np.int64], nth: Array) -> Array:
    return base if isinstance(base, int) else namespace(nth).asarray(base)[nth]
