"""A tar from front to back: no member is held, no index is kept, and every kind of damage is one error. No Spark."""

from __future__ import annotations

import copy
import io
import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, Any

from spark_imgdedup.files.tars.compressed import COPY_BYTES, decompressed
from spark_imgdedup.files.tars.header_source import HeaderSource
from spark_imgdedup.files.tars.strict_headers import (
    HOSTILE,
    DamagedTarError,
    StrictTar,
    carries_data,
    has_too_many_holes,
    in_words,
    stored_bytes,
)


class TarStream:
    """The members of a tar, front to back, without tarfile's habit of remembering each one.

    A compressed tar is told by its first bytes, whatever its name, and read as it is decompressed. `name` is what
    errors call it.
    """

    def __init__(self, stream: IO[bytes], name: str = "a tar") -> None:
        self._stream = decompressed(stream)  # the caller's to close
        self.name = name
        self._tar: Any = None
        # Of the open file in which the members lie as they are, where there is one.
        self.descriptor: int | None = None
        self.n_bytes = 0  # of that file, when it was opened
        with suppress(AttributeError, OSError):
            self.descriptor = self._stream.fileno()
            self.n_bytes = os.fstat(self.descriptor).st_size

    def heads(self, info: tarfile.TarInfo) -> bytes | None:
        """The headers of the member that the iteration stands at as the tar has them; None where others count too."""
        heads = self._tar.fileobj.heads
        is_all = len(heads) == info.offset_data - info.offset and not self._tar.pax_headers
        return bytes(heads) if is_all else None

    def padding(self, info: tarfile.TarInfo) -> bytes:
        """What fills the last block of the member whose bytes were read just now: less where the tar is cut there."""
        padding: bytes = self._tar.fileobj.read(-info.size % tarfile.BLOCKSIZE)
        return padding

    def __iter__(self) -> Iterator[tarfile.TarInfo]:
        try:
            # Seeking skips unwanted bytes where the storage can.
            source: Any = HeaderSource(self._stream, self.n_bytes or None)
            self._tar = StrictTar(fileobj=source)
            info = self._tar.firstmember
            while info is not None:
                yield info
                info = self._tar.next()
        except (tarfile.TarError, EOFError) as error:
            raise DamagedTarError(str(error)) from None

    def read(self, info: tarfile.TarInfo) -> bytes:
        """The bytes of the member that the iteration stands at.

        Raises:
            DamagedTarError: the tar ends inside of it.
        """
        data = io.BytesIO()
        self.copy_to(data, info)
        return data.getvalue()

    def copy_to(self, target: IO[bytes], info: tarfile.TarInfo) -> None:
        """Write the bytes of the member that the iteration stands at to a file, holes filled.

        Raises:
            DamagedTarError: the tar ends inside of it.
            ValueError: it carries no data, or has too many holes; `copy_stored` copies those.
        """
        if not self._tar or not carries_data(info) or has_too_many_holes(info):
            raise ValueError(f"'{info.name}' is not a file of this tar that can be read whole")
        start = target.tell()
        try:
            if info.sparse is None:
                self._copy_plain(target, info)
            else:
                shutil.copyfileobj(self._tar.extractfile(info), target, COPY_BYTES)
        except HOSTILE as error:
            raise DamagedTarError(f"{in_words(error)} in '{info.name}'") from None
        if (n_copied := target.tell() - start) != info.size:
            raise DamagedTarError(f"unexpected end of data in '{info.name}' after {n_copied} of {info.size} bytes")

    def _copy_plain(self, target: IO[bytes], info: tarfile.TarInfo) -> None:
        # A quarter faster than tarfile's own way, through two files.
        source, left = self._tar.fileobj, info.size
        source.seek(info.offset_data)
        while left and (data := source.read(min(left, COPY_BYTES))):
            target.write(data)
            left -= len(data)

    def copy_stored(self, target: IO[bytes], info: tarfile.TarInfo) -> None:
        """Write the bytes of the member that the iteration stands at as the tar holds them, without its holes.

        Raises:
            DamagedTarError: the tar ends inside of it.
        """
        stored = copy.copy(info)
        stored.size, stored.sparse = stored_bytes(info), None
        self.copy_to(target, stored)
