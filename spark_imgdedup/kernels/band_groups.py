"""Hashes that agree in a band of bits, brought together in groups: what is compared, and which pairs are near."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spark_imgdedup.kernels.bands import bands
from spark_imgdedup.kernels.hashes import Hashes, words

Numbers = NDArray[np.uint64]
Places = NDArray[np.intp]

_GOLDEN = 0x9E3779B97F4A7C15
# So many times 28 bands fit the cache: half a million at once take nine times as long each.
_PAIRS_AT_ONCE = 1 << 13


class NearPairs(NamedTuple):
    """Pairs of rows: the places of both, and in how many bits they differ."""

    left: Places
    right: Places
    distances: NDArray[np.uint16]


@dataclass(frozen=True)
class BandGroups:
    """The groups of a search: one for each band and key, and for each tile of a crowd.

    A crowd, a key that very many hashes share, is cut into parts, and every two of these are a group of their own, a
    tile. Crowds change who compares a pair, never which pairs are found.

    Attributes:
        radius: Largest Hamming distance searched for, see `kernels.bands.plan_bands`.
        crowds: The number of parts of each crowd, by its group.
    """

    radius: int
    crowds: Mapping[int, int] = field(default_factory=dict)

    def of(self, hashes: Hashes) -> tuple[Places, Numbers]:
        """The groups that each of N hashes is in: rows (M,) from 0 to N - 1, and groups (M,), one by band or more."""
        by_band = self._by_band(hashes)
        rows, groups = np.repeat(np.arange(len(hashes)), by_band.shape[1]), by_band.ravel()
        in_crowd = self._in_crowds(groups)
        if not in_crowd.any():
            return rows, groups
        found = [(rows[~in_crowd], groups[~in_crowd])]
        for crowd, n_parts in self.crowds.items():
            members = rows[groups == np.uint64(crowd)]
            part = _part_of(hashes[members], n_parts)
            tiles = (_tile(crowd, n_parts, part, np.full_like(part, other)) for other in range(n_parts))
            found += [(members, tile) for tile in tiles]
        return np.concatenate([each for each, _ in found]), np.concatenate([each for _, each in found])

    def near(self, groups: Numbers, hashes: Hashes, is_own: NDArray[np.bool_]) -> NearPairs:
        """Pairs of one group within the radius, one of them its own, that belong to that group.

        A pair belongs to the group of the first band in which it agrees, and of its tile there, so whoever has all rows
        of a group can tell that it is found nowhere else.

        Args:
            groups: (M,), as `of` gives them; all rows of each group that is among them.
            hashes: (M, B) uint8, distinct in each group.
            is_own: (M,), whether it is the hash of an image as it is.
        """
        order = np.argsort(groups, kind="stable")
        given, groups, is_own = groups, groups[order], is_own[order]
        columns = [np.ascontiguousarray(column) for column in words(hashes)[order].T]
        ends = np.flatnonzero(np.append(groups[1:] != groups[:-1], True)) + 1
        n_after = np.repeat(ends, np.diff(ends, prepend=0)) - np.arange(len(groups)) - 1
        found: list[NearPairs] = []
        step, at = 1, np.flatnonzero(n_after)
        while len(at):  # each with the one after it in its group, then with the second after it
            other = at + step
            distances = np.zeros(len(at), np.uint16)
            for column in columns:
                distances += np.bitwise_count(column[at] ^ column[other])
            close = np.flatnonzero(distances <= self.radius)
            close = close[is_own[at[close]] | is_own[other[close]]]
            found.append(NearPairs(order[at[close]], order[other[close]], distances[close]))
            step += 1
            at = at[n_after[at] >= step]
        if not found:
            return NearPairs(order[:0], order[:0], np.zeros(0, np.uint16))
        pairs = NearPairs(*(np.concatenate(column) for column in zip(*found, strict=True)))
        parts = (slice(start, start + _PAIRS_AT_ONCE) for start in range(0, len(pairs.left), _PAIRS_AT_ONCE))
        belongs = [self._belongs_to(hashes[pairs.left[part]], hashes[pairs.right[part]]) for part in parts]
        mine = np.concatenate([groups[:0], *belongs]) == given[pairs.left]
        return NearPairs(*(column[mine] for column in pairs))

    def _belongs_to(self, left: Hashes, right: Hashes) -> Numbers:
        by_band = self._by_band(left)
        first = np.argmax(by_band == self._by_band(right), axis=1)
        groups: Numbers = by_band[np.arange(len(left)), first]
        for crowd, n_parts in self.crowds.items():
            members = np.flatnonzero(groups == np.uint64(crowd))
            one, other = (_part_of(side[members], n_parts) for side in (left, right))
            groups[members] = _tile(crowd, n_parts, one, other)
        return groups

    def _by_band(self, hashes: Hashes) -> Numbers:
        keys: Numbers = bands(hashes, radius=self.radius).view(np.uint64)
        salts: Numbers = np.arange(1, keys.shape[1] + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
        return _mixed(keys + salts)

    def _in_crowds(self, groups: Numbers) -> NDArray[np.bool_]:
        return np.isin(groups, np.array(list(self.crowds), np.uint64))


def _part_of(hashes: Hashes, n_parts: int) -> NDArray[np.int64]:
    mixed: Numbers = np.bitwise_xor.reduce(_mixed(words(hashes)), axis=1)
    parts: NDArray[np.int64] = (mixed % np.uint64(n_parts)).astype(np.int64)
    return parts


def _tile(crowd: int, n_parts: int, one: NDArray[np.int64], other: NDArray[np.int64]) -> Numbers:
    numbers: Numbers = (np.minimum(one, other) * n_parts + np.maximum(one, other)).astype(np.uint64)
    return _mixed(numbers + np.uint64(crowd))


def _mixed(numbers: Numbers) -> Numbers:
    """Each number as one of 64 bits that look random; equal ones alone give equal ones. Source: Vigna, splitmix64."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Numbers = numbers ^ (numbers >> np.uint64(31))
    return mixed
