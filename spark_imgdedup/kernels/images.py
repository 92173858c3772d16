"""Bytes of an image file -> an 8-bit RGB picture, upright and opaque, or an ImageError that says why not.

Safe to call from many threads. Only formats that Pillow decodes itself are tried, and HEIF where pi-heif is there:
Pillow's EPS reader starts Ghostscript, and its readers without a signature take arbitrary bytes for a picture.
"""

from __future__ import annotations

import functools
import itertools
import re
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import Image, features

from spark_imgdedup.formats import FORMATS
from spark_imgdedup.kernels.bounds import (
    MAX_FRAMES,
    Budget,
    ImageError,
    MeteredFile,
    require_binary,
    require_blocks,
    require_scans,
    require_size,
)
from spark_imgdedup.kernels.colours import to_rgb
from spark_imgdedup.kernels.digests import pixel_digest
from spark_imgdedup.kernels.orientation import SIDEWAYS, turn_of, turned

SIGNATURE_BYTES = 16  # what Pillow's own accept functions are given

_JPEG_SCAN, _JPEG_END = b"\xff\xda", b"\xff\xd9"

_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_MOST_BRANDS = 64
_MISSING = {
    "AVIF": "avif needs Pillow 11.3 or newer. Run `pip install 'spark-imgdedup[avif]'`, here and on workers",
    "HEIF": "heif (.heic) needs pi-heif. Run `pip install 'spark-imgdedup[heic]'`, here and on workers",
}

Opener = tuple[Callable[[MeteredFile, str], Image.Image], Callable[[bytes], bool | str] | None]


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


@dataclass(frozen=True)
class Jpeg:
    """A colour JPEG that is still to be decoded.

    Attributes:
        data: The whole file.
        width: Pixels, as they are stored.
        height: Pixels, as they are stored.
        turn: What makes them upright; None where they are.
    """

    data: bytes
    width: int
    height: int
    turn: Image.Transpose | None

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height of the upright picture."""
        return (self.height, self.width) if self.turn in SIDEWAYS else (self.width, self.height)


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
    with _explained(budget := Budget()):
        image, name = _open(data, budget)
        _require_affordable(data, name, image.size, max_pixels)
        may_have_more = "n_frames" in vars(image) or hasattr(type(image), "n_frames")
        image.load()
        budget.require()
        require_size(name, image.size, max_pixels)  # a frame of a GIF may be larger than its screen
        turn = turn_of(image)
        image = image._new(image.im)  # without its decoder: that of WebP holds two pictures more
        image = turned(image, turn)
        later = _later_frames(data, max_pixels - image.width * image.height, budget) if may_have_more else ()
        digest = _digest(image, later) if with_digest else None
        image = to_rgb(image)
    return DecodedImage(image, image.width, image.height, name.lower(), digest)


def peek_jpeg(data: bytes, *, max_pixels: int) -> Jpeg | None:
    """A JPEG for another decoder, by its header alone.

    Args:
        data: The whole file.
        max_pixels: As for `decode_image`.

    Returns:
        None for what `decode_image` is to judge: other formats, files without an end, and colours that decoders read
        differently (grey, CMYK, RGB that is stored as such).

    Raises:
        ImageError: as for `decode_image`, for what the header says.
    """
    with _explained(budget := Budget()):
        image, name = _open(data, budget)
        if name != "JPEG" or not _is_plain_colour(image) or data.rfind(_JPEG_END) < data.rfind(_JPEG_SCAN):
            return None
        _require_affordable(data, name, image.size, max_pixels)
        return Jpeg(data, *image.size, turn_of(image))


def _is_plain_colour(image: Image.Image) -> bool:
    """Whether a JPEG holds YCbCr by all signs: libjpeg and others read contradictions differently.

    Source: libjpeg's default_decompress_parms.
    """
    if image.mode != "RGB" or image.info.get("adobe_transform", 1) != 1:
        return False
    return "jfif" in image.info or [part[0] for part in getattr(image, "layer", ())] == [1, 2, 3]


@contextmanager
def _explained(budget: Budget) -> Iterator[None]:
    """Make an ImageError of whatever goes wrong with a file."""
    _silence_pillow()
    try:
        yield
    except ImageError:
        raise
    except (MemoryError, Image.DecompressionBombError) as error:
        raise ImageError("too_large", f"decoding needs more memory than there is: {_one_line(error)}") from error
    except Exception as error:  # Pillow raises a dozen types for damaged files, bare Exception subclasses among them
        if budget.problem is not None:
            raise ImageError("too_large", budget.problem) from error
        raise ImageError("unreadable", f"the file is damaged: {_one_line(error)}") from error


def _require_affordable(data: bytes, name: str, size: tuple[int, int], max_pixels: int) -> None:
    require_size(name, size, max_pixels)
    if name == "JPEG":
        require_scans(data, size, max_pixels)
    elif name == "JPEG2000":
        require_blocks(data, size, max_pixels)
    elif name == "PPM":
        require_binary(data)


def _digest(first: Image.Image, later: Iterable[Image.Image]) -> str | None:
    try:
        return pixel_digest(itertools.chain([first], later))
    except Exception:  # the first frame is good: such files are copies where their bytes are
        return None


def _later_frames(data: bytes, max_pixels: int, budget: Budget) -> Iterator[Image.Image]:
    # A handle of its own: counting the frames of a GIF moves it.
    image, name = _open(data, budget)
    n_frames = getattr(image, "n_frames", 1)
    if n_frames > MAX_FRAMES:
        raise ImageError("too_large", f"{n_frames} frames")
    for place in range(1, n_frames):
        image.seek(place)
        require_size(name, image.size, max_pixels)
        max_pixels -= image.width * image.height
        image.load()
        budget.require()
        yield turned(image, turn_of(image))


def _open(data: bytes, budget: Budget) -> tuple[Image.Image, str]:
    """Like Image.open, but without its size check, which warns and follows a setting of the whole process."""
    head = bytes(data[:SIGNATURE_BYTES])
    if not head:
        raise ImageError("unreadable", "the file is empty (0 bytes)")
    name = _container(data) or next(
        (name for name, (_, accept) in _openers().items() if accept is None or accept(head) is True), None
    )
    if name is None:
        raise ImageError("unreadable", f"not an image of a known format: {len(data)} bytes that start with {head!r}")
    if name not in _openers():
        raise ImageError("unreadable", _MISSING.get(name, f"this Pillow does not read {name}"))
    return _openers()[name][0](MeteredFile(data, budget), ""), name


def _container(data: bytes) -> str | None:
    """AVIF or HEIF, by the brands of the file: both are boxes, and either may call itself mif1 first.

    Source: ISO/IEC 14496-12, FileTypeBox; ISO/IEC 23008-12, 10.
    """
    if data[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(data[:4]), _MOST_BRANDS * 4)
    brands = {data[place : place + 4] for place in (8, *range(16, end, 4))}
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    return "HEIF" if brands & _HEIF_BRANDS else None


@functools.cache
def _openers() -> Mapping[str, Opener]:
    Image.init()
    found: dict[str, Opener] = {name: Image.OPEN[name] for name in FORMATS if name in Image.OPEN}
    if "AVIF" in found and not features.check("avif"):
        del found["AVIF"]
    try:
        import pi_heif
    except ImportError:
        return found
    # Threads are ours; what else such a file holds is not looked at.
    pi_heif.options.DECODE_THREADS = 1
    pi_heif.options.THUMBNAILS = pi_heif.options.DEPTH_IMAGES = pi_heif.options.AUX_IMAGES = False
    return {**found, "HEIF": (pi_heif.HeifImageFile, lambda _: False)}


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
