"""Which pictures of a group stay: the rules `greedy` and `components` on the pairs that count as one picture.

N pictures, best-ranked first in each group; groups are consecutive.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from spark_imgdedup.kernels.arrays import slices
from spark_imgdedup.kernels.evidence import Evidence, Near, Pairs, Reach
from spark_imgdedup.kernels.links import Trees

# Pictures that are compared at once: small groups share a block, since a product of few rows is mostly overhead.
BLOCK_ROWS = 512

Places = NDArray[np.int64]


def keep_greedily(
    evidence: Evidence,
    starts: Places,
    reaches: Sequence[Reach],
    never: Near | None = None,
    *,
    block_rows: int = BLOCK_ROWS,
) -> list[Places]:
    """Walk through each group in rank order: a picture goes if one that stays, and ranks before it, is within reach.

    Args:
        evidence: Of N pictures.
        starts: (N,) the first picture of each one's group.
        reaches: What counts as one picture; each is answered for itself.
        never: (N,) pictures that stay whatever they resemble. They must rank before the others of their group.
        block_rows: Pictures compared at once. Changes memory and speed only.

    Returns:
        For each reach (N,): -1 where a picture stays, else the earliest-ranked one that stays and is within reach.

    Cost: in each group, its pictures times those of it that stay, but at least its square up to block_rows.
    """
    may_go = np.ones(len(evidence), dtype=bool) if never is None else ~never
    kept_by = [np.full(len(evidence), -1, np.int64) for _ in reaches]
    for block in _blocks(starts, block_rows):
        rows = np.arange(block.start, block.stop)
        before = np.arange(int(starts[block.start]), block.start)
        stayed = [before[found[before] < 0] for found in kept_by]
        known = reduce(np.union1d, stayed) if stayed else before
        for part in slices(len(known), block_rows):
            _meet(evidence, rows, known[part], may_go, list(zip(reaches, kept_by, strict=True)))
        pairs = Pairs(evidence[block], evidence[block])
        later = (starts[rows][:, None] == starts[rows][None, :]) & np.tri(len(rows), k=-1, dtype=bool).T
        for reach, found in zip(reaches, kept_by, strict=True):
            _sweep(pairs.within(reach) & later, found[block], block.start, may_go[block])
    return kept_by


def join(evidence: Evidence, starts: Places, reach: Reach, *, block_rows: int = BLOCK_ROWS) -> Places:
    """The first picture (N,) of the connected component of each, over pairs within reach in one group.

    Cost: the square of each group where it falls apart, block_rows times its size where it is one crowd.
    """
    trees = Trees(len(evidence))
    for block in _blocks(starts, block_rows):
        first = int(starts[block.start])
        for others in (*(_shifted(part, first) for part in slices(block.start - first, block_rows)), block):
            if len(np.unique(np.concatenate([trees.root[block], trees.root[others]]))) == 1:
                continue  # a crowd hangs together after its first blocks
            near = Pairs(evidence[block], evidence[others]).within(reach)
            same = starts[block][:, None] == starts[others][None, :]
            i, j = np.nonzero(near & same)
            trees.add(i + block.start, j + others.start)
    return trees.root


def keep_first(component: Places, never: Near | None = None) -> Places:
    """Of each component one stays: -1 (N,) there, and where `never` says so, else the one that stays for a picture."""
    kept_by = np.where(component == np.arange(len(component)), -1, component)
    if never is not None:
        kept_by[never] = -1
    return kept_by


def _meet(
    evidence: Evidence, rows: Places, known: Places, may_go: Near, found_by: Sequence[tuple[Reach, Places]]
) -> None:
    """Compare a block with some that earlier blocks of its group have kept, by one reach at least."""
    pairs = Pairs(evidence[slice(int(rows[0]), int(rows[-1]) + 1)], evidence[known])
    for reach, found in found_by:
        near = pairs.within(reach) & (found[known] < 0)[None, :]
        goes = near.any(axis=1) & (found[rows] < 0) & may_go[rows]
        found[rows[goes]] = known[near[goes].argmax(axis=1)]


def _sweep(later: Near, kept_by: Places, offset: int, may_go: Near) -> None:
    """Let each picture that stays take the later ones near it: later[i, j] says that j ranks after i and is near."""
    for place in np.flatnonzero(later.any(axis=1)).tolist():
        if kept_by[place] < 0:
            goes = later[place] & (kept_by < 0) & may_go
            kept_by[goes] = place + offset


def _blocks(starts: Places, block_rows: int) -> Iterator[slice]:
    """Whole groups, as many as fit, or a part of one that is larger."""
    bounds = [*np.flatnonzero(starts == np.arange(len(starts))).tolist(), len(starts)]
    begun = 0
    for start, stop in pairwise(bounds):
        if stop - begun > block_rows and begun < start:
            yield slice(begun, start)
            begun = start
        if stop - start > block_rows:
            yield from (_shifted(part, start) for part in slices(stop - start, block_rows))
            begun = stop
    if begun < len(starts):
        yield slice(begun, len(starts))


def _shifted(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)
