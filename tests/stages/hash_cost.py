"""What a search for near hashes has to do."""

from __future__ import annotations

import numpy as np

from spark_imgdedup.kernels.bands import bands
from spark_imgdedup.stages.near_hashes import _distinct_hashes


def phash_cost(images, *, n_bits, radius):
    """Counts the members of each band and compares nothing.

    Gives n_hashes (distinct), n_bands, n_candidates (pairs to compare, once for each band they share; without bands it
    would be n_hashes ** 2 / 2), largest_band.
    """
    hashes = [bytes(row.phash) for row in _distinct_hashes(images, n_bits).collect()]
    keys = bands(np.frombuffer(b"".join(hashes), np.uint8).reshape(len(hashes), n_bits // 8), radius=radius)
    sizes = np.concatenate([np.unique(column, return_counts=True)[1] for column in keys.T])
    return {
        "n_hashes": len(hashes),
        "n_bands": keys.shape[1],
        "n_candidates": int((sizes * (sizes - 1) // 2).sum()),
        "largest_band": int(sizes.max(initial=0)),
    }
