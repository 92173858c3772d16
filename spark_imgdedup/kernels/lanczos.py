"""Pillow's LANCZOS on a grey picture, along its rows by products of matrices: the same bytes in half of the time.

Pillow takes one weight at a time, and most of what a perceptual hash costs is this.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

# Narrower pictures Pillow makes small as fast.
LEAST_WIDTH = 200
# Up to it Pillow goes along rows first; of a taller picture its releases differ in that.
MOST_UPRIGHT = 1.5
# Pixels that are made floats at once, so that they stay in the cache.
_AT_ONCE = 1 << 18
# Lanczos' filter reaches so many lobes to either side.
_LOBES = 3
# Pillow's weights are integers, 1.0 is 2**22 (PRECISION_BITS of its Resample.c). In two parts, that of the lower 7 bits
# and the rest, float32 adds up the products of each with pixels without an error, as long as sums stay below 2**24.
_BITS, _LOW_BITS, _EXACT = 22, 7, 1 << 24
# Results whose pixels lie side by side, and share a product.
_COLUMNS = 4


class _Band(NamedTuple):
    first: int  # of the pixels that count
    last: int
    weights: NDArray[np.float32]  # (last - first, 2 * _COLUMNS): of each result the upper part, then the lower ones


def reduced(grey: Image.Image, side: int) -> Image.Image:
    """The picture in side x side pixels, as `grey.resize((side, side), Image.Resampling.LANCZOS)` gives it.

    Source: Pillow's Resample.c, which rounds and clips after the rows, and again after the columns.

    Args:
        grey: Mode L.
        side: A multiple of 4.
    """
    width, height = grey.size
    bands = _bands(width, side) if width >= LEAST_WIDTH and height <= MOST_UPRIGHT * width else None
    if bands is not None:
        pixels, step = np.asarray(grey), max(1, _AT_ONCE // width)
        narrow = [_along_rows(pixels[row : row + step], bands) for row in range(0, height, step)]
        grey = Image.fromarray(np.concatenate(narrow))
    return grey.resize((side, side), Image.Resampling.LANCZOS)


def _along_rows(pixels: Pixels, bands: Sequence[_Band]) -> Pixels:
    levels = pixels.astype(np.float32)
    found = np.empty((len(pixels), _COLUMNS * len(bands)), np.uint8)
    for place, band in enumerate(bands):
        sums = (levels[:, band.first : band.last] @ band.weights).astype(np.int32)
        upper, lower = sums[:, :_COLUMNS], sums[:, _COLUMNS:]
        rounded = ((upper << _LOW_BITS) + lower + (1 << _BITS - 1)) >> _BITS
        np.clip(rounded, 0, 255, out=found[:, place * _COLUMNS : (place + 1) * _COLUMNS], casting="unsafe")
    return found


@functools.lru_cache(256)
def _bands(n_pixels: int, side: int) -> tuple[_Band, ...] | None:
    """The weights of n_pixels for `side` results; None where their sums would not be exact."""
    first, weights = _weights(n_pixels, side)
    half = 1 << _LOW_BITS - 1
    upper = (weights + half) >> _LOW_BITS
    lower = weights - (upper << _LOW_BITS)
    if max(int(np.abs(part).sum(axis=1).max()) for part in (upper, lower)) * 255 >= _EXACT:
        return None
    found, n_taps = [], weights.shape[1]
    for start in range(0, side, _COLUMNS):
        low, high = int(first[start]), int(first[start + _COLUMNS - 1]) + n_taps
        band = np.zeros((high - low, 2 * _COLUMNS), np.float32)
        for column in range(_COLUMNS):
            rows = slice(int(first[start + column]) - low, int(first[start + column]) - low + n_taps)
            band[rows, column], band[rows, _COLUMNS + column] = upper[start + column], lower[start + column]
        found.append(_Band(low, min(high, n_pixels), band[: n_pixels - low]))
    return tuple(found)


def _weights(n_pixels: int, side: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first pixel (side,) of each result, and what the pixels from there on count (side, T), in units of 2**-22."""
    scale = n_pixels / side
    wide = max(scale, 1.0)
    centres = (np.arange(side) + 0.5) * scale
    first = np.maximum((centres - _LOBES * wide + 0.5).astype(np.int64), 0)
    last = np.minimum((centres + _LOBES * wide + 0.5).astype(np.int64), n_pixels)
    pixels = first[:, None] + np.arange(int((last - first).max()))
    away = (pixels - centres[:, None] + 0.5) * (1 / wide)
    counts = (pixels < last[:, None]) & (away >= -_LOBES) & (away < _LOBES)
    shares = np.where(counts, np.sinc(away) * np.sinc(away / _LOBES), 0)
    shares *= (1 << _BITS) / shares.sum(axis=1, keepdims=True)
    return first, np.trunc(shares + np.copysign(0.5, shares)).astype(np.int64)
