"""Members copied as they stand, headers and all; between files of this machine by its kernel. No Spark."""

from __future__ import annotations

import math
import os
import tarfile
from typing import IO, NamedTuple

from spark_imgdedup.errors import ShardError
from spark_imgdedup.files.tars.compressed import COPY_BYTES
from spark_imgdedup.files.tars.tar_stream import TarStream

# What an extended header may say that is to be copied as it stands. Not a size: readers differ in which they believe.
_HARMLESS = frozenset({"path", "mtime", "atime", "ctime", "uid", "gid", "uname", "gname"})


class Piece(NamedTuple):
    """Bytes of an open file: whole blocks of a tar, from `start` to before `end`."""

    descriptor: int
    start: int
    end: int
    name: str  # what errors call the file

    def with_next(self, other: Piece) -> Piece | None:
        """Both as one, where the other follows this one directly."""
        if (self.descriptor, self.end) != (other.descriptor, other.start):
            return None
        return Piece(self.descriptor, self.start, other.end, self.name)


def raw_heads(info: tarfile.TarInfo, stream: TarStream) -> bytes | None:
    """The headers with which the member that a tar stands at is copied as it stands; None where it is written anew.

    That is what other headers speak of too, and what readers may take for something else than we do.
    """
    if info.type != tarfile.REGTYPE or info.issparse():
        return None
    if info.pax_headers and not (_HARMLESS.issuperset(info.pax_headers) and math.isfinite(info.mtime)):
        return None
    return stream.heads(info)


def piece_of(info: tarfile.TarInfo, stream: TarStream) -> Piece | None:
    """Where a member that is copied as it stands lies, whole; None where that is no open file of this machine."""
    descriptor = stream.descriptor
    if descriptor is None:
        return None
    end = info.offset_data + -(-info.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    return Piece(descriptor, info.offset, end, stream.name) if end <= stream.n_bytes else None


def copy_piece(piece: Piece, target: IO[bytes]) -> None:
    """Write a piece at the end of a file.

    Raises:
        ShardError: the file that it is read from is shorter by now.
    """
    place, left = piece.start, piece.end - piece.start
    while left:
        n_bytes = _send(piece.descriptor, place, left, target)
        if not n_bytes:
            raise ShardError(f"{piece.name}: it became shorter while it was read. Run again once it stays as it is.")
        place, left = place + n_bytes, left - n_bytes


def _send(descriptor: int, place: int, n_bytes: int, target: IO[bytes]) -> int:
    """Some of the bytes: by the kernel, as `shutil.copyfile` copies whole files, where it can."""
    try:
        number = target.fileno()
        target.flush()
        return os.sendfile(number, descriptor, place, n_bytes)
    except (AttributeError, OSError):  # what is wrong with the disk, the next line says too
        return target.write(os.pread(descriptor, min(n_bytes, COPY_BYTES), place))
