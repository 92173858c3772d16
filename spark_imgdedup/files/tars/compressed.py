"""Compressed tars, told by their first bytes, as streams from front to back: no more than a block is held. No Spark."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable
from typing import IO, Any, cast

COPY_BYTES = 2**20
# Of one xz block's dictionary: `xz -9` needs 65 MiB. zstd's own bound is 128 MiB.
MAX_XZ_BYTES = 2**27


def decompressed(stream: IO[bytes]) -> IO[bytes]:
    """The stream itself, or what is in it where it begins as gzip, bzip2, xz or Zstandard do.

    Streams that follow one another in a file are read as one, as `zcat` and its kin do. What is read can seek only
    where it is not compressed. Reading raises tarfile.CompressionError where the compressed data is cut or damaged.
    """
    head = stream.read(_HEAD_BYTES) if not stream.seekable() else _peeked(stream)
    opener = next((opener for magic, opener in _OPENERS.items() if head.startswith(magic)), None)
    if opener is None:
        return stream if stream.seekable() else cast(IO[bytes], _Input(stream, head))
    source = _Input(stream, b"" if stream.seekable() else head)
    return cast(IO[bytes], _Decompressed(source, opener))


def _peeked(stream: IO[bytes]) -> bytes:
    start = stream.tell()
    head = stream.read(_HEAD_BYTES)
    stream.seek(start)
    return head


class _Input(io.RawIOBase):
    """A stream from front to back, of which some bytes were read already. It remembers why a read failed."""

    def __init__(self, stream: IO[bytes], head: bytes) -> None:
        self._stream, self._head = stream, head
        self.failure: Exception | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._head or self._stream.read(len(buffer))
        except Exception as error:
            self.failure = error
            raise
        self._head = data[len(buffer) :] if data is self._head else b""
        data = data[: len(buffer)]
        buffer[: len(data)] = data
        return len(data)


class _Decompressed(io.RawIOBase):
    """What is in a compressed stream. Damage is one error; an error of the storage stays what it is."""

    def __init__(self, source: _Input, opener: Callable[[IO[bytes]], IO[bytes]]) -> None:
        self._source = source
        self._file = self._guarded(lambda: opener(cast(IO[bytes], io.BufferedReader(source, COPY_BYTES))))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._guarded(lambda: self._file.read(min(len(buffer), COPY_BYTES)))
        buffer[: len(data)] = data
        return len(data)

    def _guarded(self, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except (OSError, EOFError, ValueError, MemoryError, zlib.error, lzma.LZMAError) as error:
            if self._source.failure is not None:
                raise self._source.failure from None
            said = str(error) or type(error).__name__
            raise tarfile.CompressionError(f"its compressed data is damaged or cut: {said}") from None


class _Joined(io.RawIOBase):
    """bzip2 or xz streams one after the other. Python's own readers pass over garbage behind them without a word."""

    def __init__(self, source: IO[bytes], begin: Callable[[], Any]) -> None:
        self._source, self._begin = source, begin
        self._stream = begin()
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not (self._stream.eof and self._has_ended()):
            given = self._rest
            if not given and self._stream.needs_input and not (given := self._source.read(io.DEFAULT_BUFFER_SIZE)):
                raise EOFError("it ends inside of a stream")
            self._rest = b""
            if data := self._stream.decompress(given, len(buffer)):
                buffer[: len(data)] = data
                return len(data)
        return 0

    def _has_ended(self) -> bool:
        """False, and the next stream begun, where one follows; zeros between streams are padding."""
        rest = self._stream.unused_data.lstrip(b"\0")
        while not rest:
            if not (block := self._source.read(io.DEFAULT_BUFFER_SIZE)):
                return True
            rest = block.lstrip(b"\0")
        self._stream, self._rest = self._begin(), rest
        return False


def _zstd(source: IO[bytes]) -> IO[bytes]:
    import pyarrow as pa

    return cast(IO[bytes], pa.CompressedInputStream(source, "zstd"))


_OPENERS: dict[bytes, Callable[[IO[bytes]], IO[bytes]]] = {
    b"\x1f\x8b\x08": lambda source: cast(IO[bytes], gzip.GzipFile(fileobj=source, mode="rb")),
    b"BZh": lambda source: cast(IO[bytes], _Joined(source, bz2.BZ2Decompressor)),
    b"\xfd7zXZ\x00": lambda source: cast(
        IO[bytes], _Joined(source, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_XZ_BYTES))
    ),
    b"\x28\xb5\x2f\xfd": _zstd,
}
_HEAD_BYTES = max(map(len, _OPENERS))
