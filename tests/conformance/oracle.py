"""The rules of ranking, scoring and removal once more: float64, one row at a time, nothing shared with the package.

For a few thousand rows. Every choice a fast implementation must also make is made here in one visible place.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scored:
    """What is known of one image after clustering and comparing."""

    cluster_id: int
    cosine_dist_to_cent: float
    rank: int  # 0: the best-ranked of its cluster
    max_id: object
    cosine_sim_score: float


def directions(vectors):
    wide = np.asarray(vectors, dtype=np.float64)
    return wide / np.sqrt((wide**2).sum(axis=1))[:, None]


def random_key(id_, seed):
    digest = hashlib.blake2b(str(id_).encode(), digest_size=8, key=seed.to_bytes(8, "little", signed=True)).digest()
    return int.from_bytes(digest, "little")


def is_missing(value):
    return value is None or value != value


def compared_by_keys(keys, ids):
    """-1 or 1 for two positions: the first key (values, ascending) that tells them apart, else the lower id."""

    def compare(one, other):
        for values, ascending in keys:
            x, y = values[one], values[other]
            if is_missing(x) and is_missing(y):
                continue
            if is_missing(x) or is_missing(y):
                return 1 if is_missing(x) else -1
            if x != y:
                return -1 if (x < y) == ascending else 1
        return -1 if ids[one] < ids[other] else 1

    return compare


def in_rank_order(ids, distances, which_to_keep, seed, keys=()):
    """Positions, best-ranked first."""
    positions = range(len(ids))
    if which_to_keep == "hard":
        return sorted(positions, key=lambda p: (distances[p], ids[p]), reverse=True)
    if which_to_keep == "easy":
        return sorted(positions, key=lambda p: (distances[p], ids[p]))
    if which_to_keep == "random":
        return sorted(positions, key=lambda p: (random_key(ids[p], seed), ids[p]))
    if which_to_keep == "metadata":
        return sorted(positions, key=functools.cmp_to_key(compared_by_keys(keys, ids)))
    raise AssertionError(which_to_keep)


def score(embeddings, ids, centroids, which_to_keep, seed=0, keys=()):
    """Every image's `Scored`, by id. keys: (a value for each id, ascending), for which_to_keep metadata."""
    rows, cents = directions(embeddings), directions(centroids)
    members, distances = {}, []
    for position, row in enumerate(rows):
        cosines = cents @ row
        home = int(np.argmax(cosines))  # the lowest number among equals
        members.setdefault(home, []).append(position)
        distances.append(float(np.round(1 - cosines[home], 6)))
    result = {}
    for home, positions in members.items():
        own = [([values[p] for p in positions], ascending) for values, ascending in keys]
        order = in_rank_order([ids[p] for p in positions], [distances[p] for p in positions], which_to_keep, seed, own)
        ranked = [positions[o] for o in order]
        for rank, position in enumerate(ranked):
            best_id, best = ids[position], 0.0
            if rank:
                cosines = np.round(rows[ranked[:rank]] @ rows[position], 6)
                earliest = int(np.argmax(cosines))
                best_id, best = ids[ranked[earliest]], float(cosines[earliest])
            result[ids[position]] = Scored(home, distances[position], rank, best_id, best)
    return result


def removed_by_semdedup(scored, eps):
    """The ids whose score reaches 1 - eps, whether or not what they resemble stays."""
    threshold = round(1 - eps, 6)
    return {id_ for id_, row in scored.items() if row.cosine_sim_score >= threshold}
