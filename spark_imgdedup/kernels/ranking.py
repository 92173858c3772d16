"""The order in which the images of one cluster are preferred: the first of those that repeat each other is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spark_imgdedup.kernels.vectors import DECIMALS

Ids = Sequence[str] | Sequence[int] | NDArray[Any]
STRATEGIES = ("hard", "easy", "random", "metadata")


@dataclass(frozen=True)
class RankKey:
    """A column to rank by.

    Attributes:
        name: Named in errors.
        values: N values of one kind: numbers, booleans, text, dates; in a list or an array. None, NaN, NaT and what an
            array masks are missing, and rank last whether the key ascends or not.
        ascending: Whether the smallest value ranks first. Text is compared by code point, False is below True.
    """

    name: str
    values: Sequence[Any] | NDArray[Any]
    ascending: bool = True


def rank_order(
    ids: Ids,
    cosine_dist_to_cent: NDArray[np.floating[Any]],
    *,
    which_to_keep: str,
    random_state: int,
    keys: Sequence[RankKey] = (),
) -> NDArray[np.int64]:
    """The permutation that puts a cluster's rows in rank order, best-ranked first.

    Independent of the order in which the rows come, since ids break every tie: text by code point (as its UTF-8
    bytes sort), numbers by value.

    Args:
        ids: N distinct texts or N distinct integers.
        cosine_dist_to_cent: (N,) cosine distances, compared to 6 decimals.
        which_to_keep: 'hard' ranks the farthest from the centroid first (ties: highest id), 'easy' the nearest
            (ties: lowest id), 'random' goes by a hash of seed and id, 'metadata' by the keys (ties: lowest id).
        random_state: The seed of 'random'; the others ignore it.
        keys: For 'metadata', the most important first; the others ignore them.

    Returns:
        (N,) int64 positions.

    Raises:
        ValueError: the strategy is unknown, the lengths differ, a distance is not finite, 'metadata' has no key, or
            the ids or the values of a key cannot be compared.
    """
    if which_to_keep not in STRATEGIES:
        raise ValueError(f"which_to_keep must be one of {', '.join(STRATEGIES)}, got {which_to_keep!r}.")
    by_id = _positions(ids)
    distances = np.round(np.asarray(cosine_dist_to_cent, dtype=np.float64), DECIMALS)
    if distances.shape != by_id.shape:
        raise ValueError(
            f"Each id needs one cosine_dist_to_cent, got {len(by_id)} ids and distances of shape {distances.shape}."
        )
    if not np.isfinite(distances).all():
        raise ValueError(
            f"cosine_dist_to_cent must be finite, but row {int(np.argmin(np.isfinite(distances)))} is not. "
            "Leave out the rows that kernels.vectors.invalid_rows names before clustering."
        )
    if which_to_keep == "random":
        return np.lexsort((by_id, hash_ids(ids, random_state))).astype(np.int64)
    if which_to_keep == "metadata":
        return _by_keys(by_id, keys)
    nearest_first = np.lexsort((by_id, distances)).astype(np.int64)
    return nearest_first if which_to_keep == "easy" else nearest_first[::-1].copy()


def hash_ids(ids: Ids, random_state: int) -> NDArray[np.uint64]:
    """A 64-bit BLAKE2b hash (N,) of each id's text, keyed by the seed: the same in every process and release.

    Raises:
        ValueError: random_state does not fit in 64 bits.
    """
    try:
        key = random_state.to_bytes(8, "little", signed=True)
    except OverflowError:
        raise ValueError(f"random_state must fit in a signed 64-bit integer, got {random_state}.") from None
    digests = (hashlib.blake2b(str(id_).encode(), digest_size=8, key=key).digest() for id_ in _as_list(ids))
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def _by_keys(by_id: NDArray[np.int64], keys: Sequence[RankKey]) -> NDArray[np.int64]:
    if not keys:
        raise ValueError("which_to_keep 'metadata' needs at least one key to rank by.")
    for key in keys:
        if len(key.values) != len(by_id):
            raise ValueError(f"Each id needs one {key.name}, got {len(by_id)} ids and {len(key.values)} values.")
    # NumPy sorts by the last key first.
    return np.lexsort((by_id, *(_places(key) for key in reversed(keys)))).astype(np.int64)


def _places(key: RankKey) -> NDArray[np.int64]:
    """The place (N,) of each value among the distinct ones in the key's direction; the missing share the last."""
    values = _present(key.values)
    # Python compares whole numbers beyond 2**53 exactly, which float64 would not.
    try:
        distinct = sorted({value for value in values if value is not None}, reverse=not key.ascending)
    except TypeError as error:
        raise ValueError(f"The values of {key.name} cannot be put in order: {error}. Cast the column.") from None
    places = {value: place for place, value in enumerate(distinct)}
    return np.array([len(distinct) if value is None else places[value] for value in values], dtype=np.int64)


def _present(values: Sequence[Any] | NDArray[Any]) -> list[Any]:
    """The values as Python's own, None where there is none."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "mM":
        # Dates as counts of their unit: as Python's own they end at the year 9999 and at microseconds.
        missing = np.isnat(values) | np.ma.getmaskarray(values)
        values = np.ma.masked_array(np.asarray(values).astype(np.int64), missing)
    as_list = values.tolist() if isinstance(values, np.ndarray) else values
    return [None if value is None or value != value else value for value in as_list]  # NaN


def _positions(ids: Ids) -> NDArray[np.int64]:
    """The place (N,) of each id among the sorted ids."""
    # As Python objects: NumPy's fixed-width text drops trailing NULs and takes 4 bytes times the longest id per row.
    values = _as_list(ids)
    try:
        order = sorted(range(len(values)), key=values.__getitem__)
    except TypeError as error:
        raise ValueError(
            f"ids must be all text or all integers to be put in order: {error}. Cast the column."
        ) from None
    positions = np.empty(len(values), dtype=np.int64)
    positions[order] = np.arange(len(values))
    return positions


def _as_list(ids: Ids) -> list[Any]:
    return ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
