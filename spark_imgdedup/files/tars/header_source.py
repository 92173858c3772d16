"""A file as tarfile is to read it, that of a tar which may have been made to hurt. No Spark."""

from __future__ import annotations

import tarfile
from typing import IO

from spark_imgdedup.files.tars.compressed import COPY_BYTES

MAX_HEADER_BYTES = 2**22  # of all that stands before a member's data, its list of holes too


class HeaderSource:
    """What tarfile reads from. A file that cannot seek is read forwards, and headers cannot take more than `left`."""

    def __init__(self, stream: IO[bytes], n_bytes: int | None = None) -> None:
        self._stream = stream
        self._n_bytes = n_bytes  # where that is known, and it can seek
        self._can_seek = stream.seekable()
        self._place = stream.tell() if self._can_seek else 0
        self._ahead = b""
        self.left: int | None = None
        # All that was read since it was set, where `left` is; grown in place, since headers may be thousands of blocks.
        self.heads = bytearray()

    def peek(self, size: int) -> bytes:
        """The next bytes, or all that are left; they are read once more."""
        while len(self._ahead) < size and (more := self._stream.read(size - len(self._ahead))):
            self._ahead += more
        return self._ahead[:size]

    def take(self, headers: bytes) -> None:
        """Read what `peek` gave last as all headers of a member."""
        self._ahead, self.heads = self._ahead[len(headers) :], bytearray(headers)
        self._place += len(headers)

    def seekable(self) -> bool:
        """True where it can be read backwards too."""
        return self._can_seek

    def tell(self) -> int:
        """Where the next byte lies."""
        return self._place

    def seek(self, place: int) -> int:
        """Go to a place; without seeking only forwards, and not beyond the end.

        Raises:
            tarfile.TarError: that place cannot be reached.
        """
        if self._can_seek:
            self._ahead, self._place = b"", self._stream.seek(place)
        elif place < self._place:
            raise tarfile.StreamError("reading backwards")
        while self._place < place:
            if not self.read(min(COPY_BYTES, place - self._place)):
                raise tarfile.ReadError("unexpected end of data")
        return self._place

    def skip_to(self, place: int) -> None:
        """Go to where what lies before is whole.

        Raises:
            tarfile.TarError: the file ends before it.
        """
        if self._n_bytes is None:
            self.seek(place - 1)
            if not self.read(1):
                raise tarfile.ReadError("unexpected end of data")
        elif place > self._n_bytes:
            raise tarfile.ReadError("unexpected end of data")
        else:
            self.seek(place)

    def read(self, size: int) -> bytes:
        """As many bytes as asked for, or all that are left.

        Raises:
            tarfile.HeaderError: headers take more than `left`.
        """
        if self.left is not None:
            self.left -= size
            if self.left < 0:
                raise tarfile.HeaderError(f"more than {MAX_HEADER_BYTES} bytes of headers for one member")
        data, self._ahead = self._ahead[:size], self._ahead[size:]
        if len(data) < size:
            data = self._read_on(data, size)
        self._place += len(data)
        if self.left is not None:
            self.heads += data
        return data

    def _read_on(self, begun: bytes, size: int) -> bytes:
        found, n_bytes = [begun], len(begun)
        while n_bytes < size and (more := self._stream.read(size - n_bytes)):  # raw files give less at a time
            found.append(more)
            n_bytes += len(more)
        return b"".join(found)
