"""Which hashes differ in few bits, without comparing all with all: those that agree in a band of bits."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from spark_imgdedup.kernels.hashes import Hashes, require_bits, words

# A band of fewer bits holds so many hashes by chance that comparing its members comes near comparing all with all.
MIN_BAND_BITS = 16
# Each hash becomes that many rows of the join.
MAX_BANDS = 32
KEY_BITS = 64


@dataclass(frozen=True)
class BandPlan:
    """Which bits must agree before two hashes are compared.

    The hash is cut into `n_blocks` blocks; a band is a choice of `n_agreeing` of them. Distance d spoils at most d
    blocks, so n_blocks - n_agreeing >= d leaves a band in which the two agree.

    Attributes:
        n_bits: Of a hash.
        n_blocks: Consecutive bits each, as even as possible.
        n_agreeing: Blocks in a band.
    """

    n_bits: int
    n_blocks: int
    n_agreeing: int

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Bits of each block."""
        small, n_larger = divmod(self.n_bits, self.n_blocks)
        return tuple(small + (block < n_larger) for block in range(self.n_blocks))

    @cached_property
    def bands(self) -> tuple[tuple[int, ...], ...]:
        """The blocks of each band."""
        return tuple(itertools.combinations(range(self.n_blocks), self.n_agreeing))

    @property
    def lossless_radius(self) -> int:
        """The largest distance at which every pair is found."""
        return self.n_blocks - self.n_agreeing

    def recall(self, distance: int) -> float:
        """The share of pairs at this distance that agree in a band, for differing bits that are equally likely.

        Exact: of all choices of `distance` bits, those that leave at least n_agreeing blocks untouched.
        """
        ways = {(0, 0): 1}  # (differing bits so far, untouched blocks so far)
        for size in self.sizes:
            longer: dict[tuple[int, int], int] = {}
            for (flipped, untouched), count in ways.items():
                for flips in range(min(size, distance - flipped) + 1):
                    place = (flipped + flips, untouched + (flips == 0))
                    longer[place] = longer.get(place, 0) + count * math.comb(size, flips)
            ways = longer
        found = sum(
            count
            for (flipped, untouched), count in ways.items()
            if flipped == distance and untouched >= self.n_agreeing
        )
        return found / math.comb(self.n_bits, distance)


def plan_bands(n_bits: int, radius: int) -> BandPlan:
    """The bands for a search within `radius` bits: lossless up to 6 at 64 bits and 15 at 256.

    Bands of one block as long as they keep MIN_BAND_BITS, then of two smaller ones while there are at most MAX_BANDS.
    A larger radius takes the finest plan that holds both limits; `BandPlan.recall` tells what that finds.

    Raises:
        ValueError: n_bits is not one of HASH_BITS, or the radius is negative or not below n_bits.
    """
    require_bits(n_bits)
    if not 0 <= radius < n_bits:
        raise ValueError(f"The radius must be from 0 to {n_bits - 1} of {n_bits} bits, got {radius}.")
    plans = [
        BandPlan(n_bits, n_blocks, n_agreeing)
        for n_agreeing in (1, 2)
        for n_blocks in range(n_agreeing, n_bits + 1)
        if n_agreeing * (n_bits // n_blocks) >= MIN_BAND_BITS and math.comb(n_blocks, n_agreeing) <= MAX_BANDS
    ]
    for plan in plans:
        if plan.lossless_radius >= radius:
            return plan
    return max(plans, key=lambda plan: plan.lossless_radius)


def expected_recall(n_bits: int, radius: int, distance: int) -> float:
    """The share of pairs at `distance` that a search within `radius` finds, for differing bits that are equally likely.

    Real edits do not flip bits evenly: a crop changes many, a resize only those near the median.
    """
    return plan_bands(n_bits, radius).recall(distance)


def bands(hashes: Hashes, *, radius: int) -> NDArray[np.int64]:
    """A key (N, n_bands) for each hash and band: hashes within the plan's lossless radius share one in some column.

    Equal keys in a column mean equal bits there, except in bands of more than 64 bits, which are cut.

    Args:
        hashes: (N, B) uint8.
        radius: Largest Hamming distance searched for, see `plan_bands`.
    """
    n_bits = 8 * words(hashes).shape[1] * 8
    plan = plan_bands(n_bits, radius)
    width = KEY_BITS // plan.n_agreeing
    bits = np.unpackbits(hashes, axis=1)
    ends = np.cumsum(plan.sizes)
    blocks = [_to_integers(bits[:, end - size : end][:, :width]) for size, end in zip(plan.sizes, ends, strict=True)]
    keys = np.empty((len(hashes), len(plan.bands)), np.uint64)
    for column, members in enumerate(plan.bands):
        keys[:, column] = blocks[members[0]]
        for block in members[1:]:
            keys[:, column] = keys[:, column] << np.uint64(width) | blocks[block]
    return keys.view(np.int64)


def _to_integers(bits: Hashes) -> NDArray[np.uint64]:
    """Rows of at most 64 bits, first bit highest, as integers."""
    padded = np.zeros((len(bits), KEY_BITS), np.uint8)
    padded[:, KEY_BITS - bits.shape[1] :] = bits
    return np.packbits(padded, axis=1).view(">u8").astype(np.uint64)[:, 0]
