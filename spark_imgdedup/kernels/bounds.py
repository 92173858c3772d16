"""What a picture may cost: pixels, bytes of memory a pixel, scans, and steps and seconds of the reader.

A file of some kilobytes can ask for gigabytes or minutes. All of it is looked at before the pixels are decoded, or
while they are read; what exceeds a bound is too_large.
"""

from __future__ import annotations

import re
import time
from io import BytesIO
from typing import Literal

from spark_imgdedup.kernels.jpeg2000 import count_blocks

# Bytes a pixel that decoding and all that is made of the pixels may take: 1 GiB at the default of max_image_pixels.
BYTES_PER_PIXEL = 12
# What these formats take by themselves (measured, with the picture in Pillow's 4 bytes a pixel); others are within it.
DECODER_BYTES = {"WEBP": 16, "AVIF": 16, "HEIF": 16, "JPEG2000": 28}
# What OpenJPEG takes for each block and tile, of three components (measured: 76 bytes a pixel in precincts of 4 x 4).
BLOCK_BYTES, TILE_BYTES = 500, 10_000
# Pixels of a side. To resize takes 48 bytes for each: its weights.
MAX_SIDE = 1_000_000
# A progressive JPEG goes over its pixels once a scan; 10 are usual. 24 times max_image_pixels take 2.5 s.
MAX_SCANS = 24
# Reads of the file by readers in Python: a chunk, a segment, a tag, and in QOI each pixel, takes some, of 1 to 2 us.
MAX_READS = 2_000_000
# Of processor time, for what none of the above foresees. It is looked at when the file is read.
MAX_SECONDS = 10.0
# Text that is decoded as numbers, at 3 MB a second.
MAX_PLAIN_BYTES = 2**24
# Frames that are digested. Each takes some 50 us, of however few pixels.
MAX_FRAMES = 10_000
# EXIF data is parsed in Python, tag by tag.
MAX_EXIF_BYTES = 2**20

_MARKER = re.compile(rb"\xff[^\x00\xff]", re.DOTALL)
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)  # restarts belong to a scan
_END, _SCAN = 0xD9, 0xDA
_WITHOUT_LENGTH = {0x01, 0xD8, *range(0xD0, 0xD8)}


class ImageError(ValueError):
    """The bytes are not a picture we can use.

    Attributes:
        reason: "unreadable" (not an image, damaged, or of an unknown format) or "too_large" (beyond a bound).
    """

    def __init__(self, reason: Literal["unreadable", "too_large"], message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type[ImageError], tuple[str, str]]:
        return type(self), (self.reason, str(self))


class Budget:
    """The steps and the processor time that the reading of one file may take; for one thread."""

    def __init__(self) -> None:
        self.reads = 0
        self.until = time.thread_time() + MAX_SECONDS
        self.problem: str | None = None

    def take(self) -> None:
        """Count a read.

        Raises:
            ImageError: too_large.
        """
        self.reads += 1
        if self.reads > MAX_READS:
            self.problem = f"it is made of more than {MAX_READS:,} pieces"
        elif time.thread_time() > self.until:
            self.problem = f"reading it takes more than {MAX_SECONDS:g} s"
        self.require()

    def require(self) -> None:
        """Refuse what has exceeded it, also where a reader has swallowed the error.

        Raises:
            ImageError: too_large.
        """
        if self.problem is not None:
            raise ImageError("too_large", self.problem)


class MeteredFile(BytesIO):
    """The bytes of a file, each read of which is taken from a budget."""

    def __init__(self, data: bytes, budget: Budget) -> None:
        super().__init__(data)
        self._budget = budget

    def read(self, size: int | None = -1, /) -> bytes:
        """As of any file.

        Raises:
            ImageError: the budget is spent.
        """
        self._budget.take()
        return super().read(size)


def require_size(name: str, size: tuple[int, int], max_pixels: int) -> None:
    """Check what a file says of its pixels, before any is decoded.

    Args:
        name: Of the format, in Pillow's spelling.
        size: Width and height.
        max_pixels: Of the settings.

    Raises:
        ImageError: too_large, or unreadable where there is no pixel.
    """
    width, height = size
    what, n_pixels = f"{name.lower()} of {width} x {height} pixels", width * height
    if n_pixels > max_pixels:
        raise ImageError("too_large", f"{what}, more than max_pixels = {max_pixels} (input.max_image_pixels)")
    if max(size) > MAX_SIDE:
        raise ImageError("too_large", f"{what}, more than {MAX_SIDE:,} along a side")
    n_bytes = DECODER_BYTES.get(name, 0)
    if n_pixels * n_bytes > max_pixels * BYTES_PER_PIXEL:
        raise ImageError(
            "too_large",
            f"{what}, which take {n_bytes} bytes each to decode: together more than {BYTES_PER_PIXEL} bytes times "
            f"max_pixels = {max_pixels} (input.max_image_pixels)",
        )
    if width < 1 or height < 1:
        raise ImageError("unreadable", what)


def require_scans(data: bytes, size: tuple[int, int], max_pixels: int) -> None:
    """Check how often a JPEG goes over its pixels.

    Raises:
        ImageError: too_large.
    """
    n_pixels = size[0] * size[1]
    most = MAX_SCANS * max_pixels // max(1, n_pixels)
    # In a scan a byte FF is followed by 00; a thumbnail, or a film behind the picture, may hold more of these.
    if data.count(b"\xff\xda") > most and count_scans(data, most) > most:
        raise ImageError(
            "too_large",
            f"jpeg of {size[0]} x {size[1]} pixels with more than {most} scans: together more than {MAX_SCANS} times "
            f"max_pixels = {max_pixels} (input.max_image_pixels)",
        )


def count_scans(data: bytes, most: int) -> int:
    """The scans of a JPEG, up to `most` + 1.

    Source: ITU-T T.81, B.1.1 and B.2.
    """
    place, n_scans = 0, 0
    pattern = _MARKER
    while n_scans <= most and (found := pattern.search(data, place)) is not None:
        marker, place = data[found.end() - 1], found.end()
        if marker == _END:
            break
        pattern = _MARKER
        if marker not in _WITHOUT_LENGTH:
            place += max(2, int.from_bytes(data[place : place + 2]))
        if marker == _SCAN:
            n_scans += 1
            pattern = _MARKER_IN_SCAN
    return n_scans


def require_blocks(data: bytes, size: tuple[int, int], max_pixels: int) -> None:
    """Check into how many blocks and tiles a JPEG 2000 is cut.

    Raises:
        ImageError: too_large.
    """
    try:
        n_blocks, n_tiles = count_blocks(data, size)
    except OverflowError as error:
        raise ImageError("too_large", f"jpeg2000 of {error}") from None
    n_bytes = size[0] * size[1] * DECODER_BYTES["JPEG2000"] + n_blocks * BLOCK_BYTES + (n_tiles - 1) * TILE_BYTES
    if n_bytes > max_pixels * BYTES_PER_PIXEL:
        raise ImageError(
            "too_large",
            f"jpeg2000 of {size[0]} x {size[1]} pixels in {n_blocks:,} blocks and {n_tiles:,} tiles: more than "
            f"{BYTES_PER_PIXEL} bytes times max_pixels = {max_pixels} (input.max_image_pixels)",
        )


def require_binary(data: bytes) -> None:
    """Check the length of a PNM file that holds its pixels as text (P1, P2, P3).

    Raises:
        ImageError: too_large.
    """
    if data[:2] in (b"P1", b"P2", b"P3") and len(data) > MAX_PLAIN_BYTES:
        raise ImageError(
            "too_large", f"ppm that holds its pixels as text, in {len(data)} bytes: more than {MAX_PLAIN_BYTES}"
        )
