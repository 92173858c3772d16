"""Bytes of an image file -> an 8-bit RGB picture, upright and opaque, or an ImageError that says why not.

Safe to call from many threads. Only formats that Pillow decodes itself are tried: its EPS reader starts Ghostscript,
and its readers without a signature take arbitrary bytes for a picture.
"""

from __future__ import annotations

import functools
import itertools
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

from PIL import Image

from spark_imgdedup.kernels.colours import to_rgb
from spark_imgdedup.kernels.digests import pixel_digest

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
        pixel_sha256: Of the pixels of all frames as they are stored, see `kernels.digests`; None where it was not asked
            for, where the frames have more than max_pixels together, and where one after the first is damaged.
    """

    image: Image.Image
    width: int
    height: int
    format: str
    pixel_sha256: str | None = None


def decode_image(data: bytes, *, max_pixels: int, with_digest: bool = False) -> DecodedImage:
    """Decode the first frame of an image file.

    EXIF orientation is applied and transparency is laid on white, or on black where white would hide the picture: see
    `kernels.colours`. 16-bit and 32-bit greys are scaled to 8 bits.

    Args:
        data: The whole file.
        max_pixels: Limit for width * height, checked before any pixel is decoded. In GIF, WebP and tiled TIFF files
            Pillow's own limit (Image.MAX_IMAGE_PIXELS * 2) holds as well.
        with_digest: Whether to take pixel_sha256, which decodes the other frames too.

    Raises:
        ImageError: whatever is wrong with data, with its reason and one line of text; nothing else is raised.
    """
    _silence_pillow()
    try:
        image, name = _open(data)
        _require_size(image, name, max_pixels)
        image.load()
        _require_size(image, name, max_pixels)
        upright = _upright(image)
        digest = _digest(data, upright, max_pixels) if with_digest else None
        image = to_rgb(upright)
    except ImageError:
        raise
    except (MemoryError, Image.DecompressionBombError) as error:
        raise ImageError("too_large", f"decoding needs more memory than there is: {_one_line(error)}") from error
    except Exception as error:  # Pillow raises a dozen types for damaged files, bare Exception subclasses among them
        raise ImageError("unreadable", f"the file is damaged: {_one_line(error)}") from error
    return DecodedImage(image, image.width, image.height, name, digest)


def _digest(data: bytes, first: Image.Image, max_pixels: int) -> str | None:
    try:
        return pixel_digest(itertools.chain([first], _later_frames(data, max_pixels - first.width * first.height)))
    except Exception:  # the first frame is good: such files are copies where their bytes are
        return None


def _later_frames(data: bytes, max_pixels: int) -> Iterator[Image.Image]:
    # A handle of its own: counting the frames of a GIF moves it.
    image, name = _open(data)
    for place in range(1, getattr(image, "n_frames", 1)):
        image.seek(place)
        _require_size(image, name, max_pixels)
        max_pixels -= image.width * image.height
        image.load()
        yield _upright(image)


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
