"""Embeddings as unit rows, and their cosines to the last defined decimal.

N rows, D dimensions. float32 products only propose. What is reported is the float64 cosine of the float32 rows as
given, so that no batch size, partitioning or device shows in a result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark_imgdedup.kernels.arrays import Array, fold_sum, namespace, slices, to_host

DECIMALS = 6
# Rows that were stored as float16 without a new normalisation come back within 5e-4 of length 1.
UNIT_LENGTH_TOLERANCE = 1e-3
# Cosines that round alike are up to 1e-6 apart; the rest is for how much float32 products of one column may differ in
# error. Seen at D = 384 to 4096: 1e-6 on random and shared-direction rows, 3.3e-6 at worst, on rows whose entries are
# all equal, where roundings add up. TF32 would break it: CuPy uses that only if CUPY_TF32 is set.
PROPOSAL_TOLERANCE = 8e-6
# A row further off than this is normalised again before it proposes: float32 normalisation itself is within 1.2e-7.
PROPOSAL_LENGTH_TOLERANCE = 3e-7

_SCRATCH_BYTES = 4 * 2**20


def lengths(vectors: Array) -> Array:
    """Euclidean lengths (N,) in float64, of vectors (N, D) of any float type."""
    xp = namespace(vectors)
    result = xp.zeros(vectors.shape[0], dtype=xp.float64)
    for rows in _scratch_slices(*vectors.shape):
        wide = xp.astype(vectors[rows], xp.float64)
        with np.errstate(over="ignore", invalid="ignore"):  # inf and NaN are the caller's to judge
            result[rows] = xp.sqrt(fold_sum(wide * wide))
    return result


def l2_normalize(vectors: Array) -> Array:
    """The rows (N, D) as float32 of unit length; divided in float64, so float16 input loses nothing more.

    A zero row stays zero and a row with NaN or infinity comes back as NaN: `invalid_rows` names both.

    Raises:
        ValueError: vectors are not a matrix of floats.
    """
    _require_float_matrix(vectors)
    xp = namespace(vectors)
    result = xp.empty(vectors.shape, dtype=xp.float32)
    divisors = lengths(vectors)
    divisors[divisors == 0] = 1.0
    divisors[~xp.isfinite(divisors)] = xp.nan
    for rows in _scratch_slices(*vectors.shape):
        result[rows] = xp.astype(xp.astype(vectors[rows], xp.float64) / divisors[rows, None], xp.float32)
    return result


def invalid_rows(vectors: Array) -> NDArray[np.object_]:
    """Why each row cannot be compared with others: 'zero_embedding', 'nan_embedding' or None (N,), on the host.

    Judged by the row's length, which is what `l2_normalize` divides by; infinity counts as 'nan_embedding'.

    Raises:
        ValueError: vectors are not a matrix of floats.
    """
    _require_float_matrix(vectors)
    length = to_host(lengths(vectors))
    reasons = np.full(len(length), None, dtype=object)
    reasons[length == 0] = "zero_embedding"
    reasons[~np.isfinite(length)] = "nan_embedding"
    return reasons


@dataclass(frozen=True)
class UnitRows:
    """Rows of unit length, with what their exact cosines need; made by `UnitRows.of`, cut by slicing."""

    vectors: Array  # (N, D) float32 as given: the cosine is theirs
    lengths: Array  # (N,) float64
    proposals: Array  # (N, D) float32, close enough to length 1 for PROPOSAL_TOLERANCE

    @classmethod
    def of(cls, embeddings: Array, name: str = "embeddings") -> UnitRows:
        """Check and wrap embeddings (N, D).

        Raises:
            ValueError: they are not a float32 matrix, or a row's length is not within 1e-3 of 1.
        """
        xp = _require_float_matrix(embeddings, name, only_float32=True)
        length = lengths(embeddings)
        off = xp.abs(length - 1)
        wrong = ~(off <= UNIT_LENGTH_TOLERANCE)  # "not <=" catches NaN too
        if xp.any(wrong):
            row = int(xp.argmax(xp.astype(wrong, xp.uint8)))
            raise ValueError(
                f"{name} must have unit length, but {int(xp.sum(wrong))} of {len(wrong)} rows have not: row {row} has "
                f"length {float(length[row]):.4g}. Pass them through kernels.vectors.l2_normalize, and leave out what "
                "kernels.vectors.invalid_rows names."
            )
        is_exact = not xp.any(off > PROPOSAL_LENGTH_TOLERANCE)
        return cls(embeddings, length, embeddings if is_exact else l2_normalize(embeddings))

    def __len__(self) -> int:
        return int(self.vectors.shape[0])

    def __getitem__(self, rows: slice | Array) -> UnitRows:
        return UnitRows(self.vectors[rows], self.lengths[rows], self.proposals[rows])

    @property
    def dim(self) -> int:
        """D, the number of dimensions."""
        return int(self.vectors.shape[1])

    @property
    def cosine_error(self) -> float:
        """Bound on the error of a float64 cosine of two of these rows, in whatever order it was summed.

        Source: Higham, Accuracy and Stability of Numerical Algorithms, section 3.1: |error| <= D·u·|x||y| for a dot
        product, u = 2**-53; the two lengths add as much again.
        """
        return (self.dim + 8) * 2.0**-52


def pair_cosines(left: UnitRows, i: Array, right: UnitRows, j: Array) -> Array:
    """Float64 cosines (M,) of left[i] and right[j], the same bits wherever and however they are asked for."""
    xp = namespace(left.vectors)
    result = xp.empty(i.shape[0], dtype=xp.float64)
    for part in _scratch_slices(i.shape[0], left.dim):
        terms = xp.astype(left.vectors[i[part]], xp.float64)
        terms *= right.vectors[j[part]]
        result[part] = fold_sum(terms) / (left.lengths[i[part]] * right.lengths[j[part]])
    return result


def all_cosines(left: UnitRows, right: UnitRows) -> Array:
    """Float64 cosines (N, M) of all pairs by one matrix product: right within `cosine_error`, not to the bit."""
    xp = namespace(left.vectors)
    similarity = xp.astype(left.vectors, xp.float64) @ xp.astype(right.vectors, xp.float64).T
    similarity /= left.lengths[:, None]
    similarity /= right.lengths[None, :]
    return similarity


def round_cosine(cosine: Array) -> Array:
    """To 6 decimals, half to even, without negative zeros."""
    xp = namespace(cosine)
    return xp.round(cosine * 10.0**DECIMALS) / 10.0**DECIMALS + 0.0


def propose(similarity: Array, ceiling: Array) -> tuple[Array, Array, Array]:
    """The entries of a float32 tile whose exact cosine may be the highest of their column.

    Args:
        similarity: (R, B) float32 products; -inf where a pair must not be compared.
        ceiling: (B,) float32, the highest product each column has met in earlier tiles; +inf: wants no more.

    Returns:
        rows, columns: (M,) int64 positions within PROPOSAL_TOLERANCE of the column's highest product so far.
        ceiling: (B,) float32, with this tile taken in.
    """
    xp = namespace(similarity)
    highest = xp.max(similarity, axis=0)
    ceiling = xp.maximum(ceiling, highest)
    # -2 is below any cosine and above -inf: a column with nothing to compare proposes nothing.
    threshold = xp.maximum(ceiling - xp.float32(PROPOSAL_TOLERANCE), xp.asarray(-2.0, dtype=xp.float32))
    open_columns = xp.nonzero(highest >= threshold)[0]
    rows, nth = xp.nonzero(similarity[:, open_columns] >= threshold[open_columns])
    return rows, open_columns[nth], ceiling


def first_occurrences(vectors: Array) -> NDArray[np.int64]:
    """For each float32 row, the index of the first row with the same bytes (N,); itself if there is none before it.

    Cost: one pass over the bytes, and a sort of N integers. A hash collision misses a copy, never invents one.
    """
    xp = namespace(vectors)
    n, dim = vectors.shape
    odd = np.random.default_rng(0x5EED).integers(0, 2**63, size=dim, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    weights = xp.asarray(odd)
    hashes = np.empty(n, dtype=np.uint64)
    for rows in _scratch_slices(n, dim):
        words = xp.ascontiguousarray(vectors[rows]).view(xp.uint32)
        hashes[rows] = to_host(xp.sum(xp.astype(words, xp.uint64) * weights, axis=1, dtype=xp.uint64))
    first, group = np.unique(hashes, return_index=True, return_inverse=True)[1:]
    candidates = first[group.reshape(-1)].astype(np.int64)
    found = np.arange(n, dtype=np.int64)
    later = np.flatnonzero(candidates != found)
    for part in _scratch_slices(len(later), dim):
        here, there = later[part], candidates[later[part]]
        same = xp.all(vectors[xp.asarray(here)] == vectors[xp.asarray(there)], axis=1)
        found[here] = np.where(to_host(same), there, here)
    return found


def _scratch_slices(n: int, dim: int) -> list[slice]:
    return list(slices(n, max(1, _SCRATCH_BYTES // (8 * max(dim, 1)))))


def _require_float_matrix(vectors: Array, name: str = "vectors", *, only_float32: bool = False) -> Array:
    xp = namespace(vectors)
    kind = "float32" if only_float32 else "float"
    is_float = vectors.dtype == xp.float32 if only_float32 else vectors.dtype.kind == "f"
    if vectors.ndim != 2 or vectors.shape[1] == 0 or not is_float:
        raise ValueError(
            f"{name} must be a {kind} matrix (N, D), got {vectors.dtype} of shape {vectors.shape}. "
            "Stack the vectors as rows and cast them first."
        )
    return xp
