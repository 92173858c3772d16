"""Hundreds of image files that are cut, forged or changed at random, of every format that is read."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

from PIL import Image, features

from tests.hostile.spoiling import spoiled
from tests.tars import picture

WRITERS = {
    "jpeg": ("JPEG", {}),
    "progressive": ("JPEG", {"progressive": True}),
    "png": ("PNG", {}),
    "webp": ("WEBP", {}),
    "gif": ("GIF", {}),
    "bmp": ("BMP", {}),
    "tiff": ("TIFF", {"compression": "tiff_deflate"}),
    "ppm": ("PPM", {}),
    "qoi": ("QOI", {}),
    "jp2": ("JPEG2000", {}),
    "avif": ("AVIF", {}),
}
N_MUTANTS = 12


def all_images() -> Iterator[tuple[str, bytes]]:
    """(name, file) of every case."""
    for name, data in sorted(_sound().items()):
        yield f"sound-{name}", data
        yield from ((f"{what}-{name}", forged) for what, forged in spoiled(data, N_MUTANTS, 12))
    yield from _forged()


def _sound() -> dict[str, bytes]:
    found = {}
    for name, (kind, options) in WRITERS.items():
        if kind == "AVIF" and not features.check("avif"):
            continue
        buffer = io.BytesIO()
        picture(3, (64, 48)).save(buffer, kind, **options)
        found[name] = buffer.getvalue()
    return found


def _png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 2) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + b"".join(chunks) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _forged() -> Iterator[tuple[str, bytes]]:
    zeros = zlib.compress(bytes(10**7), 9)
    for side in (0, 1, 30_000, 2**31 - 1):
        yield f"png-{side}", _png(side, side, _chunk(b"IDAT", zeros))
        head = struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, side, side, 1, 24, *[0] * 6)
        yield f"bmp-{side}", b"BM" + head
        yield f"ppm-{side}", b"P6 %d %d 255\n" % (side, side)
        yield f"ppm-plain-{side}", b"P3 %d %d 255\n1 2 3" % (side, side)
        yield f"qoi-{side}", b"qoif" + struct.pack(">IIBB", side % 2**32, side % 2**32, 3, 0) + b"\x00" * 64
    yield "png-bomb", _png(9000, 9000, _chunk(b"IDAT", zlib.compress(bytes(9000 * 9001 * 3), 1)))
    yield "png-16-bit", _png(8000, 8000, _chunk(b"IDAT", zlib.compress(bytes(8000 * 16001), 1)), depth=16, colour=0)
    yield "png-text-bomb", _png(8, 8, _chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(10**8), 1)))
    yield "png-chunks", _png(8, 8, *[_chunk(b"tEXt", b"k\0v")] * 50_000)
    yield "jpeg-scans", _many_scans(400)
    yield "gif-frames", _animation(500)
    yield from {"empty": b"", "html": b"<html>", "svg": b"<svg/>"}.items()
    yield from {"eps": b"%!PS-Adobe-3.0 EPSF-3.0\n", "pdf": b"%PDF-1.7\n"}.items()


def _many_scans(n_scans: int) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    buffer = io.BytesIO()
    Image.effect_noise((1024, 1024), 60).save(buffer, "JPEG", progressive=True, quality=30)
    data = buffer.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * n_scans + b"\xff\xd9"


def _animation(n_frames: int) -> bytes:
    buffer = io.BytesIO()
    frames = [Image.new("P", (300, 300), place % 256) for place in range(n_frames)]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()
