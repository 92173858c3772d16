"""Parts of a connected component, where people have called some of its pictures different.

Without the pair that was called different two pictures may still hang together, by a third one that is near both. One
of them would go for the other then, so the component is parted: no part has two in it that were called different.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spark_imgdedup.kernels.arrays import slices
from spark_imgdedup.kernels.evidence import Apart, Evidence, Pairs, Reach

# Pictures that are compared at once. Which of several partings is found depends on it, so it is no setting.
_BLOCK_ROWS = 512

Places = NDArray[np.int64]


def set_apart(evidence: Evidence, component: Places, reach: Reach) -> Places:
    """The first picture (N,) of the part of each.

    Args:
        evidence: Of N pictures; says which are different.
        component: (N,) the first of the component of each, as `kernels.selection.join` gives it.
        reach: What counts as one picture.

    Cost: the square of each component that has such a pair in it, but of a crowd 512 times its size.
    """
    if evidence.apart is None:
        return component
    one, other = evidence.apart.between(evidence.apart)
    found = component.copy()
    for first in np.unique(component[one[component[one] == component[other]]]).tolist():
        rows = np.flatnonzero(component == first)
        found[rows] = rows[_parts(evidence[rows], evidence.apart[rows], reach)]
    return found


def _parts(evidence: Evidence, apart: Apart, reach: Reach) -> Places:
    """The first picture (M,) of the part of each, for the M pictures of one component.

    Pairs are taken block by block, and there by the later picture, then by the earlier one; a pair joins the parts of
    both unless these have two in them that are different.
    """
    parts = _Parts(len(evidence), apart)
    for block in slices(len(evidence), _BLOCK_ROWS):
        for others in slices(block.stop, _BLOCK_ROWS):
            if (parts.first[block] == parts.first[others][0]).all() and len(np.unique(parts.first[others])) == 1:
                continue
            j, i = np.nonzero(Pairs(evidence[block], evidence[others]).within(reach))
            i, j = i + others.start, j + block.start
            parts.join(i[i < j], j[i < j])
    return parts.first


class _Parts:
    """Disjoint sets of n pictures, of which some must not meet."""

    def __init__(self, n: int, apart: Apart) -> None:
        self.first = np.arange(n, dtype=np.int64)  # of each picture, the first of its part
        one, other = apart.between(apart)
        self._with = {place: {place} for place in one.tolist()}  # by the first of a part, those with something to mind
        self._against: dict[int, set[int]] = {}  # and those that must not come into it
        for place, against in zip(one.tolist(), other.tolist(), strict=True):
            self._against.setdefault(place, set()).add(against)

    def join(self, i: Places, j: Places) -> None:
        """Join along these edges (E,), in order, where nothing speaks against it."""
        left, right = self.first[i], self.first[j]
        edges = np.minimum(left, right) * len(self.first) + np.maximum(left, right)
        _, nth = np.unique(np.where(left == right, -1, edges), return_index=True)
        root: dict[int, int] = {}
        for place in np.sort(nth).tolist():
            one, other = _end(root, int(left[place])), _end(root, int(right[place]))
            if one != other and not self._meet(one, other):
                low, high = min(one, other), max(one, other)
                root[high] = low
                for sets in (self._with, self._against):
                    if high in sets:
                        sets[low] = sets.get(low, set()) | sets.pop(high)
        if root:
            ends = np.arange(len(self.first))
            for each in root:
                ends[each] = _end(root, each)
            self.first = ends[self.first]

    def _meet(self, one: int, other: int) -> bool:
        return bool(self._against.get(one, set()) & self._with.get(other, set()))


def _end(root: dict[int, int], place: int) -> int:
    end = place
    while end in root:
        end = root[end]
    while place != end:  # the way is short for the next one
        root[place], place = end, root[place]
    return end
