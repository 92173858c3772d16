"""Bytes of an image file -> an 8-bit RGB picture, upright and on white, or an ImageError that says why not.

Safe to call from many threads. Only formats that Pillow decodes itself are tried: its EPS reader starts Ghostscript,
and its readers without a signature take arbitrary bytes for a picture.
"""

from __future__ import annotations

import functools
import re
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

import numpy as np
from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "QOI")
SIGNATURE_BYTES = 16  # what Pillow's own accept functions are given

EXIF_ORIENTATION = 0x0112
UPRIGHT = {  # EXIF 2.32, tag Orientation: the turn that undoes it
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Opener = tuple[Callable[[BytesIO, str], Image.Image], Callable[[bytes], bool | str] | None]


class ImageError(ValueError):
    """The bytes are not a picture we can use.

    Attributes:
        reason: "unreadable" (not an image, damaged, or of an unknown format) or "too_large" (more than max_pixels).
    """

    def __init__(self, reason: Literal["unreadable", "too_large"], message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type[ImageError], tuple[str, str]]:
        return type(self), (self.reason, str(self))


@dataclass(frozen=True)
class DecodedImage:
    """A picture ready for hashing and for a model.

    Attributes:
        image: Mode RGB, 8 bits.
        width: Pixels, after the EXIF orientation is applied.
        height: Pixels, after the EXIF orientation is applied.
        format: Lower case, e.g. "jpeg", "png", "webp".
    """

    image: Image.Image
    width: int
    height: int
    format: str


def decode_image(data: bytes, *, max_pixels: int) -> DecodedImage:
    """Decode the first frame of an image file.

    EXIF orientation is applied and transparency is laid on white. 16-bit and 32-bit greys are scaled to 8 bits.

    Args:
        data: The whole file.
        max_pixels: Limit for width * height, checked before any pixel is decoded. In GIF, WebP and tiled TIFF files
            Pillow's own limit (Image.MAX_IMAGE_PIXELS * 2) holds as well.

    Raises:
        ImageError: whatever is wrong with data, with its reason and one line of text; nothing else is raised.
    """
    _silence_pillow()
    try:
        image, name = _open(data)
        _require_size(image, name, max_pixels)
        image.load()
        _require_size(image, name, max_pixels)
        image = _to_rgb(_upright(image))
    except ImageError:
        raise
    except (MemoryError, Image.DecompressionBombError) as error:
        raise ImageError("too_large", f"decoding needs more memory than there is: {_one_line(error)}") from error
    except Exception as error:  # Pillow raises a dozen types for damaged files, bare Exception subclasses among them
        raise ImageError("unreadable", f"the file is damaged: {_one_line(error)}") from error
    return DecodedImage(image, image.width, image.height, name)


def _open(data: bytes) -> tuple[Image.Image, str]:
    """Like Image.open, but without its size check, which warns and follows a setting of the whole process."""
    head = bytes(data[:SIGNATURE_BYTES])
    if not head:
        raise ImageError("unreadable", "the file is empty (0 bytes)")
    for name, (factory, accept) in _openers().items():
        if accept is None or accept(head) is True:
            return factory(BytesIO(data), ""), name.lower()
    raise ImageError("unreadable", f"not an image of a known format: {len(data)} bytes that start with {head!r}")


@functools.cache
def _openers() -> dict[str, Opener]:
    Image.init()
    return {name: Image.OPEN[name] for name in FORMATS if name in Image.OPEN}


def _require_size(image: Image.Image, name: str, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError("too_large", f"{name} of {width} x {height} pixels, more than max_pixels = {max_pixels}")
    if width < 1 or height < 1:
        raise ImageError("unreadable", f"{name} of {width} x {height} pixels")


def _upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; damaged EXIF data says nothing about it."""
    try:
        turn = UPRIGHT.get(image.getexif().get(EXIF_ORIENTATION, 1))
    except Exception:  # read only now: PNG may hold EXIF behind its pixels
        return image
    if turn is None:
        return image
    turned = image.transpose(turn)
    turned.info = image.info  # transparency
    return turned


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        image = _to_8_bit_grey(image)
    if image.has_transparency_data:
        with_alpha = image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, with_alpha).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_8_bit_grey(image: Image.Image) -> Image.Image:
    """Scale grey values of 16 or more bits to 0..255; Pillow's convert clips them there.

    Modes I;16* and I hold 0..65535 by convention, F 0..1. Values outside of that are stretched from their minimum to
    their maximum; NaN is black.
    """
    values = np.nan_to_num(np.asarray(image).astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    top = 1.0 if image.mode == "F" else 65535.0
    if low >= 0 and high <= top:
        low, high = 0.0, top
    grey = np.rint((values - low) / max(high - low, np.finfo(np.float64).tiny) * 255)
    scaled = Image.fromarray(grey.astype(np.uint8))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):  # PNG names one 16-bit grey as transparent
        alpha = np.where(np.asarray(image) == transparent, 0, 255).astype(np.uint8)
        scaled.putalpha(Image.fromarray(alpha))
    return scaled


_PILLOW_MODULES = r"PIL\."
_IGNORE_PILLOW = ("ignore", None, Warning, re.compile(_PILLOW_MODULES), 0)  # as the warnings module stores it
_FILTERS_LOCK = threading.Lock()


def _silence_pillow() -> None:
    """Keep Pillow's warnings about odd files out of the log.

    warnings.catch_warnings swaps state of the whole process and is unsafe in threads before Python 3.14, so one filter
    is added, again whenever somebody has reset the filters.
    """
    if _IGNORE_PILLOW not in warnings.filters:
        with _FILTERS_LOCK:
            warnings.filterwarnings("ignore", module=_PILLOW_MODULES)


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
