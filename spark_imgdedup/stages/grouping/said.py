"""What people have said of images, as every task looks it up: which must stay, and which pairs are different.

(R, 2) uint64, hashes of ids: a row of one id with itself says that it must stay, of two ids that they are different. A
collision keeps an image too many.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_imgdedup.kernels.evidence import Apart
from spark_imgdedup.kernels.ranking import hash_ids

Flags = npt.NDArray[np.bool_]
Said = npt.NDArray[np.uint64]

SEED = 11


def said_of(never: Sequence[str], apart: Iterable[tuple[str, str]] = ()) -> Said:
    """What is stored.

    Args:
        never: Ids that must stay.
        apart: Pairs of ids that are different.
    """
    pairs = [(one, other) for one, other in apart if one != other]
    sides = [hash_ids([*never, *(pair[side] for pair in pairs)], SEED) for side in (0, 1)]
    return np.unique(np.sort(np.stack(sides, axis=1), axis=1), axis=0)


def must_stay(ids: pa.ChunkedArray, said: Said | None) -> Flags:
    """Which ids (N,) are said to stay."""
    listed = None if said is None else said[said[:, 0] == said[:, 1], 0]
    if listed is None or not len(listed):
        return np.zeros(len(ids), dtype=bool)
    return np.isin(hash_ids(ids.to_pylist(), SEED), listed)


def apart_in(ids: pa.ChunkedArray, said: Said | None) -> Apart | None:
    """Which of the ids (N,) are different from which others; None where nothing is said of it."""
    pairs = None if said is None else said[said[:, 0] != said[:, 1]]
    if pairs is None or not len(pairs):
        return None
    known, numbers = np.unique(pairs, return_inverse=True)
    hashes = hash_ids(ids.to_pylist(), SEED)
    place = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    number = np.where(known[place] == hashes, place, -1).astype(np.int64)
    return Apart(number, numbers.reshape(-1, 2).astype(np.int64)) if (number >= 0).any() else None
