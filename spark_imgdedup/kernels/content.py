"""How much there is to see in a picture, and what stands for a picture with little in it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# A picture is looked at in that many cells a side. Detail is counted in their luminance, where a cell differs by so
# many levels of 255 or more from what its neighbours lead to expect: gradients have none, however steep.
CELLS, DETAIL_STEP = 64, 5
# Below it a picture is plain. Measured: 40 plain pictures (benchmarks/plain_pictures.py) have at most 0.031, saved as
# PNG, JPEG 50 or WebP 50; the 212 distinct pictures of examples/shards at least 0.11. Of 2,956 pictures each, edited
# copies included, 6 of photographs and textures and 38 of clip art lie below it; by first differences of 8 levels 31
# and 40 would.
PLAIN_DETAIL = 0.035
# Cells a side of what is kept of a plain picture: in luminance, and in colour.
LUMINANCE_CELLS, COLOUR_CELLS = 48, 8
PLAIN_BYTES = 1 + 3 * COLOUR_CELLS**2 + LUMINANCE_CELLS**2
# Levels by which near-equal pictures differ in any cell. Of the 40, copies as WebP 80, JPEG 90 and 75 differ by at most
# 3 and any two others by at least 5 ("Invoice no. 10027" and "Invoice no. 10031").
PLAIN_TOLERANCE = 3
# Levels between the channels of a cell. Of the 212, 18 have at most 5 and the next 24; grey as WebP 30 has 1.
GREY_SPREAD = 8
# Of what is compared at once.
MOST_BYTES = 1 << 26

PlainPixels = NDArray[np.uint8]


def cells(image: Image.Image) -> Image.Image:
    """The picture in 64 x 64 cells, the mean of each: `detail` and `is_grey` take it instead of the picture.

    Args:
        image: Mode RGB.
    """
    # Means of means cost two thirds, and differ by a level.
    return image.resize((CELLS, CELLS), Image.Resampling.BOX, reducing_gap=1.5)


def detail(image: Image.Image) -> float:
    """The share of cells that break what their neighbours lead to expect, from 0 (one colour, a gradient) to 1.

    In a luminance of 64 x 64 cells, whatever the shape of the picture: 7936 second differences along rows and columns,
    to 4 decimals. A line of text on a page has about 0.02, a photograph 0.1 to 0.8.

    Source: the quality score of PDQ (Facebook, 2019) sums first differences, of which gradients have many.

    Args:
        image: Mode RGB, without its borders.
    """
    rows = np.asarray(cells(image).convert("L"), np.int16)
    found = sum(_n_steps(lines[:-2] - 2 * lines[1:-1] + lines[2:]) for lines in (rows, rows.T))
    return round(found / (2 * CELLS * (CELLS - 2)), 4)


def _n_steps(second_differences: NDArray[np.int16]) -> int:
    return int(np.count_nonzero((second_differences >= DETAIL_STEP) | (second_differences <= -DETAIL_STEP)))


def plain_pixels(image: Image.Image) -> bytes:
    """The whole picture in few pixels: its shape, 8 x 8 RGB and 48 x 48 luminance, PLAIN_BYTES in all.

    Each is the mean of its cell. The shape is 32 times the binary logarithm of width / height, and 128: a tolerance of
    3 is 7 %.

    Args:
        image: Mode RGB, with its borders.
    """
    shape = min(max(round(128 + 32 * math.log2(image.width / image.height)), 0), 255)
    # Exact means: a tolerance of few levels leaves no room for those of means.
    colours = image.resize((COLOUR_CELLS, COLOUR_CELLS), Image.Resampling.BOX)
    luminance = image.convert("L").resize((LUMINANCE_CELLS, LUMINANCE_CELLS), Image.Resampling.BOX)
    return bytes([shape]) + colours.tobytes() + luminance.tobytes()


def near_equal(a: PlainPixels, b: PlainPixels) -> NDArray[np.bool_]:
    """Which plain pictures are copies of each other, (N, M): no cell differs by more than PLAIN_TOLERANCE.

    Args:
        a: (N, PLAIN_BYTES) uint8, rows as `plain_pixels` gives them.
        b: (M, PLAIN_BYTES) uint8.

    Raises:
        ValueError: not uint8 of these shapes.
    """
    for name, rows in (("a", a), ("b", b)):
        if rows.ndim != 2 or rows.dtype != np.uint8 or rows.shape[1] != PLAIN_BYTES:
            raise ValueError(
                f"{name} must be a uint8 matrix (N, {PLAIN_BYTES}), got {rows.dtype} of shape {rows.shape}. Stack what "
                "plain_pixels gives."
            )
    equal = np.zeros((len(a), len(b)), np.bool_)
    coarse = PLAIN_BYTES - LUMINANCE_CELLS**2
    step = max(1, MOST_BYTES // (PLAIN_BYTES * max(1, len(b))))
    for start in range(0, len(a), step):
        part = slice(start, start + step)
        # Few agree in colour already, and only those are compared in full.
        left, right = np.nonzero(_within(a[part, None, :coarse], b[None, :, :coarse]))
        equal[start + left, right] = _within(a[part][left, coarse:], b[right, coarse:])
    return equal


def plain_keys(rows: PlainPixels) -> NDArray[np.int64]:
    """Four keys (N, 4) of each plain picture: near-equal ones share that of some column.

    They bring copies together, which a perceptual hash cannot: a gradient saved as WebP 80 has one 26 to 32 bits away.
    Mean luminance and mean red, each in steps of 8 levels that begin at 0 or at 4: means that differ by 3 lie in one
    step of either kind.

    Args:
        rows: (N, PLAIN_BYTES) uint8, see `near_equal`.
    """
    coarse = PLAIN_BYTES - LUMINANCE_CELLS**2
    means = (rows[:, coarse:].mean(axis=1), rows[:, 1:coarse:3].mean(axis=1))
    (dark, darker), (red, redder) = ([np.floor((mean + begin) / 8) for begin in (0, 4)] for mean in means)
    pairs = ((dark, red), (dark, redder), (darker, red), (darker, redder))
    return np.stack([64 * one + other for one, other in pairs], axis=1).astype(np.int64)


def is_grey(image: Image.Image) -> bool:
    """Whether a picture has no colour: in 64 x 64 cells, since JPEG and WebP leave a trace of it in single pixels.

    Args:
        image: Mode RGB.
    """
    red, green, blue = (np.asarray(channel) for channel in cells(image).split())
    highest, lowest = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    return int((highest - lowest).max()) <= GREY_SPREAD


def _within(left: PlainPixels, right: PlainPixels) -> NDArray[np.bool_]:
    # A difference of uint8 would wrap around.
    is_near: NDArray[np.bool_] = np.all(np.maximum(left, right) - np.minimum(left, right) <= PLAIN_TOLERANCE, axis=-1)
    return is_near
