"""A tar from front to back: no member is held, no index is kept, and every kind of damage is one error. No Spark."""

from __future__ import annotations

import copy
import io
import os
import re
import shutil
import struct
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from typing import IO, Any, Self

from spark_imgdedup.errors import printable
from spark_imgdedup.files.tars.compressed import COPY_BYTES, decompressed
from spark_imgdedup.files.tars.header_source import MAX_HEADER_BYTES, HeaderSource
from spark_imgdedup.files.tars.plain_header import pax_size, plain_header, plain_times

# Members that say something about the next one, such as its long name.
_EXTENSIONS = (b"x", b"g", b"X", b"L", b"K")
MAX_EXTENSION_BYTES = 2**20  # tarfile reads them whole
MAX_EXTENSIONS = 64  # in a row: tarfile calls itself for each, and ends a run with RecursionError at about 400
MAX_PIECES = 2**16  # of a sparse member: reading takes time by their square
# What a sparse member may grow by where it is read: 92 KB of tar can claim terabytes of holes.
MAX_HOLE_BYTES = 2**24
# Digits in a row within a PAX header, of which a file name may have 255. tarfile's pattern takes time by their square
# before Python 3.11.10 and 3.12.6: 7 s for 40,000 (CVE-2024-6232).
MAX_DIGITS = 300
MAX_OFFSET = 2**43  # no tar is longer, whatever a damaged header says; ext4 holds less than 2**44
MAX_TEXT = 1000  # characters of what is said of a tar: a name may have a million
_PAX = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_BLOCK = tarfile.BLOCKSIZE
# What tarfile raises for headers that were made to hurt. An error of the storage is none of these.
_HOSTILE = (tarfile.TarError, EOFError, ValueError, ArithmeticError, LookupError, RecursionError, MemoryError)
_HOSTILE += (struct.error, AttributeError, TypeError)  # type: ignore[assignment]


class DamagedTarError(Exception):
    """A tar ends early or holds something that is no tar; what came before was read. Its text may be shown."""

    def __init__(self, text: str) -> None:
        super().__init__(printable(text[:MAX_TEXT]))


def carries_data(info: tarfile.TarInfo) -> bool:
    """True where bytes of its own follow a member's header: a file, and, as POSIX says, a member of unknown type."""
    return info.isreg() or info.type not in tarfile.SUPPORTED_TYPES


def stored_bytes(info: tarfile.TarInfo) -> int:
    """How many bytes of a member the tar holds: of a sparse one, those between its holes."""
    return sum(n_bytes for _, n_bytes in _pieces(info))


def _pieces(info: Any) -> list[tuple[int, int]]:
    """Where a member's bytes belong in it, and how many they are: one piece, but for sparse members."""
    return [(0, info.size)] if info.sparse is None else info.sparse  # typeshed takes info.sparse for something else


def has_too_many_holes(info: tarfile.TarInfo) -> bool:
    """True for a sparse member that claims more than MAX_HOLE_BYTES of holes. `TarStream` reads it as stored only."""
    return info.size - stored_bytes(info) > MAX_HOLE_BYTES


class _StrictTarInfo(tarfile.TarInfo):
    """Headers that raise where tarfile would end the archive in silence, read backwards, or read all that follows."""

    def _proc_member(self, tar: Any) -> Any:
        # Called by tarfile for every header, those among them that say something about the next one.
        if self.size < 0 or (self.type in _EXTENSIONS and self.size > MAX_EXTENSION_BYTES):
            raise tarfile.HeaderError(f"impossible size {self.size}")
        if self.type in _EXTENSIONS:
            tar.n_extensions += 1
            if tar.n_extensions > MAX_EXTENSIONS:
                raise tarfile.HeaderError(f"more than {MAX_EXTENSIONS} headers for one member")
        if self.type in _PAX and self.size > MAX_DIGITS:
            _require_short_numbers(tar.fileobj.peek(self.size))
        return super()._proc_member(tar)  # type: ignore[misc]

    @classmethod
    def _file_with_times(cls, block: bytes, place: int, tar: Any) -> Self | None:
        """The file whose times the PAX header of this block tells, and nothing else; as tarfile reads it."""
        size = None if tar.pax_headers else pax_size(block)
        if size is None or size > _BLOCK:
            return None
        ahead = tar.fileobj.peek(2 * _BLOCK)
        times = plain_times(ahead[:size])
        found = plain_header(cls, ahead[_BLOCK:], tar.encoding, tar.errors) if times else None
        if found is None or found.type != tarfile.REGTYPE:
            return None
        tar.fileobj.read(2 * _BLOCK)
        found._proc_builtin(tar)  # type: ignore[attr-defined]  # tarfile's own, and so the next
        found._apply_pax_info(times, tar.encoding, tar.errors)  # type: ignore[attr-defined]
        found.offset = place
        return found

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """A header; one as most are in a third of tarfile's time."""
        return plain_header(cls, bytes(buf), encoding, errors) or super().frombuf(buf, encoding, errors)

    @classmethod
    def fromtarfile(cls, tarfile: Any) -> Self:
        if tarfile.n_extensions:  # the header that an extension speaks of, asked for by tarfile itself
            return super().fromtarfile(tarfile)
        return cls._next(tarfile)

    @classmethod
    def _next(cls, tar: Any) -> Self:
        """The next member, read on behind end marks.

        Raises:
            tarfile.EOFHeaderError: the tar ended, with an end mark.
            DamagedTarError: it ended without one, or something else stands here.
        """
        block, n_zero = _after_zeros(tar.fileobj)
        if not block:
            if n_zero:
                raise tarfile.EOFHeaderError("end of file header")  # type: ignore[attr-defined]
            raise DamagedTarError("ends without its end-of-archive mark, so it may have been cut")
        if n_zero > 1:  # another tar, for which the global headers of the one before do not count
            tar.pax_headers = {}
        place = tar.fileobj.tell() - len(block)
        tar.fileobj.left, tar.fileobj.heads = MAX_HEADER_BYTES, bytearray(block)
        try:
            found = cls._file_with_times(block, place, tar) or cls._by_tarfile(block, place, n_zero, tar)
            _require_possible(found, tar)
            return found
        except _HOSTILE as error:
            raise DamagedTarError(f"{_said(error)} at byte {place}") from None
        finally:
            tar.n_extensions, tar.fileobj.left = 0, None

    @classmethod
    def _by_tarfile(cls, block: bytes, place: int, n_zero: int, tar: Any) -> Self:
        try:
            info = cls.frombuf(block, tar.encoding, tar.errors)
        except _HOSTILE:
            if not n_zero:
                raise
            tar.fileobj.left = None
            raise DamagedTarError(_what_follows(block, place, tar.fileobj)) from None
        info.offset = place
        found: Self = info._proc_member(tar)
        return found


def _after_zeros(source: HeaderSource) -> tuple[bytes, int]:
    """The first block that is not all zeros, b"" where none follows, and how many zero blocks stand before."""
    n_zero = 0
    while block := source.read(_BLOCK):
        if block.count(0) < len(block) or (n_zero == 0 and len(block) < _BLOCK):
            return block, n_zero
        n_zero += 1
    return b"", n_zero


def _what_follows(block: bytes, place: int, source: HeaderSource) -> str:
    n_bytes = n_headers = 0
    while block:
        n_bytes += len(block)
        n_headers += block[257:262] == b"ustar"
        block = source.read(_BLOCK)
    headers = f"; headers of a tar among them: {n_headers}" if n_headers else ""
    return f"{n_bytes} bytes follow its end mark that are no tar, from byte {place} on{headers}"


def _require_short_numbers(header: bytes) -> None:
    if any(found.end() - found.start() > MAX_DIGITS for found in re.finditer(rb"\d+", header)):
        raise tarfile.HeaderError(f"more than {MAX_DIGITS} digits in a row in a PAX header")


def _require_possible(info: tarfile.TarInfo, tar: Any) -> None:
    if info.size < 0 or not info.offset < tar.offset < MAX_OFFSET:  # a PAX header may have said it
        raise tarfile.HeaderError(f"impossible size {info.size}")
    if tar.pax_headers and sum(map(len, chain(*tar.pax_headers.items()))) > MAX_HEADER_BYTES:
        raise tarfile.HeaderError(f"more than {MAX_HEADER_BYTES} bytes of global headers")
    if not carries_data(info):
        return
    room = tar.offset - info.offset_data
    if info.sparse is None and info.size <= room:
        return
    pieces = _pieces(info)
    if len(pieces) > MAX_PIECES:
        raise tarfile.HeaderError(f"a sparse file of {len(pieces)} pieces")
    if any(start < 0 or n_bytes < 0 or start + n_bytes > info.size for start, n_bytes in pieces):
        raise tarfile.HeaderError(f"impossible pieces of a sparse file of {info.size} bytes")
    if stored_bytes(info) > room:
        raise tarfile.HeaderError(f"impossible size {info.size}: {room} bytes are there")


def _said(error: BaseException) -> str:
    said = str(error) or type(error).__name__
    return said if isinstance(error, tarfile.TarError) else f"a header that makes no sense ({said})"


class _Tar(tarfile.TarFile):
    tarinfo = _StrictTarInfo
    n_extensions = 0  # headers that have spoken of the next one


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
        padding: bytes = self._tar.fileobj.read(-info.size % _BLOCK)
        return padding

    def __iter__(self) -> Iterator[tarfile.TarInfo]:
        try:
            # Seeking skips unwanted bytes where the storage can.
            self._tar = _Tar(fileobj=HeaderSource(self._stream))  # type: ignore[arg-type]
            while (info := self._tar.next()) is not None:
                self._tar.members.clear()  # else memory grows with the tar
                yield info
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
        except _HOSTILE as error:
            raise DamagedTarError(f"{_said(error)} in '{info.name}'") from None
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
