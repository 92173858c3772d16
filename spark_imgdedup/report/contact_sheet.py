"""A picture of pairs: each image that was removed beside the one it repeats. No Spark, no fonts but Pillow's own."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from spark_imgdedup.kernels.images import decode_image

# Pixels.
SHEET_WIDTH = 1000
PAIRS_PER_ROW = 3
MARGIN = 12  # around the sheet and between cells
PADDING = 10  # from a cell's border to what it holds
GAP = 8  # between the two images of a pair
BAR = 3  # under an image, in the colour of its line below
LINE_HEIGHT = 16
TEXT_SIZE = 12.5
ROLE_WIDTH = 56  # from "removed" to the id

# A larger image is an ImageError: this is a sheet of thumbnails. The default of input.max_image_pixels.
MAX_PIXELS = 89_478_485

PAPER, CELL, BORDER, FRAME = "#f4f5f7", "#ffffff", "#d5d9e0", "#e7e9ee"
INK, QUIET, REMOVED, REPEATED = "#1f2430", "#5f6b7d", "#b42318", "#18794e"

_CELL_WIDTH = (SHEET_WIDTH - (PAIRS_PER_ROW + 1) * MARGIN) // PAIRS_PER_ROW
_BOX = ((_CELL_WIDTH - 2 * PADDING - GAP) // 2, (_CELL_WIDTH - 2 * PADDING - GAP) * 2 // 5)  # 5 : 4
_CELL_HEIGHT = 2 * PADDING + _BOX[1] + BAR + 6 + 3 * LINE_HEIGHT


@dataclass(frozen=True)
class PicturePair:
    """A removed image and the one it repeats.

    Attributes:
        removed: The encoded file.
        removed_id: Its id.
        repeated: The encoded file of the image that `max_id` names. It may itself have been removed.
        repeated_id: Its id.
        score: cosine_sim_score.
        note: What is known of the pair, e.g. how the copy was made.
        is_kept: False where the repeated image was removed too: it is then marked in grey.
    """

    removed: bytes
    removed_id: str
    repeated: bytes
    repeated_id: str
    score: float
    note: str = ""
    is_kept: bool = True


def contact_sheet(pairs: Sequence[PicturePair], path: str | Path) -> None:
    """Draw the pairs, three a row, and save the sheet in the format that the suffix of `path` names.

    Raises:
        ValueError: there are no pairs, or (ImageError) an image cannot be decoded.
    """
    sheet = draw_sheet(pairs, len(pairs))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, optimize=True)


def draw_sheet(pairs: Iterable[PicturePair], n_pairs: int) -> Image.Image:
    """The pairs, three a row. One pair is held at a time.

    Raises:
        ValueError: there are no pairs, or (ImageError) an image cannot be decoded.
    """
    if n_pairs < 1:
        raise ValueError("A contact sheet needs at least one pair, got none.")
    n_rows = -(-n_pairs // PAIRS_PER_ROW)
    sheet = Image.new("RGB", (SHEET_WIDTH, n_rows * (_CELL_HEIGHT + MARGIN) + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    for place, pair in enumerate(pairs):
        row, column = divmod(place, PAIRS_PER_ROW)
        _draw_pair(
            sheet, draw, pair, (MARGIN + column * (_CELL_WIDTH + MARGIN), MARGIN + row * (_CELL_HEIGHT + MARGIN))
        )
    return sheet


def _draw_pair(sheet: Image.Image, draw: ImageDraw.ImageDraw, pair: PicturePair, corner: tuple[int, int]) -> None:
    left, top = corner
    frame = (left, top, left + _CELL_WIDTH, top + _CELL_HEIGHT)
    draw.rounded_rectangle(frame, radius=6, fill=CELL, outline=BORDER)
    x, y = left + PADDING, top + PADDING
    line = y + _BOX[1] + BAR + 6
    width = _CELL_WIDTH - 2 * PADDING
    sides = (
        (pair.removed, "removed", REMOVED, pair.removed_id),
        (pair.repeated, "repeats", REPEATED if pair.is_kept else QUIET, pair.repeated_id),
    )
    for place, (data, role, colour, name) in enumerate(sides):
        at = x + place * (_BOX[0] + GAP)
        sheet.paste(_thumbnail(data), (at, y))
        draw.rectangle((at, y + _BOX[1], at + _BOX[0] - 1, y + _BOX[1] + BAR - 1), fill=colour)
        draw.text((x, line), role, colour, _font())
        draw.text((x + ROLE_WIDTH, line), shorten(name, width - ROLE_WIDTH), INK, _font())
        line += LINE_HEIGHT
    about = f"cosine {pair.score:.4f}" + (f", {pair.note}" if pair.note else "")
    draw.text((x, line), shorten(about, width), QUIET, _font())


def _thumbnail(data: bytes) -> Image.Image:
    """A box with the whole image in its middle, whatever its shape; small images are enlarged to 2 : 1 at most."""
    image = decode_image(data, max_pixels=MAX_PIXELS).image
    scale = min(_BOX[0] / image.width, _BOX[1] / image.height, 2.0)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    box = Image.new("RGB", _BOX, FRAME)
    box.paste(image.resize(size, Image.Resampling.LANCZOS), ((_BOX[0] - size[0]) // 2, (_BOX[1] - size[1]) // 2))
    return box


def shorten(text: str, width: int) -> str:
    """`text` in at most `width` pixels: the end stays, since ids differ there."""
    font = _font()
    if font.getlength(text) <= width:
        return text
    return next((short for i in range(1, len(text)) if font.getlength(short := f"…{text[i:]}") <= width), "…")


@functools.cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(TEXT_SIZE)
