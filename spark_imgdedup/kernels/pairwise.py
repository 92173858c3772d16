"""How much each image resembles better-ranked ones, and which it resembles most.

N images, D dimensions. Arrays are NumPy or CuPy: where they live is where the work is done.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark_imgdedup.kernels.arrays import PADDING, Array, Products, is_on_host, multiply, namespace, slices, to_host
from spark_imgdedup.kernels.links import Linker, Links
from spark_imgdedup.kernels.plan import checked_starts, diagonal, leaf_rows, runs_of_blocks, tile_shape
from spark_imgdedup.kernels.tiles import BestMatches
from spark_imgdedup.kernels.vectors import UnitRows, first_occurrences

# Where at least this share of the rows are exact copies, the others are gathered and compared alone.
_COPIES_WORTH_GATHERING = 0.25


@dataclass(frozen=True)
class Across:
    """The best earlier-ranked partner of each row in the other set; -inf and -1 where none ranks earlier."""

    a_scores: NDArray[np.float64]  # (N_a,)
    a_partners: NDArray[np.int64]  # (N_a,) positions in b
    b_scores: NDArray[np.float64]  # (N_b,)
    b_partners: NDArray[np.int64]  # (N_b,) positions in a


def max_similarity_to_earlier(embeddings: Array | UnitRows, *, batch_size: int = 1024) -> tuple[Array, Array]:
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

    Cost: that of `best_earlier` with one group.
    Source: the score of SemDeDup (arXiv:2303.09540), with ties and rounding pinned down.
    """
    _require_batch_size(batch_size)
    rows = UnitRows.of(embeddings)
    xp = namespace(rows.vectors)
    scores, indices = best_earlier(rows, batch_size=batch_size)
    return xp.asarray(scores), xp.asarray(indices)


def best_earlier(
    rows: UnitRows,
    starts: NDArray[np.int64] | None = None,
    *,
    batch_size: int = 1024,
    links: Links | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """`max_similarity_to_earlier` of one or many groups of rows at once.

    Args:
        rows: (N, D) rows; groups are consecutive, each in rank order.
        starts: (N,) the first row of each row's group. Default: all rows are one group.
        batch_size: Queries per matrix product. Changes memory and speed only.
        links: Of `rows`; told of the pairs within each group.

    Returns:
        scores: (N,) float64 on the host; 0 for the first row of a group.
        indices: (N,) int64 on the host, positions in `rows`; its own for the first row of a group.

    Raises:
        ValueError: starts are not those of consecutive groups, or batch_size is below 1.

    Cost: U * U * D multiply-adds over the U distinct rows of a group, halved because later rows are left out. As many
    in float64 at most, where near-copies crowd a tile. Scratch: about 5 bytes * batch_size * max(batch_size, 1024).
    """
    _require_batch_size(batch_size)
    n = len(rows)
    own = np.arange(n, dtype=np.int64)
    starts = np.zeros(n, dtype=np.int64) if starts is None else checked_starts(starts, n)
    first = _copies(rows, starts)
    distinct = np.flatnonzero(first == own)  # in rank order still
    if n - len(distinct) < _COPIES_WORTH_GATHERING * n:
        return _best_earlier(rows, starts, batch_size, None if links is None else Linker(links, own, own))
    kept_starts = np.searchsorted(distinct, starts[distinct])  # a group's first row repeats nothing
    scores, indices = np.zeros(n), own.copy()
    linker = None if links is None else Linker(links, distinct, distinct)
    gathered = rows[namespace(rows.vectors).asarray(distinct)]
    found_scores, found = _best_earlier(gathered, kept_starts, batch_size, linker)
    scores[distinct], indices[distinct] = found_scores, distinct[found]
    # A copy reaches 1 with its first occurrence, or with the still earlier row which that one rounds to 1 with.
    copies = np.flatnonzero(first != own)
    original = first[copies]
    if links is not None:
        links.trees.add(copies, original)
    indices[copies] = np.where(scores[original] == 1.0, indices[original], original)
    scores[copies] = 1.0
    return scores, indices


def best_across(  # noqa: PLR0913  # two sides of two each
    a: UnitRows,
    b: UnitRows,
    a_ranks: NDArray[np.int64],
    b_ranks: NDArray[np.int64],
    *,
    batch_size: int = 1024,
    links: Links | None = None,
) -> Across:
    """For each row of two disjoint sets, the best of the rows of the other set that rank before it.

    In each pair of a row of a and a row of b the later-ranked one is the query. As everywhere, the score is the highest
    rounded cosine, and the partner the earliest-ranked row that reaches it.

    Args:
        a: (N_a, D) rows in rank order.
        b: (N_b, D) rows in rank order.
        a_ranks: (N_a,) places in one order of both sets: ascending, and none that b_ranks has too.
        b_ranks: (N_b,) the same for b.
        batch_size: Rows of a per matrix product. Changes memory and speed only.
        links: Of a and b; told of every pair.

    Raises:
        ValueError: ranks do not ascend, are shared, or are not one for each row; D differs; batch_size is below 1.

    Cost: N_a * N_b * D multiply-adds. Scratch: about 8 bytes * batch_size * max(batch_size, 1024).
    """
    _require_batch_size(batch_size)
    _require_ranks(a, b, a_ranks, b_ranks)
    zeros_a, zeros_b = np.zeros(len(a), dtype=np.int64), np.zeros(len(b), dtype=np.int64)
    nodes_a, nodes_b = np.arange(len(a)), np.arange(len(a), len(a) + len(b))
    linkers = (None, None) if links is None else (Linker(links, nodes_a, nodes_b), Linker(links, nodes_b, nodes_a))
    of_a = BestMatches(a, b, zeros_a, np.searchsorted(b_ranks, a_ranks).astype(np.int64), linkers[0])
    of_b = BestMatches(b, a, zeros_b, np.searchsorted(a_ranks, b_ranks).astype(np.int64), linkers[1])
    xp = namespace(a.proposals)
    shape = tile_shape(len(a), len(b), batch_size)
    with Products.of(a.proposals, *shape) as products:
        for part in slices(len(a), shape[0]):
            for columns in slices(len(b), shape[1]):
                a_is_later = of_a.stop[part.stop - 1] > columns.start  # somewhere in the tile
                b_is_later = of_b.stop[columns.stop - 1] > part.start
                if not a_is_later:
                    of_b.offer(products.product(b.proposals[columns], a.proposals[part]), columns, part.start)
                    continue
                tile = products.product(a.proposals[part], b.proposals[columns])
                if b_is_later:
                    of_b.offer_columns(xp.asarray(tile, copy=True), columns, part.start)
                of_a.offer(tile, part, columns.start)
            of_a.settle()
    of_b.settle()
    return Across(of_a.scores, of_a.indices, of_b.scores, of_b.indices)


def _best_earlier(
    rows: UnitRows, starts: NDArray[np.int64], batch_size: int, linker: Linker | None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    own = np.arange(len(rows), dtype=np.int64)
    best = BestMatches(rows, rows, starts, own, linker)
    leaf = leaf_rows(batch_size, on_host=is_on_host(rows.vectors))
    with Products.of(rows.proposals, *tile_shape(len(rows), len(rows), batch_size)) as products:
        for blocks in runs_of_blocks(starts, leaf, batch_size):
            if len(blocks) > 1 or starts[blocks[0].stop - 1] != blocks[0].start:
                _offer_blocks(best, blocks, products)
            else:
                _offer_triangle(best, blocks[0], leaf, batch_size, products)
            best.settle()
    alone = starts == own  # the best-ranked row has nothing to repeat
    best.scores[alone], best.indices[alone] = 0.0, own[alone]
    return best.scores, best.indices


def _offer_blocks(best: BestMatches, blocks: list[slice], products: Products) -> None:
    """Offer the product of each block with itself, all of them as one tile."""
    start, stop = blocks[0].start, blocks[-1].stop
    sizes = np.array([block.stop - block.start for block in blocks])
    tile = products.empty(stop - start, int(sizes.max()))
    for block in blocks:
        rows = best.queries.proposals[block]
        multiply(rows, rows, tile[block.start - start : block.stop - start, : rows.shape[0]])
    best.offer(tile, slice(start, stop), np.repeat(np.array([block.start for block in blocks]), sizes))


def _offer_leaf(best: BestMatches, rows: slice, products: Products) -> None:
    """Offer the product of some rows of a group with themselves."""
    n = rows.stop - rows.start
    tile = products.empty(n, n + (PADDING if n % 64 == 0 else 0))
    multiply(best.queries.proposals[rows], best.queries.proposals[rows], tile[:, :n])
    best.offer(tile, rows, rows.start)


def _offer_triangle(best: BestMatches, group: slice, leaf: int, batch_size: int, products: Products) -> None:
    """Offer all pairs of a large group: rectangles of earlier rows, then the triangle of the batch itself."""
    proposals = best.queries.proposals
    n_columns = tile_shape(1, group.stop - group.start, batch_size)[1]
    for start in range(group.start, group.stop, batch_size):
        queries = slice(start, min(start + batch_size, group.stop))
        for low in range(group.start, start, n_columns):
            columns = slice(low, min(low + n_columns, start))
            best.offer(products.product(proposals[queries], proposals[columns]), queries, low)
        for part, columns in diagonal(queries, leaf):
            if part == columns:
                _offer_leaf(best, part, products)
            else:
                best.offer(products.product(proposals[part], proposals[columns]), part, columns.start)
        best.settle()


def _copies(rows: UnitRows, starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """`first_occurrences` within each group; rows are hashed only if enough of them have another's length."""
    n = len(rows)
    if n - len(np.unique(to_host(rows.lengths))) < _COPIES_WORTH_GATHERING * n:  # copies have equal lengths
        return np.arange(n, dtype=np.int64)
    return first_occurrences(rows.vectors, starts)


def _require_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}. The default, 1024, suits a CPU.")


def _require_ranks(a: UnitRows, b: UnitRows, a_ranks: NDArray[np.int64], b_ranks: NDArray[np.int64]) -> None:
    if a.dim != b.dim:
        raise ValueError(f"Rows of {a.dim} and of {b.dim} numbers cannot be compared. Embed both with one encoder.")
    for name, rows, ranks in (("a_ranks", a, a_ranks), ("b_ranks", b, b_ranks)):
        if ranks.shape != (len(rows),) or np.any(ranks[1:] <= ranks[:-1]):
            raise ValueError(
                f"{name} must be {len(rows)} ascending numbers, one for each row, got shape {ranks.shape}. "
                "Sort the rows by their place in the order first."
            )
    shared = np.intersect1d(a_ranks, b_ranks)
    if len(shared):
        raise ValueError(
            f"{len(shared)} ranks are in both sets, {int(shared[0])} first: a row would be compared with itself. "
            "Leave rows that are in both sets out of one."
        )
