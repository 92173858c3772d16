"""Uniform borders of a picture: letterbox bars, frames, padding, the white margin of a product shot."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from spark_imgdedup.kernels.content import PLAIN_DETAIL, detail

# Measured on two corpora of 3,006 pictures (benchmarks/quality.py, eps 0.22): F1 0.979 of photographs and textures and
# 0.976 of clip art; with one loose tolerance of 28 levels for all, which cut low contrast away as border, 0.966 and
# 0.972. Of their originals in black bars and saved as a JPEG of quality 92, 89 % have a hash within 4 bits of the
# trimmed original's, of quality 30 80 % (with the loose tolerance 85 and 80 %).
# Of 105 pictures of examples/shards 100 and 80 % (97 and 96 %): a white margin inside of black bars is not flat beside
# them at quality 30. To look for it 8 pixels further in finds 96 % of these, but costs 0.001 of F1.
# A pixel that differs from the border's colour by fewer levels of 255 is border, by more than the last one is picture,
# and between them in part.
NOISE, PICTURE = 6, 20
# What a difference in colour counts beside one in luminance: JPEG smears colour over 16 pixels.
COLOUR_SHARE = 0.3
# Borders whose colours differ by no more are of one.
SAME_COLOUR = 28
# The share of a line of the border that may be picture: the noise of small JPEG files, and fine tips.
STRAY = 0.02
# A JPEG rings in the block of this many pixels beside an edge. From where a border stops being flat it goes on to the
# line that differs by this share of what the lines up there differ by at most.
RINGING, RISE = 8, 0.2
# Share of the pixels of a line that are picture where a border ends in a sharp edge, and how many lines this may take.
SHARP, EDGE_LINES = 0.6, 4
# The least share of a side that stays: where the border has no sharp edge, a page with little on it would be cut to
# that; where it has one, a ruled line. A film of 16:9 in an upright screen of 9:16 keeps 0.32.
LEAST_SHARE, LEAST_SHARP_SHARE = 0.5, 0.25
# Detail of less than any page: a line of text has about 0.02.
NEXT_TO_NOTHING = 0.005
# Borders inside of borders: a framed picture that was letterboxed, and the blurred line between the two.
MOST_ROUNDS = 4
# Borders are looked for in a picture whose longer side is at least that, and less than twice that.
SEARCHED_SIDE = 256

_RAMP = [round(255 * min(max(level - NOISE, 0) / (PICTURE - NOISE), 1)) for level in range(256)]
_COLOUR = [int(COLOUR_SHARE * level) for level in range(256)]

_RAMP_ARRAY, _COLOUR_ARRAY = np.array(_RAMP, np.uint8), np.array(_COLOUR, np.int32)

Lines = NDArray[np.float64]  # a number for each line, from a side inward


class _Profile(NamedTuple):
    picture: Lines  # how much of the line is picture, from 0 to 1
    level: Lines  # how far it is from the border's colour, in levels of 255


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
    least LEAST_SHARE of each side remains. A picture stays as it is where nothing would be left of it, or less than
    PLAIN_DETAIL between borders of several colours: of a flag one of its bands.

    Args:
        image: Mode RGB.
    """
    if all(_flat_colour(image, side) is None for side in range(4)):
        return image, None
    factor = max(1, max(image.size) // SEARCHED_SIDE)
    small = image.reduce(factor) if factor > 1 else image
    left, top, right, bottom = 0, 0, *small.size
    for _ in range(MOST_ROUNDS):
        found = _one_round(small.crop((left, top, right, bottom)), -(-RINGING // factor))
        if not any(found):
            break
        left, top, right, bottom = left + found.left, top + found.top, right - found.right, bottom - found.bottom
    if (left, top, right, bottom) == (0, 0, *small.size):
        return image, None
    box = (left * factor, top * factor, min(right * factor, image.width), min(bottom * factor, image.height))
    trimmed = image.crop(box)
    found = Borders(box[0], box[1], image.width - box[2], image.height - box[3])
    return (image, None) if _is_one_of_its_bands(trimmed, image, found) else (trimmed, found)


def _is_one_of_its_bands(trimmed: Image.Image, image: Image.Image, borders: Borders) -> bool:
    """Whether nothing would be left, or little between borders of several colours; not a page in bars of one colour."""
    left_over = detail(trimmed)
    if left_over >= PLAIN_DETAIL or left_over >= detail(image):
        return False
    colours = [_flat_colour(image, side) for side, depth in enumerate(borders) if depth]
    known = np.array([colour for colour in colours if colour is not None], np.int16).reshape(-1, 3)
    return left_over < NEXT_TO_NOTHING or (len(known) > 1 and int(np.ptp(known, axis=0).max()) > SAME_COLOUR)


def _one_round(image: Image.Image, ringing: int) -> Borders:
    nothing = Borders(0, 0, 0, 0)
    sides: list[_Side] = []  # left, top, right, bottom
    profiles: dict[tuple[int, ...], tuple[_Profile, _Profile]] = {}
    for side in range(4):
        colour = _flat_colour(image, side)
        if colour is None:
            sides.append(_Side(0, (), False))
            continue
        if colour not in profiles:
            profiles[colour] = _profiles(image, colour)
        profile = profiles[colour][side % 2]
        inward = profile if side < 2 else _Profile(profile.picture[::-1], profile.level[::-1])
        sides.append(_measured(inward, colour, ringing))
        if sides[-1].depth == len(inward.picture):
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
    # A row for each channel: NumPy takes the strongest of three rows in a tenth of the time of three columns.
    channels = np.asarray(image.crop(boxes[side])).reshape(-1, 3).T.astype(np.int32, order="C")
    middle = channels.shape[1] // 2
    colour = tuple(np.partition(channels, middle, axis=1)[:, middle].tolist())  # the median
    return colour if _picture_in_line(channels, colour).mean() <= 255 * STRAY else None


def _picture_in_line(channels: NDArray[np.int32], colour: tuple[int, ...]) -> NDArray[np.uint8]:
    """How much `_profiles` takes for picture of each pixel (3, N) of a line: of so few, in half of Pillow's time."""
    own = np.array(colour, np.int32)
    away = np.abs(channels - own[:, None]).max(axis=0)
    luminance = np.abs(_luminance(channels) - _luminance(own))
    picture: NDArray[np.uint8] = _RAMP_ARRAY[np.maximum(luminance, _COLOUR_ARRAY[away])]
    return picture


def _luminance(channels: NDArray[np.int32]) -> NDArray[np.int32]:
    """As Pillow makes "L" of "RGB" (ITU-R 601-2), (3, …) to (…)."""
    red, green, blue = channels
    found: NDArray[np.int32] = (19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16
    return found


def _difference(image: Image.Image, colour: tuple[int, ...]) -> tuple[Image.Image, Image.Image]:
    """How far each pixel is from this colour, in levels: with colour for less than luminance, and in any channel."""
    plain = Image.new("RGB", image.size, colour)
    red, green, blue = ImageChops.difference(image, plain).split()
    strongest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    luminance = ImageChops.difference(image.convert("L"), plain.convert("L"))
    return ImageChops.lighter(luminance, strongest.point(_COLOUR)), strongest


def _profiles(image: Image.Image, colour: tuple[int, ...]) -> tuple[_Profile, _Profile]:
    """What the columns and the rows are beside this colour."""
    weighed, strongest = _difference(image, colour)
    picture, level = np.asarray(weighed.point(_RAMP)), np.asarray(strongest)
    across, down = (_Profile(picture.mean(axis=axis) / 255, level.mean(axis=axis)) for axis in (0, 1))
    return across, down


def _measured(profile: _Profile, colour: tuple[int, ...], ringing: int) -> _Side:
    inside = np.flatnonzero(profile.picture > STRAY)
    if not len(inside):
        return _Side(len(profile.picture), colour, False)
    depth = int(inside[0])
    if depth:
        edge = profile.level[depth : depth + ringing + EDGE_LINES]
        depth += int(np.argmax(edge >= RISE * edge.max()))
    return _Side(depth, colour, bool((profile.picture[depth : depth + EDGE_LINES] >= SHARP).any()))


def _is_border(sides: list[_Side], place: int) -> bool:
    """Whether it ends in a sharp edge, or two opposite sides are of its colour."""
    side = sides[place]
    pairs = ((sides[0], sides[2]), (sides[1], sides[3]))
    return side.depth > 0 and (
        side.is_sharp
        or any(one.depth and other.depth and _are_alike(one, side) and _are_alike(other, side) for one, other in pairs)
    )


def _are_alike(side: _Side, other: _Side) -> bool:
    return max(abs(a - b) for a, b in zip(side.colour, other.colour, strict=True)) <= SAME_COLOUR
