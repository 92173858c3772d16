"""Lloyd's iterations for spherical k-means.

n training rows, K centroids, D dimensions. Every decision is made by a defined number (`rounded_cosines`, the settled
home of a row) or by sums in a fixed order, so that neither threads nor the library for products show in the centroids.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from spark_imgdedup.kernels.arrays import (
    Array,
    as_float32,
    is_on_host,
    namespace,
    scratch_parts,
    slices,
    take_rows,
    to_host,
)
from spark_imgdedup.kernels.assignment import CentroidIndex, home_positions, nearest_centroid
from spark_imgdedup.kernels.cosines import rounded_cosines, wide_unit_rows
from spark_imgdedup.kernels.vectors import UnitRows, invalid_rows, l2_normalize

# The first centroids are chosen among this many rows for each, in this many rounds.
_CANDIDATES_PER_CENTROID = 16
_ROUNDS = 32
_ONE_HOT_ROWS = 8192


def lloyd(rows: UnitRows, n_clusters: int, random_state: int, *, max_iter: int, n_threads: int = 1) -> Array:
    """Centroids (K, D), float32 of unit length, after at most max_iter iterations over the rows (n, D).

    Cost: 2·n·K·D flop an iteration; the first centroids take about as long as one.
    """
    if n_clusters == 1:
        return _mean_direction(rows)
    xp = namespace(rows.vectors)
    centroids = rows.vectors[xp.asarray(first_centroids(rows, n_clusters, random_state))]
    home = np.full(len(rows), -1, dtype=np.int64)
    sums = xp.zeros(centroids.shape, dtype=xp.float64)
    for _ in range(max_iter):
        index = CentroidIndex.of(centroids)
        found = index.numbers[_homes(rows, index, n_threads)]
        moved = np.flatnonzero(found != home)
        known = moved[home[moved] >= 0]
        _add_rows(sums, rows.vectors, known, home[known], -1.0)
        _add_rows(sums, rows.vectors, moved, found[moved], 1.0)
        home = found
        means = l2_normalize(sums)
        sizes = np.bincount(home, minlength=n_clusters)
        lost = np.flatnonzero((sizes == 0) | (invalid_rows(sums) != None))  # noqa: E711 (elementwise)
        means[xp.asarray(lost)] = rows.vectors[xp.asarray(_farthest(rows, index, len(lost)))]
        centroids = means
        if len(moved) == 0:
            break
    return centroids


def _mean_direction(rows: UnitRows) -> Array:
    """The one centroid (1, D): the first row, where the rows cancel out."""
    xp = namespace(rows.vectors)
    total = xp.zeros((1, rows.dim), dtype=xp.float64)
    _add_rows(total, rows.vectors, np.arange(len(rows)), np.zeros(len(rows), dtype=np.int64), 1.0)
    mean = l2_normalize(total)
    return mean if invalid_rows(mean)[0] is None else xp.asarray(rows.vectors[:1], copy=True)


def first_centroids(rows: UnitRows, n_clusters: int, random_state: int) -> NDArray[np.int64]:
    """K row numbers, none twice: drawn in rounds, a row the likelier the farther it is from those drawn before.

    Source: k-means++ (Arthur and Vassilvitskii 2007) on a part of the rows, several a round as in k-means|| (Bahmani
    and others 2012).
    """
    xp = namespace(rows.vectors)
    random = np.random.default_rng(random_state)
    size = min(len(rows), _CANDIDATES_PER_CENTROID * n_clusters)
    candidates = np.sort(random.choice(len(rows), size, replace=False))
    some = rows[xp.asarray(candidates)] if size < len(rows) else rows
    wide = wide_unit_rows(some)
    distance, is_chosen = np.ones(size), np.zeros(size, dtype=bool)
    chosen: list[NDArray[np.int64]] = []
    for part in slices(n_clusters, -(-n_clusters // _ROUNDS)):
        with np.errstate(divide="ignore"):  # the k lowest of these are a draw without replacement
            keys = random.exponential(size=size) / distance
        keys[is_chosen] = np.inf
        drawn = np.lexsort((is_chosen, keys))[: part.stop - part.start]
        is_chosen[drawn] = True
        chosen.append(drawn)
        centers = some[xp.asarray(drawn)]
        for block in slices(size, 4096):
            nearest = to_host(xp.max(rounded_cosines(some[block], centers, wide[block]), axis=1))
            distance[block] = np.minimum(distance[block], np.maximum(1.0 - nearest, 0.0))
    return candidates[np.concatenate(chosen)]


def _homes(rows: UnitRows, index: CentroidIndex, n_threads: int) -> NDArray[np.int64]:
    if n_threads == 1 or not is_on_host(rows.vectors):
        return to_host(home_positions(rows, index))
    parts = slices(len(rows), max(2048, -(-len(rows) // (4 * n_threads))))
    with ThreadPoolExecutor(n_threads) as threads:  # NumPy lets others run while it works
        return np.concatenate(list(threads.map(lambda part: home_positions(rows[part], index), parts)))


def _farthest(rows: UnitRows, index: CentroidIndex, count: int) -> NDArray[np.int64]:
    """The rows (count,) that lie farthest from their centroids, the earlier first among equals."""
    if count == 0:
        return np.empty(0, dtype=np.int64)
    distance = to_host(nearest_centroid(rows, index)[1])
    return np.argsort(-distance, kind="stable")[:count]


def _add_rows(sums: Array, vectors: Array, which: NDArray[np.int64], home: NDArray[np.int64], sign: float) -> None:
    """Add `sign` times the rows `which` to the float64 sums (K, D) of their clusters, always in the same order."""
    order = np.argsort(home, kind="stable")
    which, home = which[order], home[order]
    if not is_on_host(vectors):
        _add_rows_by_products(sums, vectors, which, home, sign)
        return
    for part, (wide, spare) in scratch_parts(vectors, len(which), vectors.shape[1], 2):
        wide[...] = take_rows(vectors, which[part], as_float32(spare))
        starts = np.flatnonzero(np.diff(home[part], prepend=-1))
        sums[home[part][starts]] += sign * np.add.reduceat(wide, starts, axis=0)


def _add_rows_by_products(
    sums: Array, vectors: Array, which: NDArray[np.int64], home: NDArray[np.int64], sign: float
) -> None:
    xp = namespace(vectors)
    for part in slices(len(which), _ONE_HOT_ROWS):
        clusters, position = np.unique(home[part], return_inverse=True)
        one_hot = xp.asarray(np.arange(len(clusters))[:, None] == position[None, :], dtype=xp.float64)
        wide = xp.astype(vectors[xp.asarray(which[part])], xp.float64)
        sums[xp.asarray(clusters)] += sign * (one_hot @ wide)
