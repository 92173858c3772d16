"""Cosines of unit rows to the last defined decimal.

float32 products only propose. What is reported is the float64 cosine of the float32 rows as given, so that no batch
size, partitioning or device shows in a result. `pair_cosines` defines its bits. The faster sums beside it are right
within `cosine_error`, and whoever uses them asks `pair_cosines` where that much could change a decision.
"""

from __future__ import annotations

import numpy as np

from spark_imgdedup.kernels.arrays import (
    Array,
    as_float32,
    fold_sum,
    is_on_host,
    namespace,
    scratch_parts,
    take_rows,
)
from spark_imgdedup.kernels.vectors import DECIMALS, UnitRows, lengths

# Cosines that round alike are up to 1e-6 apart; the rest is for how much float32 products of one row may differ in
# error. Seen at D = 384 to 4096: 1e-6 on random and shared-direction rows, 3.3e-6 at worst, on rows whose entries are
# all equal, where roundings add up. TF32 would break it: CuPy uses that only if CUPY_TF32 is set.
PROPOSAL_TOLERANCE = 8e-6


def cosine_error(dim: int) -> float:
    """Bound on the error of a float64 cosine of two rows of `dim` numbers, in whatever order it was summed.

    Source: Higham, Accuracy and Stability of Numerical Algorithms, section 3.1: |error| <= D·u·|x||y| for a dot
    product, u = 2**-53; the two lengths add as much again. Two such cosines of one pair differ by twice this at most.
    """
    return (dim + 8) * 2.0**-52


def round_cosine(cosine: Array) -> Array:
    """To 6 decimals, half to even, without negative zeros."""
    xp = namespace(cosine)
    return xp.round(cosine * 10.0**DECIMALS) / 10.0**DECIMALS + 0.0


def pair_cosines(left: UnitRows, i: Array, right: UnitRows, j: Array) -> Array:
    """Float64 cosines (M,) of left[i] and right[j], the same bits wherever and however they are asked for."""
    xp = namespace(left.vectors)
    result = xp.empty(i.shape[0], dtype=xp.float64)
    for part, (terms,) in scratch_parts(left.vectors, i.shape[0], left.dim, 1):
        one, other = left.vectors[i[part]], right.vectors[j[part]]
        terms[...] = one
        terms *= other
        result[part] = fold_sum(terms) / (lengths(one) * lengths(other))
    return result


def fast_pair_cosines(left: UnitRows, i: Array, right: UnitRows, j: Array) -> Array:
    """Float64 cosines (M,) of left[i] and right[j], right within `cosine_error`, not to the bit."""
    xp = namespace(left.vectors)
    result = xp.empty(i.shape[0], dtype=xp.float64)
    consecutive = is_on_host(i) and i.shape[0] and i[-1] - i[0] == len(i) - 1 and bool(np.all(i[1:] > i[:-1]))
    own = left.vectors[i[0] : i[-1] + 1] if consecutive else None
    for part, (one, other, spare) in scratch_parts(left.vectors, i.shape[0], left.dim, 3):
        narrow = as_float32(spare)
        one[...] = take_rows(left.vectors, i[part], narrow) if own is None else own[part]
        other[...] = take_rows(right.vectors, j[part], narrow)
        result[part] = xp.vecdot(one, other)
    result /= left.lengths[i] * right.lengths[j]
    return result


def rounded_pair_cosines(left: UnitRows, i: Array, right: UnitRows, j: Array) -> Array:
    """`round_cosine(pair_cosines(…))` (M,), at the price of `fast_pair_cosines`."""
    cosines = fast_pair_cosines(left, i, right, j)
    unsure = namespace(cosines).nonzero(may_round_either_way(cosines, left.dim))[0]
    if unsure.shape[0]:
        cosines[unsure] = pair_cosines(left, i[unsure], right, j[unsure])
    return round_cosine(cosines)


def may_round_either_way(cosines: Array, dim: int) -> Array:
    """Where the defined cosine, or 1 minus it, may lie across a rounding boundary from this one."""
    xp = namespace(cosines)
    to_boundary = cosines * 10.0**DECIMALS
    to_boundary -= xp.floor(to_boundary)
    to_boundary -= 0.5
    return xp.abs(to_boundary) <= 2 * cosine_error(dim) * 10.0**DECIMALS


def wide_unit_rows(rows: UnitRows) -> Array:
    """The rows (N, D) in float64, divided by their lengths."""
    xp = namespace(rows.vectors)
    wide = xp.astype(rows.vectors, xp.float64)
    wide /= rows.lengths[:, None]
    return wide


def rounded_cosines(left: UnitRows, right: UnitRows, wide_left: Array | None = None) -> Array:
    """`round_cosine(pair_cosines(…))` of all pairs (N, M), by one float64 product.

    `wide_left`: `wide_unit_rows(left)`, where it is known.
    """
    xp = namespace(left.vectors)
    wide_left = wide_unit_rows(left) if wide_left is None else wide_left
    cosines = wide_left @ wide_unit_rows(right).T
    unsure = xp.nonzero(may_round_either_way(cosines, left.dim))
    if unsure[0].shape[0]:
        cosines[unsure] = pair_cosines(left, unsure[0], right, unsure[1])
    return round_cosine(cosines)
