"""Fingerprints of pictures that survive edits, and in how many bits they differ."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spark_imgdedup.kernels.lanczos import reduced

Hashes = NDArray[np.uint8]

# Below this a hash says nothing of its picture.
MIN_CLEAR = 24
_REDUCED_SIDE = 32
# About half a level of 255 over the whole picture.
_CLEAR = 100.0
HASH_BITS = (64, 256)
# The 8 lowest frequencies of a type-2 DCT of 32 values, not normalised, as imagehash has it.
_COSINES = 2 * np.cos(np.pi / _REDUCED_SIDE * np.arange(8)[:, None] * (np.arange(_REDUCED_SIDE) + 0.5))
# The orientations that are hashed beside the picture's own, by the name of the setting: a mirrored copy, or all seven
# others that quarter turns and mirrors give.
VIEWS: dict[str, tuple[Image.Transpose, ...]] = {
    "none": (),
    "mirror": (Image.Transpose.FLIP_LEFT_RIGHT,),
    "turns": tuple(Image.Transpose),
}


def perceptual_hash(image: Image.Image, *, n_bits: int) -> bytes:
    """The DCT hash of a picture: n_bits / 8 bytes, row by row from the lowest frequencies, first bit highest.

    Cost: 1.5 ms at 512 x 512 pixels, most of it to resize. On a picture that is reduced first it takes 0.4 ms, but that
    changes the hash of 45 % of pictures (by 12 of 64 bits at most).

    Source: imagehash.phash; `bytes.fromhex(str(hash))` of its result is the same.

    Raises:
        ValueError: n_bits is not one of HASH_BITS.
    """
    return perceptual_views(image, n_bits=n_bits, turns=())[0]


def perceptual_views(
    image: Image.Image, *, n_bits: int, turns: tuple[Image.Transpose, ...] = VIEWS["mirror"]
) -> tuple[bytes, bytes]:
    """The hash of a picture, and those of the picture turned, one after the other: n_bits / 8 bytes each.

    The picture is resized once, and what is left of it is turned: of 212 mirrored copies, saved as JPEG, 99 % have a
    view within 3 bits. To flip bits of the hash instead would find 49 %.

    Raises:
        ValueError: n_bits is not one of HASH_BITS.
    """
    require_bits(n_bits)
    return _hashes(reduced(image.convert("L"), _side_for(n_bits)), n_bits, turns)


def telling_views(
    image: Image.Image, *, n_bits: int, turns: tuple[Image.Transpose, ...] = VIEWS["mirror"]
) -> tuple[bytes, bytes] | None:
    """As `perceptual_views`; None where they would tell nothing: fewer than MIN_CLEAR frequencies are clear.

    Both look at the same reduced picture where n_bits is 64, and reducing is most of the work.
    """
    require_bits(n_bits)
    grey = image.convert("L")
    small = reduced(grey, _REDUCED_SIDE)
    if _clear(small) < MIN_CLEAR:
        return None
    side = _side_for(n_bits)
    return _hashes(small if side == _REDUCED_SIDE else reduced(grey, side), n_bits, turns)


def _side_for(n_bits: int) -> int:
    return 4 * math.isqrt(n_bits)  # imagehash's highfreq_factor; a picture of that size it takes as it is


def _hashes(small: Image.Image, n_bits: int, turns: tuple[Image.Transpose, ...]) -> tuple[bytes, bytes]:
    import imagehash

    views = (small, *(small.transpose(turn) for turn in turns))
    own, *turned = (np.packbits(imagehash.phash(view, hash_size=math.isqrt(n_bits)).hash).tobytes() for view in views)
    return own, b"".join(turned)


def _clear(small: Image.Image) -> int:
    """How many of the 64 lowest frequencies, the bits of its hash, are clearly above or below their median.

    In stripes, grids and flags most are next to 0, and their bits those of noise: among 18,419 distinct pictures
    439 pairs are within 4 bits, and 56 once those with fewer than MIN_CLEAR are left out (2 to 3 %).
    """
    low = _COSINES @ np.asarray(small, np.float64) @ _COSINES.T
    return int(np.count_nonzero(np.abs(low - np.median(low)) > _CLEAR))


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


def require_bits(n_bits: int) -> None:
    """Refuse a number of bits that is not one of HASH_BITS, with a ValueError."""
    if n_bits not in HASH_BITS:
        raise ValueError(f"A perceptual hash has {' or '.join(map(str, HASH_BITS))} bits, got {n_bits}.")
