"""The home cluster of each embedding, and how far from its centroid it lies.

N embeddings, K centroids, D dimensions; B embeddings and a tile of centroids per product.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark_imgdedup.kernels.arrays import (
    Array,
    Products,
    best_per_column,
    namespace,
    scratch_parts,
    slices,
    take_rows,
    to_host,
    two_best,
)
from spark_imgdedup.kernels.cosines import (
    PROPOSAL_TOLERANCE,
    cosine_error,
    fast_pair_cosines,
    may_round_either_way,
    pair_cosines,
    round_cosine,
    wide_unit_rows,
)
from spark_imgdedup.kernels.vectors import (
    UnitRows,
    dot_lengths,
    first_occurrences,
    require_float_matrix,
    require_unit_length,
)

_CENTROID_TILE = 1024
# Float64 products at a time, where float32 left more than one home open: 8 MiB.
_SETTLED_PRODUCTS = 2**20


@dataclass(frozen=True)
class CentroidIndex:
    """Centroids checked, measured and rid of copies: made once, then used for every batch of embeddings."""

    numbers: NDArray[np.int64]  # (U,) the numbers of the distinct centroids, ascending
    rows: UnitRows  # (U, D) the distinct centroids
    wide: Array  # (U, D) float64, divided by their lengths
    shape: tuple[int, ...]  # of the centroids as given

    @classmethod
    def of(cls, centroids: Array | CentroidIndex) -> CentroidIndex:
        """Prepare centroids (K, D), float32 of unit length, on the device they are on.

        Raises:
            ValueError: they are not a float32 matrix of rows of unit length, or there is none.
        """
        if isinstance(centroids, CentroidIndex):
            return centroids
        rows = UnitRows.of(centroids, "centroids")
        first = first_occurrences(centroids)
        numbers = np.flatnonzero(first == np.arange(len(first)))  # copies only make ties
        if len(numbers) < len(first):
            rows = rows[namespace(centroids).asarray(numbers)]
        return cls(numbers, rows, wide_unit_rows(rows), tuple(centroids.shape))


def nearest_centroid(
    embeddings: Array | UnitRows, centroids: Array | CentroidIndex, *, batch_size: int = 2048
) -> tuple[Array, Array]:
    """The cluster of each embedding, and its cosine distance to that cluster's centroid.

    Home is the centroid of the highest float64 cosine, the lowest number among equals. Any batch_size agrees.

    Args:
        embeddings: (N, D) float32, rows of unit length.
        centroids: (K, D) float32, of unit length, in the same kind of array; or a `CentroidIndex` of them, which
            saves preparing them for each call.
        batch_size: Embeddings per matrix product. Changes memory and speed only.

    Returns:
        cluster_id: (N,) int32.
        cosine_dist_to_cent: (N,) float64, 1 - cosine rounded to 6 decimals; never negative zero.

    Raises:
        ValueError: rows are not float32 of unit length, there is no centroid, D differs, or batch_size is below 1.

    Cost: 2·N·K·D flop in float32; scratch of about 5 bytes * batch_size * 1024.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    index = CentroidIndex.of(centroids)
    rows = embeddings if isinstance(embeddings, UnitRows) else None
    vectors: Array = embeddings if rows is None else rows.vectors
    xp = require_float_matrix(vectors, "embeddings", only_float32=True)
    if len(index.rows) == 0 or index.rows.dim != vectors.shape[1]:
        raise ValueError(
            f"Centroids of shape {index.shape} do not fit embeddings of dimension {vectors.shape[1]}. "
            "Train the centroids on vectors of the same encoder."
        )
    best, contested = _proposed(vectors, index, batch_size)
    length = xp.empty(vectors.shape[0], dtype=xp.float64) if rows is None else rows.lengths
    cosines = _cosines_to(vectors, index, best, length, measure=rows is None)
    if rows is None:
        require_unit_length(length, "embeddings")
        rows = UnitRows(vectors, length, vectors)
    if contested.shape[0]:
        best[contested] = _settled(rows, contested, index)
        cosines[contested] = fast_pair_cosines(rows, contested, index.rows, best[contested])
    distance = 1.0 - cosines
    unsure = xp.nonzero(may_round_either_way(distance, rows.dim))[0]
    if unsure.shape[0]:
        distance[unsure] = 1.0 - pair_cosines(rows, unsure, index.rows, best[unsure])
    return xp.astype(xp.asarray(index.numbers)[best], xp.int32), round_cosine(distance)


def home_positions(rows: UnitRows, index: CentroidIndex, *, batch_size: int = 2048) -> Array:
    """The home of each row as a position (N,) int64 in `index.rows`: `nearest_centroid` without the distances."""
    best, contested = _proposed(rows.vectors, index, batch_size)
    if contested.shape[0]:
        best[contested] = _settled(rows, contested, index)
    return best


def _proposed(vectors: Array, index: CentroidIndex, batch_size: int) -> tuple[Array, Array]:
    """By float32 products: the best centroid (N,) of each row, and the rows (M,) which another may be home to.

    A row's own length scales all of its products alike, so rows up to 1e-3 off unit length need no normalisation here.
    """
    xp = namespace(vectors)
    n = vectors.shape[0]
    best, gap = xp.empty(n, dtype=xp.int64), xp.empty(n, dtype=xp.float32)
    with Products.of(vectors, min(n, batch_size), min(len(index.rows), _CENTROID_TILE)) as products:
        for batch in slices(n, batch_size):
            for tile in slices(len(index.rows), _CENTROID_TILE):
                product = products.product(vectors[batch], index.rows.proposals[tile])
                column, highest, second = two_best(product)
                if tile.start == 0:
                    top, runner_up = highest, second
                    best[batch] = column
                    continue
                is_better = highest > top
                runner_up = xp.maximum(xp.where(is_better, top, highest), xp.where(is_better, second, runner_up))
                best[batch] = xp.where(is_better, column + tile.start, best[batch])
                top = xp.maximum(top, highest)
            gap[batch] = top - runner_up
    return best, xp.nonzero(gap <= PROPOSAL_TOLERANCE)[0]


def _cosines_to(vectors: Array, index: CentroidIndex, best: Array, length: Array, *, measure: bool) -> Array:
    """Float64 cosine (N,) of each row and its centroid, within `cosine_error`; fills `length` (N,) if asked to."""
    xp = namespace(vectors)
    result = xp.empty(vectors.shape[0], dtype=xp.float64)
    for part, (one, other) in scratch_parts(vectors, vectors.shape[0], vectors.shape[1], 2):
        one[...] = vectors[part]
        if measure:
            length[part] = dot_lengths(one)
        result[part] = xp.vecdot(one, take_rows(index.wide, best[part], other))
    with np.errstate(invalid="ignore", divide="ignore"):  # a row without a direction is refused later
        return result / length


def _settled(rows: UnitRows, contested: Array, index: CentroidIndex) -> Array:
    """The best centroid (M,) of the given rows by float64, the lowest number among equals."""
    xp = namespace(rows.vectors)
    result = xp.empty(contested.shape[0], dtype=xp.int64)
    for part in slices(contested.shape[0], max(1, _SETTLED_PRODUCTS // len(index.rows))):
        some = rows[contested[part]]
        cosines = wide_unit_rows(some) @ index.wide.T
        # Each of two cosines may be off by the bound twice over: as summed here, and as defined.
        near = cosines >= xp.max(cosines, axis=1)[:, None] - 4 * cosine_error(rows.dim)
        row, centroid = xp.nonzero(near)
        if row.shape[0] == len(some):
            result[part] = centroid
            continue
        values = to_host(pair_cosines(some, row, index.rows, centroid))
        result[part] = xp.asarray(best_per_column(to_host(centroid), to_host(row), values)[2])
    return result
