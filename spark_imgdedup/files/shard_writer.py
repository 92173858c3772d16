"""Copy the samples that stay from tar to tar, bytes verbatim. No Spark, no decoding.

Every tar is written under an attempt-unique name below `_temporary`; whoever planned the work gives it its final name.
"""

from __future__ import annotations

import io
import itertools
import tarfile
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, Any

from spark_imgdedup.errors import ShardError
from spark_imgdedup.files import storage
from spark_imgdedup.files.copy_plan import CopyTask, Part
from spark_imgdedup.files.shards import Shard, split_name
from spark_imgdedup.files.tar_stream import DamagedTarError, TarStream

# Members above this are copied through a temporary file instead of memory.
SPOOL_BYTES = 64 * 2**20
# Where repacked tars keep members of no sample: WebDataset's readers pass over folders of such a name.
NO_SAMPLE = "__no_sample__"


@dataclass
class WrittenTar:
    """What became of one part."""

    name: str
    temporary: str
    n_samples: int = 0
    n_cut: int = 0  # samples that the input ends inside of, before their first whole member
    n_bytes: int = 0
    damage: list[str] = field(default_factory=list)


def copy_kept(
    task: CopyTask,
    removed: Mapping[str, frozenset[str]],
    folder: str,
    *,
    read: Mapping[str, Any],
    write: Mapping[str, Any],
) -> Iterator[WrittenTar]:
    """Carry out a task: the kept samples of its shards, in order, into its parts.

    Args:
        task: From `plan_copies`.
        removed: Keys to leave out, by shard name.
        folder: Where temporary tars go.
        read: Storage options of the input.
        write: Storage options of the output.
    """
    waiting = iter(task.parts)
    n_begun = 0  # kept samples that began so far, the skipped ones among them
    with ExitStack() as open_tars:
        tar = open_tars.enter_context(_TarWriter(next(waiting), folder, write))
        for shard in task.shards:
            try:
                for info, stream, is_first in _kept_members(shard, removed.get(shard.name, frozenset()), read):
                    n_begun += is_first
                    if 0 < task.skip >= n_begun:
                        continue
                    if is_first and tar.is_full:
                        yield tar.close()
                        if (part := next(waiting, None)) is None:
                            return
                        tar = open_tars.enter_context(_TarWriter(part, folder, write))
                    if is_first:
                        tar.begin_sample()
                    tar.copy(_renamed(info, shard.name) if task.is_repack else info, stream)
            except DamagedTarError as error:
                tar.written.damage.append(f"{shard.url}: {error}")
        yield tar.close()


def _kept_members(
    shard: Shard, gone: frozenset[str], options: Mapping[str, Any]
) -> Iterator[tuple[tarfile.TarInfo, TarStream, bool]]:
    """The members of a shard that stay, and whether a sample begins with one.

    Links and folders are of no sample, but a link named like a removed sample leaves with it.
    """
    with storage.open_read(shard.url, options) as file:
        stream = TarStream(file)
        current: str | None = None
        for info in stream:
            key, _ = split_name(info.name) or (None, None)
            is_first = key is not None and key != current and info.isreg()
            if is_first:
                current = key
            if key not in gone:
                yield info, stream, is_first


class _TarWriter:
    """One output tar under an attempt-unique name."""

    def __init__(self, part: Part, folder: str, options: Mapping[str, Any]) -> None:
        url = storage.join(folder, f"{part.name.replace('/', '__')}.{uuid.uuid4().hex}.tar")
        self.written = WrittenTar(part.name, url)
        self._n_samples, self._options = part.n_samples, options
        self._n_begun = 0
        self._is_in_tar = True  # the sample that was begun last
        self._file = storage.open_write(url, options)
        self._tar: Any = tarfile.open(fileobj=self._file, mode="w|", format=tarfile.PAX_FORMAT)  # noqa: SIM115

    def __enter__(self) -> _TarWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._tar.fileobj.closed = True  # after a failure its destructor would write to the closed file
        storage.discard(self._file)  # `close` has closed a tar that is whole

    @property
    def is_full(self) -> bool:
        """True where the next sample belongs to the next tar."""
        return self._n_begun == self._n_samples

    def begin_sample(self) -> None:
        """Say that the next member is the first of a sample."""
        self._n_begun += 1
        self._is_in_tar = False

    def copy(self, info: tarfile.TarInfo, stream: TarStream) -> None:
        """Copy the member that `stream` stands at.

        Raises:
            DamagedTarError: the input ends inside of it; nothing of it was written.
        """
        if not info.isreg():
            self._tar.addfile(info)
            return
        with _spooled(info, stream) as data:
            self.add(info, data)

    def add(self, info: tarfile.TarInfo, data: IO[bytes]) -> None:
        """Write a file from where `data` stands."""
        self._tar.addfile(_as_plain_file(info), data)
        self._tar.members.clear()  # else memory grows with the tar
        if not self._is_in_tar:
            self.written.n_samples += 1
            self._is_in_tar = True

    def close(self) -> WrittenTar:
        """Write the end mark, and say what was written."""
        self._tar.close()
        self._file.close()
        self.written.n_cut = self._n_begun - self.written.n_samples
        self.written.n_bytes = storage.size(self.written.temporary, self._options)
        return self.written


def _renamed(info: tarfile.TarInfo, shard_name: str) -> tarfile.TarInfo:
    """The member under its shard's name: the key becomes the old image_id, and keys of two shards never meet."""
    below = shard_name if split_name(info.name) else f"{NO_SAMPLE}/{shard_name}"
    info.name = f"{below}/{info.name}"
    if info.islnk():
        info.linkname = f"{shard_name}/{info.linkname}"
    info.pax_headers = {key: value for key, value in info.pax_headers.items() if key not in ("path", "linkpath")}
    return info


def _as_plain_file(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """A sparse file is read with its holes filled, and must not be announced as sparse."""
    if info.issparse():
        info.type = tarfile.REGTYPE
        own = ("GNU.sparse.", "size", "path")
        info.pax_headers = {key: value for key, value in info.pax_headers.items() if not key.startswith(own)}
    return info


def _spooled(info: tarfile.TarInfo, stream: TarStream) -> IO[bytes]:
    """The whole member, read before anything is written: a header without its bytes would ruin the output."""
    spool: IO[bytes] = io.BytesIO() if info.size <= SPOOL_BYTES else tempfile.TemporaryFile()  # noqa: SIM115
    try:
        stream.copy_to(spool, info)
    except DamagedTarError:
        spool.close()
        raise
    spool.seek(0)
    return spool


def pack_samples(
    samples: Iterable[tuple[str, Mapping[str, bytes]]], per_tar: int, folder: str, write: Mapping[str, Any]
) -> Iterator[WrittenTar]:
    """Samples, given as (key, data by suffix), as tars of `per_tar` samples; none where there is no sample.

    Raises:
        ShardError: no reader would find a sample again as it was given.
    """
    waiting = iter(samples)
    for number in itertools.count():
        if (first := next(waiting, None)) is None:
            return
        with _TarWriter(Part(f"{number:06d}"), folder, write) as tar:
            keys: set[str] = set()
            for key, members in itertools.chain([first], itertools.islice(waiting, per_tar - 1)):
                _require_readable(key, members, keys)
                keys.add(key)
                tar.begin_sample()
                for suffix, data in members.items():
                    info = tarfile.TarInfo(f"{key}.{suffix}")
                    info.size = len(data)
                    tar.add(info, io.BytesIO(data))
            yield tar.close()


def _require_readable(key: str, members: Mapping[str, bytes], keys: set[str]) -> None:
    wrong = next((suffix for suffix in members if split_name(f"{key}.{suffix}") != (key, suffix)), None)
    if wrong is not None:
        raise ShardError(
            f"the member '{key}.{wrong}' would not be read as '{wrong}' of the sample '{key}': a key ends at the first "
            "dot of its last part, which is not empty. Replace the dots, or use another id."
        )
    if not members:
        raise ShardError(f"the sample '{key}' has no member, and a tar holds only members. Leave such rows out.")
    if key in keys:
        raise ShardError(f"two samples of one tar have the key '{key}': they would be read as one. Make keys unique.")


def pack_files(
    part: str, files: Iterable[tuple[str, str]], folder: str, *, read: Mapping[str, Any], write: Mapping[str, Any]
) -> WrittenTar:
    """Loose files, given as (name in the tar, URL), as one tar."""
    with _TarWriter(Part(part), folder, write) as tar:
        for name, url in files:
            info = tarfile.TarInfo(name)
            info.size = storage.size(url, read)
            tar.begin_sample()
            with storage.open_read(url, read) as source:
                tar.add(info, source)
        return tar.close()
