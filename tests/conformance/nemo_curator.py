"""What NeMo Curator 1.4.0 computes with the defaults of its workflow: float16 vectors and float16 scores.

Read in its source, and not run: it needs a GPU. Vectors are made unit length in float32, stored as float16 and
multiplied; the product is rounded to the nearest float16 and compared, as a number of double precision, with 1 - eps.
"""

from __future__ import annotations

import numpy as np

# Every float16 from 0 to 1, as float64.
SCORES = np.arange(np.float16(1).view(np.uint16) + 1, dtype=np.uint16).view(np.float16).astype(np.float64)


def least_score(eps):
    """The smallest float16 that is a duplicate's score."""
    return float(SCORES[np.searchsorted(SCORES, 1.0 - eps)])


def acting_eps(eps):
    """The eps for exact cosines: those from halfway below `least_score` on are rounded up to it."""
    place = np.searchsorted(SCORES, 1.0 - eps)
    return float(1 - (SCORES[place - 1] + SCORES[place]) / 2)


def scores(ranked):
    """Each row's float16 score, as float64. `ranked` is (N, D), best-ranked first."""
    unit = ranked.astype(np.float32) / np.linalg.norm(ranked.astype(np.float32), axis=1, keepdims=True)
    halves = unit.astype(np.float16).astype(np.float64)
    products = (halves @ halves.T).astype(np.float16).astype(np.float64)
    earlier = np.tri(len(ranked), k=-1, dtype=bool)
    best = np.where(earlier, products, -np.inf).max(axis=1)
    best[0] = 0
    return best


def removed(ranked, eps):
    """(N,) bool."""
    return scores(ranked) >= 1.0 - eps
