"""One output tar, written front to back under an attempt-unique name. No Spark."""

from __future__ import annotations

import errno
import hashlib
import posixpath
import shutil
import tarfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, Any

from spark_imgdedup.errors import ConfigError
from spark_imgdedup.files import storage, writing
from spark_imgdedup.files.copying.copy_plan import Part
from spark_imgdedup.files.copying.member_headers import storable
from spark_imgdedup.files.copying.raw_pieces import Piece, copy_piece
from spark_imgdedup.files.copying.spool import as_plain_file, spooled
from spark_imgdedup.files.tars.compressed import COPY_BYTES
from spark_imgdedup.files.tars.strict_headers import carries_data
from spark_imgdedup.files.tars.tar_stream import TarStream

# What a place says that takes no more; each is a line, not a traceback.
_REFUSALS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST}
)


@dataclass(slots=True)
class KeptSample:
    """A sample of a tar that was written."""

    image_id: str
    shard: str
    key: str
    n_bytes: int = 0  # of its members


@dataclass
class WrittenTar:
    """What became of one part."""

    name: str  # without .tar
    temporary: str
    n_samples: int = 0
    n_cut: int = 0  # samples that the input ends inside of, before their first whole member
    n_bytes: int = 0
    damage: list[str] = field(default_factory=list)
    samples: list[KeptSample] = field(default_factory=list)  # those of shards


class TarWriter:
    """One output tar under an attempt-unique name, which begins with its mark where it may be used by another run."""

    def __init__(self, part: Part, folder: str, options: Mapping[str, Any]) -> None:
        # A short name whatever the shard's path: a file system takes 255 bytes.
        short = part.mark or hashlib.sha256(part.name.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        url = storage.join(folder, f"{short}.{uuid.uuid4().hex}.tar")
        self.written = WrittenTar(part.name, url)
        self._n_samples, self._options = part.n_samples, options
        self._n_begun = 0
        self._is_in_tar = True  # the sample that was begun last
        self.sample: KeptSample | None = None  # that one, where it is of a shard
        self._folder = folder
        with refusals_in_one_line(folder):
            self._file = writing.open_write(url, options)
        self._tar: Any = tarfile.TarFile(
            fileobj=self._file, mode="w", format=tarfile.PAX_FORMAT, copybufsize=COPY_BYTES
        )
        self._waiting: Piece | None = None  # one copy for members that follow one another

    def __enter__(self) -> TarWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            writing.discard(self._file)  # `close` has closed a tar that is whole
            return
        with suppress(OSError):  # a full disk refuses the last bytes too
            writing.discard(self._file)
        with suppress(OSError):
            storage.delete(self.written.temporary, self._options)

    @property
    def is_full(self) -> bool:
        """True where the next sample belongs to the next tar."""
        return self._n_begun == self._n_samples

    def begin_sample(self, sample: KeptSample | None = None) -> None:
        """Say that the next member is the first of a sample."""
        self._n_begun += 1
        self._is_in_tar = False
        self.sample = sample

    def copy(
        self, info: tarfile.TarInfo, stream: TarStream, *, heads: bytes | None = None, want: bool = False
    ) -> bytes | None:
        """Copy the member that `stream` stands at.

        Args:
            info: What it is to be called.
            stream: The tar that it is in.
            heads: Its headers, from `raw_heads`, where it is copied as it stands.
            want: Give its bytes too.

        Raises:
            DamagedTarError: the input ends inside of it; nothing of it was written.
        """
        if not carries_data(info):
            self._add(info)
            return None
        with spooled(info, stream) as data:
            padding = b"" if heads is None else stream.padding(info)
            if heads is not None and (info.size + len(padding)) % tarfile.BLOCKSIZE == 0:
                self._add_raw(heads, data, padding)
                self._count(info.size)
            else:
                self.add(info, data)
            if not want:
                return None
            data.seek(0)
            return data.read()

    def add(self, info: tarfile.TarInfo, data: IO[bytes], *, of_no_sample: bool = False) -> None:
        """Write a file from where `data` stands."""
        self._add(as_plain_file(info), data)
        if not of_no_sample:
            self._count(info.size)

    def add_piece(self, piece: Piece, n_bytes: int) -> None:
        """Write a member of that size as it stands: later, together with those that follow it there."""
        joined = None if self._waiting is None else self._waiting.with_next(piece)
        if joined is None:
            self.write_pieces()
        self._waiting = joined or piece
        self._count(n_bytes)

    def _count(self, n_bytes: int) -> None:
        if not self._is_in_tar:
            self.written.n_samples += 1
            self._is_in_tar = True
            if self.sample is not None:
                self.written.samples.append(self.sample)
        if self.sample is not None:
            self.sample.n_bytes += n_bytes

    def write_pieces(self) -> None:
        """Write what `add_piece` was given; to be called before the file that it lies in is closed."""
        if (piece := self._waiting) is not None:
            self._waiting = None
            with refusals_in_one_line(self._folder):
                copy_piece(piece, self._file)
            self._tar.offset += piece.end - piece.start

    def _add_raw(self, heads: bytes, data: IO[bytes], padding: bytes) -> None:
        self.write_pieces()
        with refusals_in_one_line(self._folder):
            start = self._file.tell()
            self._file.write(heads)
            shutil.copyfileobj(data, self._file, COPY_BYTES)
            self._file.write(padding)
            self._tar.offset += self._file.tell() - start

    def _add(self, info: tarfile.TarInfo, data: IO[bytes] | None = None) -> None:
        self.write_pieces()
        with refusals_in_one_line(self._folder):
            self._tar.addfile(storable(info), data)
        self._tar.members.clear()  # else memory grows with the tar

    def close(self) -> WrittenTar:
        """Write the end mark, and say what was written once it is on the disk."""
        self.write_pieces()
        with refusals_in_one_line(self._folder):
            self._tar.close()
            writing.finish(self._file)
        self.written.n_cut = self._n_begun - self.written.n_samples
        self.written.n_bytes = storage.size(self.written.temporary, self._options)
        return self.written


@contextmanager
def refusals_in_one_line(folder: str) -> Iterator[None]:
    """Tell of a full disk, and of what else a place refuses, in one line."""
    try:
        yield
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        raise ConfigError(
            f"output.path: nothing more can be written to {folder}: {error.strerror}. Make room, or choose another "
            "folder, and run again; an earlier output is still whole."
        ) from None


def copy_file(url: str, target: str, *, read: Mapping[str, Any], write: Mapping[str, Any]) -> int:
    """Copy a file to a place that nobody reads yet, and give its bytes. What a failure leaves there is taken away."""
    with storage.open_read(url, read) as source, refusals_in_one_line(posixpath.dirname(target)):
        file = writing.open_write(target, write)
        try:
            shutil.copyfileobj(source, file, COPY_BYTES)
            n_bytes = file.tell()
            file.close()
        except BaseException:
            with suppress(OSError):
                writing.discard(file)
            with suppress(OSError):
                storage.delete(target, write)
            raise
    return n_bytes
