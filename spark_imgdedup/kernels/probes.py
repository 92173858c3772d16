"""Which other clusters a row is compared in, so that pairs across their borders are found.

N rows, K centroids, D dimensions. A copy of a row is compared with the home members of that cluster alone. float32
products propose; what lies within their error of a bound is decided by float64 cosines, so any batch size agrees.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from spark_imgdedup.kernels.arrays import namespace, slices, to_host
from spark_imgdedup.kernels.cosines import pair_cosines
from spark_imgdedup.kernels.vectors import UnitRows

# For rounding: pairs count by cosines of 6 decimals, and the margin by sums of float64.
EPS_SLACK, MARGIN_SLACK = 1e-6, 2e-6
# How far a difference of two float32 cosines may be from the float64 one, with room: each is within 4e-6.
PRODUCT_ERROR = 1e-5
_ROWS = 4096

Copies = tuple[NDArray[np.int64], NDArray[np.int64]]


def margin_copies(
    rows: UnitRows, home: NDArray[np.integer], centroids: UnitRows, *, eps: float, alpha: float
) -> Copies:
    """Each row with the clusters whose border it is so near that a pair within eps may lie across it.

    With alpha = 1 every pair of a cosine of at least 1 - eps is compared in the home of one of the two. Such a pair is
    at most sqrt(2 eps) apart, and the plane between two centroids lies between its rows, so one of them is within half
    of that of the plane.

    Args:
        rows: (N, D).
        home: (N,) the number of each row's nearest centroid.
        centroids: (K, D).
        eps: Cosine distance.
        alpha: Share of the margin, from 0 to 1: less is cheaper and loses pairs.

    Returns:
        (M,) rows and (M,) clusters, never the home; by row, then by cluster.

    Cost: 2·N·K·D flop in float32, and K·D for each home that occurs.
    Source: semantics in docs/semantics.md, "Nothing missed at borders".
    """
    reach = alpha * math.sqrt((eps + EPS_SLACK) / 2)
    found = [
        _margin_of_one_home(rows, part, int(number), centroids, reach)
        for number in np.unique(home)
        for part in _parts(np.flatnonzero(home == number))
    ]
    return _in_order(found)


def _margin_of_one_home(
    rows: UnitRows, part: NDArray[np.int64], home: int, centroids: UnitRows, reach: float
) -> Copies:
    """`margin_copies` of rows of one home."""
    xp = namespace(rows.vectors)
    some = rows[xp.asarray(part)]
    apart = centroid_distances(centroids, home)
    similarity = to_host(some.proposals @ centroids.proposals.T)
    beyond = similarity[:, home][:, None] - similarity - (reach * apart + MARGIN_SLACK).astype(np.float32)
    beyond[:, home] = np.inf
    at, number = np.nonzero(beyond <= PRODUCT_ERROR)
    unsure = np.flatnonzero(beyond[at, number] >= -PRODUCT_ERROR)
    inside = np.ones(len(at), bool)
    if len(unsure):
        gaps = _gaps(some, at[unsure], np.full(len(unsure), home), number[unsure], centroids)
        inside[unsure] = gaps <= reach * apart[number[unsure]] + MARGIN_SLACK
    return part[at[inside]], number[inside]


def nearest_copies(rows: UnitRows, home: NDArray[np.integer], centroids: UnitRows, *, n_nearest: int) -> Copies:
    """Each row with its n_nearest nearest centroids but its home; the lower number is nearer among equals.

    Args:
        rows: (N, D).
        home: (N,) the number of each row's nearest centroid.
        centroids: (K, D).
        n_nearest: At least 2; the home is one of them.

    Returns:
        As `margin_copies`.

    Cost: 2·N·K·D flop in float32.
    """
    found = [_nearest(rows, part, home, centroids, n_nearest) for part in _parts(np.arange(len(rows)))]
    return _in_order(found)


def _nearest(
    rows: UnitRows, part: NDArray[np.int64], home: NDArray[np.integer], centroids: UnitRows, n_nearest: int
) -> Copies:
    xp = namespace(rows.vectors)
    some, homes = rows[xp.asarray(part)], np.asarray(home)[part]
    n_others = min(n_nearest, len(centroids)) - 1
    if n_others < 1:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    similarity = to_host(some.proposals @ centroids.proposals.T)
    similarity[np.arange(len(part)), homes] = -np.inf
    last = np.partition(similarity, -n_others, axis=1)[:, -n_others]
    at, number = np.nonzero(similarity >= (last - np.float32(PRODUCT_ERROR))[:, None])
    crowded = np.bincount(at, minlength=len(part)) > n_others
    sure = ~crowded[at]
    tied, numbers = at[~sure], number[~sure]
    if len(tied):
        cosines = to_host(pair_cosines(some, xp.asarray(tied), centroids, xp.asarray(numbers)))
        order = np.lexsort((numbers, -cosines, tied))
        tied, numbers = tied[order], numbers[order]
        place = np.arange(len(tied)) - np.searchsorted(tied, tied)
        at = np.concatenate([at[sure], tied[place < n_others]])
        number = np.concatenate([number[sure], numbers[place < n_others]])
    return part[at], number


def needed_margin(
    rows: UnitRows, home: NDArray[np.integer], other: NDArray[np.integer], centroids: UnitRows, *, eps: float
) -> NDArray[np.float64]:
    """The least alpha (N,) with which `margin_copies` copies each row into the cluster `other`; 0 where it is home."""
    apart = np.sqrt(np.maximum(0.0, 2 - 2 * _centroid_cosines(centroids, home, other)))
    gaps = _gaps(rows, np.arange(len(rows)), home, other, centroids) - MARGIN_SLACK
    bound = math.sqrt((eps + EPS_SLACK) / 2) * apart
    needed = np.divide(gaps, bound, out=np.where(gaps > 0, np.inf, 0.0), where=bound > 0)
    return np.where(np.asarray(home) == np.asarray(other), 0.0, np.maximum(needed, 0.0))


def needed_nearest(
    rows: UnitRows, home: NDArray[np.integer], other: NDArray[np.integer], centroids: UnitRows
) -> NDArray[np.int64]:
    """The least n_nearest (N,) with which `nearest_copies` copies each row into `other`; 1 where that is home.

    As there the lower number is nearer among equals, and float64 cosines decide what float32 products leave open.
    """
    needed = np.ones(len(rows), np.int64)
    xp = namespace(rows.vectors)
    for part in _parts(np.flatnonzero(np.asarray(home) != np.asarray(other))):
        some, theirs, every = rows[xp.asarray(part)], np.asarray(other)[part], np.arange(len(part))
        similarity = to_host(some.proposals @ centroids.proposals.T)
        beyond = similarity - similarity[every, theirs][:, None]
        beyond[every, np.asarray(home)[part]] = -np.inf  # it counts once, whatever its cosine
        beyond[every, theirs] = -np.inf
        before = beyond > PRODUCT_ERROR
        at, number = np.nonzero(np.abs(beyond) <= PRODUCT_ERROR)
        gaps = _gaps(some, at, number, theirs[at], centroids)
        before[at, number] = (gaps > 0) | ((gaps == 0) & (number < theirs[at]))
        needed[part] = 2 + before.sum(axis=1)
    return needed


def centroid_distances(centroids: UnitRows, home: int) -> NDArray[np.float64]:
    """(K,) how far each centroid is from one of them."""
    every = np.arange(len(centroids))
    cosines = _centroid_cosines(centroids, np.full(len(centroids), home), every)
    return np.sqrt(np.maximum(0.0, 2 - 2 * cosines))


def _centroid_cosines(centroids: UnitRows, one: NDArray[np.integer], other: NDArray[np.integer]) -> NDArray[np.float64]:
    xp = namespace(centroids.vectors)
    cosines: NDArray[np.float64] = to_host(pair_cosines(centroids, xp.asarray(one), centroids, xp.asarray(other)))
    return cosines


def _gaps(
    rows: UnitRows,
    at: NDArray[np.integer],
    home: NDArray[np.integer],
    other: NDArray[np.integer],
    centroids: UnitRows,
) -> NDArray[np.float64]:
    """By how much rows[at] have a higher cosine with the centroid `home` than with `other`."""
    xp = namespace(rows.vectors)
    place = xp.asarray(at)
    with_home = to_host(pair_cosines(rows, place, centroids, xp.asarray(home)))
    gaps: NDArray[np.float64] = with_home - to_host(pair_cosines(rows, place, centroids, xp.asarray(other)))
    return gaps


def _parts(positions: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [positions[part] for part in slices(len(positions), _ROWS)]


def _in_order(found: list[Copies]) -> Copies:
    if not found:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    rows, clusters = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.lexsort((clusters, rows))
    return rows[order], clusters[order].astype(np.int64)
