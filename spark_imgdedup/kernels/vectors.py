"""Embeddings as unit rows: normalised, checked and measured once.

N rows, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spark_imgdedup.kernels.arrays import Array, fold_sum, namespace, scratch_parts, slices, to_host

DECIMALS = 6
# Rows that were stored as float16 without a new normalisation come back within 5e-4 of length 1.
UNIT_LENGTH_TOLERANCE = 1e-3
# A row further off than this is normalised again before it proposes: float32 normalisation itself is within 1.2e-7.
PROPOSAL_LENGTH_TOLERANCE = 3e-7

_HASH_BYTES = 4 * 2**20


def lengths(vectors: Array) -> Array:
    """Euclidean lengths (N,) in float64, of vectors (N, D) of any float type: the same bits everywhere."""
    xp = namespace(vectors)
    result = xp.zeros(vectors.shape[0], dtype=xp.float64)
    for rows, (wide,) in scratch_parts(vectors, vectors.shape[0], vectors.shape[1], 1):
        wide[...] = vectors[rows]
        result[rows] = _fold_lengths(wide)
    return result


def l2_normalize(vectors: Array, *, out: Array | None = None) -> Array:
    """The rows (N, D) as float32 of unit length; divided in float64, so float16 input loses nothing more.

    A zero row stays zero and a row with NaN or infinity comes back as NaN: `invalid_rows` names both.

    Args:
        vectors: (N, D) of any float type.
        out: (N, D) float32 to write to and return; `vectors` itself where that is float32. Default: a new matrix.

    Raises:
        ValueError: vectors are not a matrix of floats, or out is not float32 of their shape.
    """
    return _normalize(vectors, out, None)


def invalid_rows(vectors: Array) -> NDArray[np.object_]:
    """Why each row cannot be compared with others: 'zero_embedding', 'nan_embedding' or None (N,), on the host.

    Judged by the row's length, which is what `l2_normalize` divides by; infinity counts as 'nan_embedding'.

    Raises:
        ValueError: vectors are not a matrix of floats.
    """
    require_float_matrix(vectors)
    length = to_host(lengths(vectors))
    reasons = np.full(len(length), None, dtype=object)
    reasons[length == 0] = "zero_embedding"
    reasons[~np.isfinite(length)] = "nan_embedding"
    return reasons


@dataclass(frozen=True)
class UnitRows:
    """Rows of unit length, with what their exact cosines need; made by `of` or `normalized`, cut by slicing."""

    vectors: Array  # (N, D) float32 as given: the cosine is theirs
    lengths: Array  # (N,) float64, to rounding: their last bits depend on the library
    proposals: Array  # (N, D) float32 of length 1 within PROPOSAL_LENGTH_TOLERANCE; `vectors` itself if these are

    @classmethod
    def of(cls, embeddings: Array | UnitRows, name: str = "embeddings") -> UnitRows:
        """Check and wrap embeddings (N, D), without a copy where they are of unit length to float32's precision.

        Args:
            embeddings: (N, D) float32; rows that are wrapped already are returned as they are.
            name: What an error calls them.

        Raises:
            ValueError: they are not a float32 matrix, or a row's length is not within 1e-3 of 1.
        """
        if isinstance(embeddings, UnitRows):
            return embeddings
        length = checked_lengths(embeddings, name)
        xp = namespace(embeddings)
        is_exact = not xp.any(xp.abs(length - 1) > PROPOSAL_LENGTH_TOLERANCE)
        return cls(embeddings, length, embeddings if is_exact else l2_normalize(embeddings))

    @classmethod
    def normalized(cls, vectors: Array, name: str = "embeddings", *, out: Array | None = None) -> UnitRows:
        """`UnitRows.of(l2_normalize(vectors))` in one pass.

        Args:
            vectors: (N, D) of any float type.
            name: What an error calls them.
            out: As in `l2_normalize`: where the rows are kept.

        Raises:
            ValueError: vectors are not a matrix of floats, or a row is zero, NaN or infinite.
        """
        xp = require_float_matrix(vectors, name)
        length = xp.empty(vectors.shape[0], dtype=xp.float64)
        unit = _normalize(vectors, out, length)
        require_unit_length(length, name)
        return cls(unit, length, unit)

    def __len__(self) -> int:
        return int(self.vectors.shape[0])

    def __getitem__(self, rows: slice | Array) -> UnitRows:
        vectors = self.vectors[rows]
        proposals = vectors if self.proposals is self.vectors else self.proposals[rows]
        return UnitRows(vectors, self.lengths[rows], proposals)

    @property
    def dim(self) -> int:
        """D, the number of dimensions."""
        return int(self.vectors.shape[1])


def first_occurrences(vectors: Array, groups: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """For each float32 row, the index of the first row with the same bytes (N,); itself if there is none before it.

    Args:
        vectors: (N, D) float32.
        groups: (N,) numbers; only rows of one group are compared. Default: all are.

    Cost: one pass over the bytes, and a sort of N integers. A hash collision misses a copy, never invents one.
    """
    xp = namespace(vectors)
    n, dim = vectors.shape
    odd = np.random.default_rng(0x5EED).integers(0, 2**63, size=dim + 1, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    weights = xp.asarray(odd[:dim])
    hashes = np.empty(n, dtype=np.uint64)
    for rows in _hash_slices(n, dim):
        words = xp.ascontiguousarray(vectors[rows]).view(xp.uint32)
        hashes[rows] = to_host(xp.sum(xp.astype(words, xp.uint64) * weights, axis=1, dtype=xp.uint64))
    if groups is not None:
        hashes += groups.astype(np.uint64) * odd[dim]
    first, group = np.unique(hashes, return_index=True, return_inverse=True)[1:]
    candidates = first[group.reshape(-1)].astype(np.int64)
    if groups is not None:
        candidates = np.where(groups[candidates] == groups, candidates, np.arange(n))
    found = np.arange(n, dtype=np.int64)
    later = np.flatnonzero(candidates != found)
    for part in _hash_slices(len(later), dim):
        here, there = later[part], candidates[later[part]]
        same = xp.all(vectors[xp.asarray(here)] == vectors[xp.asarray(there)], axis=1)
        found[here] = np.where(to_host(same), there, here)
    return found


def _normalize(vectors: Array, out: Array | None, length_after: Array | None) -> Array:
    """`l2_normalize`; also measures the rows that came out into `length_after` (N,) float64, where it is given."""
    xp = require_float_matrix(vectors)
    result = xp.empty(vectors.shape, dtype=xp.float32) if out is None else out
    if result.dtype != xp.float32 or result.shape != vectors.shape:
        raise ValueError(
            f"out must be float32 of shape {tuple(vectors.shape)}, got {result.dtype} of shape {tuple(result.shape)}. "
            "Leave it out to get a new matrix."
        )
    for rows, (wide, terms) in scratch_parts(vectors, vectors.shape[0], vectors.shape[1], 2):
        wide[...] = vectors[rows]
        terms[...] = wide
        divisors = _fold_lengths(terms)
        divisors[divisors == 0] = 1.0
        divisors[~xp.isfinite(divisors)] = xp.nan
        wide /= divisors[:, None]
        result[rows] = wide
        if length_after is not None:
            wide[...] = result[rows]
            length_after[rows] = dot_lengths(wide)
    return result


def _fold_lengths(wide: Array) -> Array:
    """Lengths (N,) of float64 rows (N, D), which are overwritten; the same bits everywhere."""
    with np.errstate(over="ignore", invalid="ignore"):  # inf and NaN are the caller's to judge
        wide *= wide
        return namespace(wide).sqrt(fold_sum(wide))


def dot_lengths(wide: Array) -> Array:
    """Lengths (N,) of float64 rows (N, D): faster, but another library may give other last bits."""
    xp = namespace(wide)
    with np.errstate(over="ignore", invalid="ignore"):
        return xp.sqrt(xp.vecdot(wide, wide))


def checked_lengths(embeddings: Array, name: str) -> Array:
    """Lengths (N,) of float32 rows (N, D) to rounding; an error where they are not within 1e-3 of 1."""
    xp = require_float_matrix(embeddings, name, only_float32=True)
    length = xp.empty(embeddings.shape[0], dtype=xp.float64)
    for rows, (wide,) in scratch_parts(embeddings, embeddings.shape[0], embeddings.shape[1], 1):
        wide[...] = embeddings[rows]
        length[rows] = dot_lengths(wide)
    require_unit_length(length, name)
    return length


def require_unit_length(length: Array, name: str) -> None:
    """An error where a length (N,) is not within 1e-3 of 1."""
    xp = namespace(length)
    wrong = ~(xp.abs(length - 1) <= UNIT_LENGTH_TOLERANCE)  # "not <=" catches NaN too
    if xp.any(wrong):
        row = int(xp.argmax(xp.astype(wrong, xp.uint8)))
        raise ValueError(
            f"{name} must have unit length, but {int(xp.sum(wrong))} of {len(wrong)} rows have not: row {row} has "
            f"length {float(length[row]):.4g}. Pass them through kernels.vectors.l2_normalize, and leave out what "
            "kernels.vectors.invalid_rows names."
        )


def _hash_slices(n: int, dim: int) -> list[slice]:
    return list(slices(n, max(1, _HASH_BYTES // (8 * max(dim, 1)))))


def require_float_matrix(vectors: Array, name: str = "vectors", *, only_float32: bool = False) -> Any:
    """The array module of a matrix (N, D) of floats; an error where it is something else."""
    xp = namespace(vectors)
    kind = "float32" if only_float32 else "float"
    is_float = vectors.dtype == xp.float32 if only_float32 else vectors.dtype.kind == "f"
    if vectors.ndim != 2 or vectors.shape[1] == 0 or not is_float:
        raise ValueError(
            f"{name} must be a {kind} matrix (N, D), got {vectors.dtype} of shape {vectors.shape}. "
            "Stack the vectors as rows and cast them first."
        )
    return xp
