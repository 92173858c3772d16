"""Uniform borders of a picture: letterbox bars, frames, padding, the white margin of a product shot."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

# Measured on the 212 distinct pictures of examples/shards: in black bars and saved as a JPEG of quality 92, 96 % have a
# hash within 3 bits of the trimmed original's, of quality 30 91 %, and untrimmed none.
# A pixel that differs from the border's colour by fewer levels of 255 is border, by more than the last one is picture,
# and between them in part: JPEG rings.
NOISE, PICTURE = 28, 96
# The share of a line of the border that may be picture: the noise of small JPEG files, and fine tips.
STRAY = 0.02
# Share of the pixels of a line that are picture where a border ends in a sharp edge, and how many lines this may take.
SHARP, EDGE_LINES = 0.6, 4
# The least share of a side that stays: where the border has no sharp edge, a page with little on it would be cut to
# that; where it has one, a ruled line. A film of 16:9 in an upright screen of 9:16 keeps 0.32.
LEAST_SHARE, LEAST_SHARP_SHARE = 0.5, 0.25
# Borders inside of borders: a framed picture that was letterboxed, and the blurred line between the two.
MOST_ROUNDS = 4
# Borders are looked for in a picture whose longer side is at least that, and less than twice that.
SEARCHED_SIDE = 256

_RAMP = [round(255 * min(max(level - NOISE, 0) / (PICTURE - NOISE), 1)) for level in range(256)]

Profile = NDArray[np.float64]  # how much of each line is picture, from a side inward


class Borders(NamedTuple):
    """Pixels cut from each side."""

    left: int
    top: int
    right: int
    bottom: int


class _Side(NamedTuple):
    depth: int  # lines
    colour: tuple[int, ...]
    is_sharp: bool  # the picture begins at once, along the whole side


def trim_borders(image: Image.Image) -> tuple[Image.Image, Borders | None]:
    """The picture without its uniform borders, and what was cut from it; itself and None where it has none.

    A border is cut where it ends in a sharp straight edge, or where the opposite side has one of the same colour and at
    least LEAST_SHARE of each side remains. A picture of which nothing or one colour alone would be left stays as it is.

    Args:
        image: Mode RGB.
    """
    if all(_flat_colour(image, side) is None for side in range(4)):
        return image, None
    factor = max(1, max(image.size) // SEARCHED_SIDE)
    small = image.reduce(factor) if factor > 1 else image
    left, top, right, bottom = 0, 0, *small.size
    for _ in range(MOST_ROUNDS):
        found = _one_round(small.crop((left, top, right, bottom)))
        if not any(found):
            break
        left, top, right, bottom = left + found.left, top + found.top, right - found.right, bottom - found.bottom
    if (left, top, right, bottom) == (0, 0, *small.size) or _is_uniform(small.crop((left, top, right, bottom))):
        return image, None
    box = (left * factor, top * factor, min(right * factor, image.width), min(bottom * factor, image.height))
    return image.crop(box), Borders(box[0], box[1], image.width - box[2], image.height - box[3])


def _is_uniform(image: Image.Image) -> bool:
    """Whether nothing is left: of a flag of three bands two would be borders."""
    return all(int(high) - int(low) <= NOISE for low, high in image.getextrema())  # type: ignore[misc]  # RGB: pairs


def _one_round(image: Image.Image) -> Borders:
    nothing = Borders(0, 0, 0, 0)
    sides: list[_Side] = []  # left, top, right, bottom
    profiles: dict[tuple[int, ...], tuple[Profile, Profile]] = {}
    for side in range(4):
        colour = _flat_colour(image, side)
        if colour is None:
            sides.append(_Side(0, (), False))
            continue
        if colour not in profiles:
            profiles[colour] = _profiles(image, colour)
        profile = profiles[colour][side % 2]
        sides.append(_measured(profile if side < 2 else profile[::-1], colour))
        if sides[-1].depth == len(profile):
            return nothing
    kept = [side.depth if _is_border(sides, place) else 0 for place, side in enumerate(sides)]
    for axis, length in enumerate(image.size):
        depths = [(kept[place], sides[place].is_sharp) for place in (axis, axis + 2) if kept[place]]
        remains = 1 - sum(depth for depth, _ in depths) / length
        if remains < (LEAST_SHARP_SHARE if all(is_sharp for _, is_sharp in depths) else LEAST_SHARE):
            return nothing
    return Borders(*kept)


def _flat_colour(image: Image.Image, side: int) -> tuple[int, ...] | None:
    """The colour of the outermost line of a side; None where it has several, as in most pictures: they cost no more."""
    width, height = image.size
    boxes = ((0, 0, 1, height), (0, 0, width, 1), (width - 1, 0, width, height), (0, height - 1, width, height))
    line = np.asarray(image.crop(boxes[side])).reshape(-1, 3)
    colour = np.sort(line, axis=0)[len(line) // 2]  # the median
    differing = np.max(np.maximum(line, colour) - np.minimum(line, colour), axis=1)
    return tuple(colour.tolist()) if np.take(_RAMP, differing).mean() <= 255 * STRAY else None


def _profiles(image: Image.Image, colour: tuple[int, ...]) -> tuple[Profile, Profile]:
    """How much of each column and of each row is not of this colour, from 0 to 1."""
    red, green, blue = ImageChops.difference(image, Image.new("RGB", image.size, colour)).split()
    differing = np.asarray(ImageChops.lighter(ImageChops.lighter(red, green), blue).point(_RAMP))
    return differing.mean(axis=0) / 255, differing.mean(axis=1) / 255


def _measured(profile: Profile, colour: tuple[int, ...]) -> _Side:
    inside = np.flatnonzero(profile > STRAY)
    if not len(inside):
        return _Side(len(profile), colour, False)
    depth = int(inside[0])
    full = np.flatnonzero(profile[depth : depth + EDGE_LINES] >= SHARP)
    return _Side(depth + int(full[0]), colour, True) if len(full) else _Side(depth, colour, False)


def _is_border(sides: list[_Side], place: int) -> bool:
    """Whether it ends in a sharp edge, or two opposite sides are of its colour."""
    side = sides[place]
    pairs = ((sides[0], sides[2]), (sides[1], sides[3]))
    return side.depth > 0 and (
        side.is_sharp
        or any(one.depth and other.depth and _are_alike(one, side) and _are_alike(other, side) for one, other in pairs)
    )


def _are_alike(side: _Side, other: _Side) -> bool:
    return max(abs(a - b) for a, b in zip(side.colour, other.colour, strict=True)) <= NOISE
