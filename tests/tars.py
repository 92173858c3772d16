"""Tiny tars of real pictures, for tests that need shards: `from tests.tars import jpeg, make_tar`."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from webdataset.tariterators import group_by_keys, tar_file_iterator

Members = Iterable[tuple[str, bytes]]


class OneWay(io.RawIOBase):
    """A file that cannot seek, as some object stores give."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def read(self, size: int = -1) -> bytes:
        return self._data.read(size)


def picture(seed: int = 0, size: tuple[int, int] = (24, 16)) -> Image.Image:
    """Smooth colours that a seed decides: other seeds give pictures that look nothing alike."""
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def encoded(image_format: str, seed: int = 0, size: tuple[int, int] = (24, 16)) -> bytes:
    """The picture of `seed` in any format that Pillow writes: JPEG, PNG, WEBP, GIF, BMP, TIFF."""
    buffer = io.BytesIO()
    picture(seed, size).save(buffer, image_format)
    return buffer.getvalue()


def jpeg(seed: int = 0, size: tuple[int, int] = (24, 16)) -> bytes:
    """The picture of `seed` as JPEG."""
    return encoded("JPEG", seed, size)


def png(seed: int = 0, size: tuple[int, int] = (24, 16)) -> bytes:
    """The picture of `seed` as PNG."""
    return encoded("PNG", seed, size)


def tar_bytes(members: Members, tar_format: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar of (name, data) pairs, in that order, without the padding that rounds a tar up to 10 KiB."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        end = tar.offset
    return buffer.getvalue()[: end + 2 * tarfile.BLOCKSIZE]


def make_tar(path: Path | str, members: Members, tar_format: int = tarfile.PAX_FORMAT) -> Path:
    """Write a tar of (name, data) pairs; its folder is made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tar_bytes(members, tar_format))
    return path


def members_of(path: Path | str) -> list[tuple[str, bytes]]:
    """(name, data) of each regular file of a tar, read with Python's own module."""
    with tarfile.open(path) as tar:
        return [(info.name, tar.extractfile(info).read()) for info in tar if info.isreg()]


def webdataset_samples(path: Path | str) -> list[dict[str, Any]]:
    """The samples of a tar as the webdataset package reads them.

    By its own iterators over a file of ours: its pipeline leaves files open, and here warnings are errors.
    """
    with open(path, "rb") as file:
        members = ({"__url__": str(path), **member} for member in tar_file_iterator(file))
        return list(group_by_keys(members))
