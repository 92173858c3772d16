"""How much each image of a cluster resembles a better-ranked one.

N images, D dimensions, B queries (columns) and R earlier rows per tile. Arrays are NumPy or CuPy: where they live is
where the work is done.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark_imgdedup.kernels.arrays import Array, best_per_column, namespace, slices, to_host
from spark_imgdedup.kernels.vectors import (
    DECIMALS,
    UnitRows,
    all_cosines,
    first_occurrences,
    pair_cosines,
    propose,
    round_cosine,
)

_MIN_TILE_ROWS = 1024
# Above this share of a tile, one float64 product of it is cheaper than gathering its pairs (measured at D = 768).
_DENSE_SHARE = 0.02


@dataclass
class BestMatches:
    """What B queries have met so far. Blocks must be offered in rank order: the earliest row wins a tie."""

    scores: NDArray[np.float64]  # (B,) rounded to 6 decimals, on the host; -inf before the first match
    indices: NDArray[np.int64]  # (B,) rank of the row that reaches it, on the host
    ceiling: Array  # (B,) float32 beside the queries: highest product met, +inf once a score of 1 is found

    @classmethod
    def none_yet(cls, queries: UnitRows) -> BestMatches:
        """The state before any block."""
        n = len(queries)
        xp = namespace(queries.vectors)
        ceiling = xp.full(n, -xp.inf, dtype=xp.float32)
        return cls(np.full(n, -np.inf), np.zeros(n, dtype=np.int64), ceiling)

    def improve(self, columns: NDArray[np.int64], scores: NDArray[np.float64], indices: NDArray[np.int64]) -> None:
        """Take what is strictly higher; nothing beats 1, so such a query wants no more proposals."""
        better = scores > self.scores[columns]
        columns = columns[better]
        self.scores[columns], self.indices[columns] = scores[better], indices[better]
        done = columns[scores[better] >= 1.0]
        if len(done):
            self.ceiling[namespace(self.ceiling).asarray(done)] = np.inf


def max_similarity_to_earlier(embeddings: Array, *, batch_size: int = 1024) -> tuple[Array, Array]:
    """The highest cosine of each row to any earlier row, and the earliest row that reaches it.

    Rows come best-ranked first. Earlier rows count even if they repeat a still earlier one. The cosine is float64's, of
    the float32 rows as given, rounded to 6 decimals before the maximum is taken: any batch_size gives the same bits.

    Args:
        embeddings: (N, D) float32, rows of unit length, in rank order.
        batch_size: Queries per matrix product. Changes memory and speed only.

    Returns:
        scores: (N,) float64 from -1 to 1; 0 for the first row.
        indices: (N,) int64, lower than the row's own; 0 for the first row.

    Raises:
        ValueError: embeddings are not float32 rows of unit length (within 1e-3), or batch_size is below 1.

    Cost: U * U * D multiply-adds over U distinct rows, halved because later rows are left out; copies cost one pass
    over their bytes. Scratch: about 5 bytes * batch_size * max(batch_size, 1024), never N * N.
    Source: the score of SemDeDup (arXiv:2303.09540), with ties and rounding pinned down.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}. The default, 1024, suits a CPU.")
    xp = namespace(embeddings)
    rows = UnitRows.of(embeddings)
    first = first_occurrences(embeddings)
    distinct = np.flatnonzero(first == np.arange(len(first)))  # in rank order still
    if len(distinct) < len(first):
        rows = rows[xp.asarray(distinct)]

    scores, indices = np.zeros(len(first)), np.zeros(len(first), dtype=np.int64)
    found_scores, found_indices = _score_distinct(rows, batch_size)
    scores[distinct], indices[distinct] = found_scores, distinct[found_indices]

    # A copy reaches 1 with its first occurrence, or with the still earlier row which that one rounds to 1 with.
    copies = np.flatnonzero(first != np.arange(len(first)))
    original = first[copies]
    indices[copies] = np.where(scores[original] == 1.0, indices[original], original)
    scores[copies] = 1.0
    return xp.asarray(scores), xp.asarray(indices)


def best_match(best: BestMatches, queries: UnitRows, block: UnitRows, *, query_start: int, block_start: int) -> None:
    """Compare queries with a block of rows and take into `best` what ranks before each of them.

    Args:
        best: What these queries met in earlier blocks; updated.
        queries: (B, D) rows, ranked query_start, query_start + 1, …
        block: (R, D) rows, ranked block_start, block_start + 1, …
        query_start: Rank of the first query.
        block_start: Rank of the block's first row; `best.indices` are such ranks.

    Cost: R * B * D multiply-adds in float32; as many in float64 at most, where near-copies crowd a tile.
    """
    xp = namespace(queries.vectors)
    similarity = block.proposals @ queries.proposals.T  # (R, B)
    if block_start + len(block) > query_start:
        _mask_not_earlier(similarity, query_start - block_start)
    rows, columns, best.ceiling = propose(similarity, best.ceiling)
    if rows.shape[0] > _DENSE_SHARE * len(block) * len(queries):
        del similarity, rows  # before the float64 tile takes its place
        _match_crowd(best, queries, block, xp.unique_values(columns), starts=(query_start, block_start))
        return
    values = to_host(round_cosine(pair_cosines(block, rows, queries, columns)))
    winners, scores, indices = best_per_column(to_host(rows), to_host(columns), values)
    best.improve(winners, scores, indices + block_start)


def _score_distinct(rows: UnitRows, batch_size: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    scores, indices = np.zeros(len(rows)), np.zeros(len(rows), dtype=np.int64)
    for batch in slices(len(rows), batch_size):
        best = BestMatches.none_yet(rows[batch])
        for earlier in slices(batch.stop, max(batch_size, _MIN_TILE_ROWS)):
            best_match(best, rows[batch], rows[earlier], query_start=batch.start, block_start=earlier.start)
        scores[batch], indices[batch] = best.scores, best.indices
    scores[:1] = 0.0  # the best-ranked row has nothing to repeat
    return scores, indices


def _match_crowd(
    best: BestMatches, queries: UnitRows, block: UnitRows, columns: Array, *, starts: tuple[int, int]
) -> None:
    """Settle the given columns of a tile by float64 products, in parts small enough for any batch size."""
    xp = namespace(columns)
    query_start, block_start = starts
    for part in slices(columns.shape[0], _MIN_TILE_ROWS):
        chosen = columns[part]
        some = queries[chosen]
        for rows in slices(len(block), _MIN_TILE_ROWS):
            cosines = _rounded_cosines(block[rows], some)
            ranks = xp.arange(block_start + rows.start, block_start + rows.stop)
            cosines[ranks[:, None] >= chosen + query_start] = -xp.inf
            winners = xp.argmax(cosines, axis=0)  # the first of equals
            values = xp.max(cosines, axis=0)
            best.improve(to_host(chosen), to_host(values), to_host(winners) + block_start + rows.start)


def _rounded_cosines(left: UnitRows, right: UnitRows) -> Array:
    """`round_cosine(pair_cosines(…))` of all pairs (N, M), by one product.

    A value that summation error could push over a rounding boundary is computed as `pair_cosines` does.
    """
    xp = namespace(left.vectors)
    cosines = all_cosines(left, right)
    to_boundary = cosines * 10.0**DECIMALS
    to_boundary -= xp.floor(to_boundary)
    unsure = xp.nonzero(xp.abs(to_boundary - 0.5) <= left.cosine_error * 10.0**DECIMALS)
    if unsure[0].shape[0]:
        cosines[unsure] = pair_cosines(left, unsure[0], right, unsure[1])
    return round_cosine(cosines)


def _mask_not_earlier(similarity: Array, first_query: int) -> None:
    """Set to -inf what does not rank before its query; `first_query`: rank of query 0 counted from row 0."""
    xp = namespace(similarity)
    n_rows, n_queries = similarity.shape
    queries = xp.arange(first_query, first_query + n_queries)
    similarity[xp.arange(n_rows)[:, None] >= queries[None, :]] = -xp.inf
