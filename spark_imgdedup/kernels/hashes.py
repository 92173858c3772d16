"""Fingerprints of pictures, and which of them differ in few bits without comparing all with all."""

from __future__ import annotations

import hashlib
import itertools
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Hashes = NDArray[np.uint8]

HASH_BITS = (64, 256)
# A band of fewer bits holds so many hashes by chance that comparing its members comes near comparing all with all.
MIN_BAND_BITS = 16
# Each hash becomes that many rows of the join.
MAX_BANDS = 32
KEY_BITS = 64


def perceptual_hash(image: Image.Image, *, n_bits: int) -> bytes:
    """The DCT hash of a picture: n_bits / 8 bytes, row by row from the lowest frequencies, first bit highest.

    Cost: 2.5 ms at 512 x 512 pixels, most of it to resize. On a picture that is reduced first it takes 0.4 ms, but that
    changes the hash of 45 % of pictures (by 12 of 64 bits at most).

    Source: imagehash.phash; `bytes.fromhex(str(hash))` of its result is the same.

    Raises:
        ValueError: n_bits is not one of HASH_BITS.
    """
    import imagehash

    _require_bits(n_bits)
    return np.packbits(imagehash.phash(image, hash_size=math.isqrt(n_bits)).hash).tobytes()


def pixel_digest(image: Image.Image) -> str:
    """SHA-256 of the size and the pixels, in hexadecimal: equal for pictures that a model cannot tell apart.

    Raises:
        ValueError: the mode is not RGB; `kernels.images.decode_image` gives that.
    """
    if image.mode != "RGB":
        raise ValueError(
            f"The picture must be of mode RGB, got {image.mode}. Decode it with kernels.images.decode_image."
        )
    digest = hashlib.sha256(f"{image.width}x{image.height} ".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def hamming_distances(a: Hashes, b: Hashes) -> NDArray[np.uint16]:
    """In how many bits each hash of `a` (N, B) differs from each of `b` (M, B): (N, M). B is a multiple of 8 bytes."""
    differing = np.zeros((len(a), len(b)), np.uint16)
    for left, right in zip(words(a).T, words(b).T, strict=True):
        differing += np.bitwise_count(left[:, None] ^ right[None, :])
    return differing


def view_distances(own_a: Hashes, own_b: Hashes, views_b: Hashes, views_a: Hashes | None = None) -> NDArray[np.uint16]:
    """The least distance between two pictures in any of the orientations that were hashed: (N, M).

    Own hash against own hash, own_a against the views of b, and own_b against the views of a. The last two differ by a
    few bits, since the median that a bit is compared with moves as a picture is turned: with both, a and b exchanged
    give the transposed matrix.

    Args:
        own_a: (N, B) uint8, what `perceptual_hash` gives; B is a multiple of 8.
        own_b: (M, B) uint8.
        views_b: (M, k, B) uint8, what `perceptual_views` gives; k may be 0.
        views_a: (N, k, B) uint8; None leaves that direction out.

    Raises:
        ValueError: not uint8 of these shapes.
    """
    least = hamming_distances(own_a, own_b)
    for view in _views_of(own_b, views_b):
        np.minimum(least, hamming_distances(own_a, view), out=least)
    if views_a is not None:
        for view in _views_of(own_a, views_a):
            np.minimum(least, hamming_distances(view, own_b), out=least)
    return least


def _views_of(own: Hashes, views: Hashes) -> NDArray[np.uint8]:
    """(k, N, B): the views of each picture, one orientation after the other."""
    if views.ndim != 3 or (len(views), views.shape[2]) != own.shape:
        raise ValueError(
            f"views must be of shape (N, k, B) for own hashes (N, B), got {views.shape} for {own.shape}. Reshape what "
            "perceptual_views gives to (k, B) for each picture."
        )
    return views.swapaxes(0, 1)


def words(hashes: Hashes) -> NDArray[np.uint64]:
    """The same bits as (N, B / 8) integers, in this machine's byte order: only their differences mean something.

    Raises:
        ValueError: not a uint8 matrix whose rows are whole words.
    """
    if hashes.ndim != 2 or hashes.dtype != np.uint8 or hashes.shape[1] % 8:
        raise ValueError(
            f"hashes must be a uint8 matrix (N, B) with B a multiple of 8, got {hashes.dtype} of shape {hashes.shape}. "
            "Stack what perceptual_hash gives."
        )
    return np.ascontiguousarray(hashes).view(np.uint64)


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
    _require_bits(n_bits)
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


def connected_components(n: int, edges: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """For each of n vertices the lowest vertex that its component holds.

    Cost: 0.6 s for 1e6 random edges among 1e6 vertices.

    Args:
        n: Number of vertices.
        edges: (E, 2) vertices, in any order and number.

    Raises:
        ValueError: not pairs, or a vertex outside of 0..n-1.
    """
    if edges.ndim != 2 or edges.shape[1] != 2:
        raise ValueError(f"edges must be a matrix (E, 2), got shape {edges.shape}.")
    if len(edges) and not (edges.min() >= 0 and edges.max() < n):
        raise ValueError(f"edges must name vertices 0 to {n - 1}, got {edges.min()} to {edges.max()}.")
    lowest = np.arange(n)
    ends = edges.astype(np.int64)
    while len(ends):
        # Every root with a smaller neighbouring root hangs under its smallest one, so roots only become fewer.
        np.minimum.at(lowest, ends.max(axis=1), ends.min(axis=1))
        while not np.array_equal(jumped := lowest[lowest], lowest):
            lowest = jumped
        ends = lowest[ends]
        ends = ends[ends[:, 0] != ends[:, 1]]
    return lowest


def _require_bits(n_bits: int) -> None:
    if n_bits not in HASH_BITS:
        raise ValueError(f"A perceptual hash has {' or '.join(map(str, HASH_BITS))} bits, got {n_bits}.")
