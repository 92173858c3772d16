"""What speaks for two pictures being one: the cosine of their vectors, their perceptual hashes, their pixels.

Against it speaks what people have said of them.

N and M pictures, D numbers in a vector, B bytes in a hash, k views of it, P bytes of pixels. Vectors may live on a GPU;
what is found comes back on the host.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from spark_imgdedup.kernels.arrays import Array, namespace, to_host
from spark_imgdedup.kernels.content import near_equal
from spark_imgdedup.kernels.cosines import PROPOSAL_TOLERANCE, rounded_cosines, rounded_pair_cosines
from spark_imgdedup.kernels.hashes import view_distances
from spark_imgdedup.kernels.vectors import UnitRows

Rows = slice | NDArray[np.int64]
Near = NDArray[np.bool_]

# Above this share of a block, one float64 product of it is cheaper than gathering the pairs that are left open.
_DENSE_SHARE = 0.02
# Farther than any two hashes are: the distance to a picture without one.
NO_DISTANCE = np.iinfo(np.uint16).max


@dataclass(frozen=True)
class Reach:
    """How near two pictures are that count as one: any of these suffices.

    Attributes:
        min_cosine: Of their vectors, rounded to 6 decimals; None where vectors say nothing.
        radius: Bits that their hashes may differ in; None where hashes say nothing.
        agreeing_radius: The same where their vectors have a cosine of at least `agreeing_cosine`.
        agreeing_cosine: See there.
    """

    min_cosine: float | None = None
    radius: int | None = None
    agreeing_radius: int | None = None
    agreeing_cosine: float = 1.0


@dataclass(frozen=True)
class Hashes:
    """Perceptual hashes of N pictures.

    Attributes:
        own: (N, B) uint8.
        views: (N, k, B) uint8, of the other orientations.
        known: (N,) whether there is one.
    """

    own: NDArray[np.uint8]
    views: NDArray[np.uint8]
    known: Near

    def __getitem__(self, rows: Rows) -> Hashes:
        return Hashes(self.own[rows], self.views[rows], self.known[rows])


@dataclass(frozen=True)
class Plain:
    """Which of N pictures have so little in them that only their pixels speak for them.

    Attributes:
        pixels: (N, P) uint8, what `kernels.content.plain_pixels` gives; anything where a picture is not plain.
        known: (N,) whether a picture is plain.
    """

    pixels: NDArray[np.uint8]
    known: Near

    def __getitem__(self, rows: Rows) -> Plain:
        return Plain(self.pixels[rows], self.known[rows])


@dataclass(frozen=True)
class Apart:
    """Which of N pictures people have called different from another.

    Attributes:
        number: (N,) of each that was called so, from 0 on; -1 for the others.
        pairs: (P, 2) numbers of pictures that are different, the lower first. Some may be of pictures elsewhere.
    """

    number: NDArray[np.int64]
    pairs: NDArray[np.int64]

    def __getitem__(self, rows: Rows) -> Apart:
        return Apart(self.number[rows], self.pairs)

    def between(self, other: Apart) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The pairs (L,) of one of these pictures and one of the other ones that are different."""
        i, j = np.flatnonzero(self.number >= 0), np.flatnonzero(other.number >= 0)
        if not len(i) or not len(j):
            return i[:0], j[:0]
        one, two = self.number[i][:, None], other.number[j][None, :]
        # No number may reach the width: two pairs would have one code.
        width = 1 + max(int(numbers.max(initial=0)) for numbers in (self.pairs, one, two))
        codes = self.pairs[:, 0] * width + self.pairs[:, 1]
        row, column = np.nonzero(np.isin(np.minimum(one, two) * width + np.maximum(one, two), codes))
        return i[row], j[column]


@dataclass(frozen=True)
class Evidence:
    """What is known of N pictures; None is not looked at."""

    n: int
    vectors: UnitRows | None = None
    hashes: Hashes | None = None
    plain: Plain | None = None
    apart: Apart | None = None

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, rows: Rows) -> Evidence:
        n = rows.stop - rows.start if isinstance(rows, slice) else len(rows)
        vectors, index = self.vectors, rows
        if vectors is not None:
            vectors = vectors[rows if isinstance(rows, slice) else namespace(vectors.vectors).asarray(rows)]
        hashes = None if self.hashes is None else self.hashes[index]
        plain = None if self.plain is None else self.plain[index]
        return Evidence(n, vectors, hashes, plain, None if self.apart is None else self.apart[index])

    def cosines(self, i: NDArray[np.int64], other: Evidence, j: NDArray[np.int64]) -> NDArray[np.float64]:
        """Rounded cosines (L,) of pictures i and pictures j of the other; NaN without vectors."""
        if self.vectors is None or other.vectors is None:
            return np.full(len(i), np.nan)
        xp = namespace(self.vectors.vectors)
        return to_host(rounded_pair_cosines(self.vectors, xp.asarray(i), other.vectors, xp.asarray(j)))

    def distances(self, i: NDArray[np.int64], other: Evidence, j: NDArray[np.int64]) -> NDArray[np.uint16]:
        """Bits (L,) that the hashes of pictures i and pictures j of the other differ in; NO_DISTANCE without hashes."""
        if self.hashes is None or other.hashes is None:
            return np.full(len(i), NO_DISTANCE, np.uint16)
        one, two = self.hashes[i], other.hashes[j]
        found = _differing(one.own, two.own)
        for views, own in ((two.views, one.own), (one.views, two.own)):
            for view in range(views.shape[1]):
                found = np.minimum(found, _differing(views[:, view], own))
        return np.where(one.known & two.known, found, np.uint16(NO_DISTANCE))


def _differing(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Bits (L,) that the rows (L, B) of a and b differ in."""
    differing: NDArray[np.uint16] = np.bitwise_count(a ^ b).sum(axis=1, dtype=np.uint16)
    return differing


@dataclass(frozen=True)
class Pairs:
    """All pairs (N, M) of two sets of pictures; what a question needs is computed once, when it is asked."""

    a: Evidence
    b: Evidence

    def within(self, reach: Reach) -> Near:
        """Which pairs count as one picture (N, M)."""
        near = np.zeros((len(self.a), len(self.b)), dtype=bool)
        if reach.min_cosine is not None:
            near |= self._at_least(reach.min_cosine)
        if reach.radius is not None:
            near |= self.distances <= reach.radius
        if reach.agreeing_radius is not None:
            i, j = np.nonzero((self.distances <= reach.agreeing_radius) & ~near)
            near[i, j] = self.a.cosines(i, self.b, j) >= reach.agreeing_cosine
        near = self._mind_plain(near)
        if self.a.apart is not None and self.b.apart is not None:
            near[self.a.apart.between(self.b.apart)] = False
        return near

    @cached_property
    def distances(self) -> NDArray[np.uint16]:
        """Bits (N, M) that hashes differ in, in the orientation that fits best."""
        one, other = self.a.hashes, self.b.hashes
        if one is None or other is None:
            return np.full((len(self.a), len(self.b)), NO_DISTANCE, np.uint16)
        found = view_distances(one.own, other.own, other.views, one.views).astype(np.uint16)
        found[~one.known] = NO_DISTANCE
        found[:, ~other.known] = NO_DISTANCE
        return found

    @cached_property
    def _products(self) -> Array:
        one, other = self._vectors()
        return one.proposals @ other.proposals.T

    def _vectors(self) -> tuple[UnitRows, UnitRows]:
        one, other = self.a.vectors, self.b.vectors
        if one is None or other is None:
            raise ValueError("These pictures have no vectors, so min_cosine must be None.")
        return one, other

    def _at_least(self, min_cosine: float) -> Near:
        """Which rounded cosines (N, M) are that high."""
        xp = namespace(self._products)
        one, other = self._vectors()
        near = to_host(self._products >= xp.float32(min_cosine + PROPOSAL_TOLERANCE))
        unsure = to_host(self._products >= xp.float32(min_cosine - PROPOSAL_TOLERANCE)) & ~near
        i, j = np.nonzero(unsure)
        if len(i) > _DENSE_SHARE * near.size + len(self.a):
            return near | (to_host(rounded_cosines(one, other)) >= min_cosine)
        near[i, j] = self.a.cosines(i, self.b, j) >= min_cosine
        return near

    def _mind_plain(self, near: Near) -> Near:
        """A picture with little in it is that of another only if their pixels are nearly equal."""
        one, other = self.a.plain, self.b.plain
        if one is None or other is None or not (one.known.any() or other.known.any()):
            return near
        near &= ~(one.known[:, None] | other.known[None, :])
        i, j = np.flatnonzero(one.known), np.flatnonzero(other.known)
        if len(i) and len(j):
            near[np.ix_(i, j)] = near_equal(one.pixels[i], other.pixels[j])
        return near
