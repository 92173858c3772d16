"""A tar from front to back: no member is held, no index is kept, and every kind of damage is one error. No Spark."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Iterator
from typing import IO, Any, Self

COPY_BYTES = 2**20
# Members that say something about the next one, such as its long name.
_EXTENSIONS = (b"x", b"g", b"X", b"L", b"K")
MAX_EXTENSION_BYTES = 2**24  # tarfile reads them whole
MAX_OFFSET = 2**60  # no tar is longer, whatever a damaged header says


class DamagedTarError(Exception):
    """A tar ends early or holds something that is no tar; what came before was read."""


class _StrictTarInfo(tarfile.TarInfo):
    """Headers that raise where tarfile would end the archive in silence, read backwards, or read all that follows."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        info = super().frombuf(buf, encoding, errors)
        if info.size < 0 or (info.type in _EXTENSIONS and info.size > MAX_EXTENSION_BYTES):
            raise tarfile.HeaderError(f"impossible size {info.size}")
        return info

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Self:
        try:
            info = super().fromtarfile(tarfile_)
            if info.size < 0 or not info.offset < tarfile_.offset < MAX_OFFSET:  # a PAX header may have said it
                raise ValueError(f"impossible size {info.size}")
            return info
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # the end-of-archive mark: a whole tar
            raise
        except tarfile.EmptyHeaderError:  # type: ignore[attr-defined]
            raise DamagedTarError("ends without its end-of-archive mark, so it may have been cut") from None
        except (tarfile.HeaderError, ValueError, OverflowError) as error:
            raise DamagedTarError(f"{error} at byte {tarfile_.offset}") from None


class _OneWayFile:
    """A file that cannot seek; tarfile would go on "skipping" behind its end for as long as a header says."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._has_ended = False

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        if not data and self._has_ended:
            raise DamagedTarError("unexpected end of data")
        self._has_ended = not data
        return data


class TarStream:
    """The members of a tar, front to back, without tarfile's habit of remembering each one."""

    def __init__(self, stream: IO[bytes]) -> None:
        # Seeking skips unwanted bytes where the storage can; "r|" reads through them.
        self._stream: Any
        self._stream, self._mode = (stream, "r:") if stream.seekable() else (_OneWayFile(stream), "r|")
        self._tar: Any = None

    def __iter__(self) -> Iterator[tarfile.TarInfo]:
        try:
            self._tar = tarfile.TarFile.open(fileobj=self._stream, mode=self._mode, tarinfo=_StrictTarInfo)  # type: ignore[call-overload]  # the stream is the caller's to close
            while (info := self._tar.next()) is not None:
                yield info
                self._tar.members.clear()  # else memory grows with the tar
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
        """Write the bytes of the member that the iteration stands at to an empty file.

        Raises:
            DamagedTarError: the tar ends inside of it.
        """
        source = self._tar.extractfile(info) if self._tar else None
        if source is None:
            raise ValueError(f"'{info.name}' is not a regular file of this tar")
        try:
            shutil.copyfileobj(source, target, COPY_BYTES)
        except (tarfile.TarError, OverflowError) as error:
            raise DamagedTarError(f"{error} in '{info.name}'") from None
        if target.tell() != info.size:  # tarfile's stream mode gives short data without a word
            raise DamagedTarError(f"unexpected end of data in '{info.name}' after {target.tell()} of {info.size} bytes")
