"""A tar's headers, strictly: they raise where tarfile would end the archive in silence. No Spark."""

from __future__ import annotations

import re
import struct
import tarfile
from contextlib import suppress
from itertools import chain
from typing import Any, Self

from spark_imgdedup.errors import printable
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
_WITH_TIMES = 3 * _BLOCK  # a PAX header, its records, the header of the file
# What tarfile raises for headers that were made to hurt. An error of the storage is none of these.
HOSTILE = (tarfile.TarError, EOFError, ValueError, ArithmeticError, LookupError, RecursionError, MemoryError)
HOSTILE += (struct.error, AttributeError, TypeError)  # type: ignore[assignment]


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
    def _file_with_times(cls, tar: Any) -> Self | None:
        """The next member as tarfile reads it, if it is a file behind a PAX header that tells its times alone."""
        place, block = tar.fileobj.tell(), tar.fileobj.peek(_BLOCK)
        size = None if tar.pax_headers else pax_size(block, tar.encoding, tar.errors)
        if size is None or size > _BLOCK:
            return None
        ahead = tar.fileobj.peek(_WITH_TIMES)
        times = plain_times(ahead[_BLOCK : _BLOCK + size])
        found = plain_header(cls, ahead[2 * _BLOCK :], tar.encoding, tar.errors) if times else None
        if found is None or found.type != tarfile.REGTYPE or not 0 <= found.size < MAX_OFFSET - place:
            return None
        tar.fileobj.take(ahead)
        found._apply_pax_info(times, tar.encoding, tar.errors)  # type: ignore[attr-defined]  # tarfile's own
        found.offset, found.offset_data = place, place + _WITH_TIMES
        tar.offset = found.offset_data + -(-found.size // _BLOCK) * _BLOCK
        return found

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """A header; one as most are in a third of tarfile's time."""
        return plain_header(cls, bytes(buf), encoding, errors) or super().frombuf(buf, encoding, errors)

    @classmethod
    def fromtarfile(cls, tarfile: Any) -> Self:
        if tarfile.n_extensions:  # the header that an extension speaks of, asked for by tarfile itself
            return super().fromtarfile(tarfile)
        return cls._file_with_times(tarfile) or cls._next(tarfile)

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
            found = cls._by_tarfile(block, place, n_zero, tar)
            _require_possible(found, tar)
            return found
        except HOSTILE as error:
            raise DamagedTarError(f"{in_words(error)} at byte {place}") from None
        finally:
            tar.n_extensions, tar.fileobj.left = 0, None

    @classmethod
    def _by_tarfile(cls, block: bytes, place: int, n_zero: int, tar: Any) -> Self:
        try:
            info = cls.frombuf(block, tar.encoding, tar.errors)
        except HOSTILE:
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


def in_words(error: BaseException) -> str:
    """What tarfile says is wrong."""
    said = str(error) or type(error).__name__
    return said if isinstance(error, tarfile.TarError) else f"a header that makes no sense ({said})"


class StrictTar(tarfile.TarFile):
    """A tar whose members are asked for one after the other, by `next`, and not remembered."""

    tarinfo = _StrictTarInfo
    n_extensions = 0  # headers that have spoken of the next one

    def next(self) -> tarfile.TarInfo | None:
        """The next member, None at the end. Source: tarfile's own, which also remembers it."""
        source: Any = self.fileobj
        if self.offset != source.tell():
            source.skip_to(self.offset)
        with suppress(tarfile.EOFHeaderError):  # type: ignore[attr-defined]
            return self.tarinfo.fromtarfile(self)
        return None
