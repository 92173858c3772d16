"""Copy the samples that stay from tar to tar, bytes verbatim. No Spark, no decoding.

Every tar is written under an attempt-unique name below `_temporary`; whoever planned the work gives it its final name.
"""

from __future__ import annotations

import io
import shutil
import tarfile
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import IO, Any

from spark_imgdedup.files import storage
from spark_imgdedup.files.shards import DamagedTarError, Shard, TarStream, split_name

# Members above this are copied through a temporary file instead of memory.
SPOOL_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Part:
    """One tar to write: its name without .tar, and how many samples it takes (None: all there are)."""

    name: str
    n_samples: int | None = None


@dataclass(frozen=True)
class CopyTask:
    """What one task does: read these shards in order, pass over `skip` kept samples, fill these parts."""

    shards: tuple[Shard, ...]
    parts: tuple[Part, ...]
    skip: int = 0

    @property
    def is_repack(self) -> bool:
        """True where samples of several shards may meet in one tar, and so carry their shard's name."""
        return self.parts[0].n_samples is not None


@dataclass
class WrittenTar:
    """What became of one part."""

    name: str
    temporary: str
    n_samples: int = 0
    n_cut: int = 0
    n_bytes: int = 0
    damage: list[str] = field(default_factory=list)


def plan_copies(shards: Iterable[Shard], n_kept: Mapping[str, int], repack: int | None) -> list[CopyTask]:
    """One task for each input shard, or, with `repack`, one for all the output tars that begin in the same input shard.

    So a shard is read at most twice, however small the output tars are, and no image is ever shuffled.

    Args:
        shards: The input, in order.
        n_kept: Samples that stay, by shard name.
        repack: Samples per output tar; None keeps the input's division.
    """
    ordered = list(shards)
    if repack is None:
        return [CopyTask((shard,), (Part(shard.name),)) for shard in ordered]
    tasks: list[CopyTask] = []
    total = sum(n_kept.get(shard.name, 0) for shard in ordered)
    before = 0  # kept samples in the shards already passed
    for place, shard in enumerate(ordered):
        after = before + n_kept.get(shard.name, 0)
        numbers = range(-(-before // repack), -(-after // repack))
        if numbers:
            end = min(numbers[-1] * repack + repack, total)
            parts = tuple(Part(f"{n:06d}", min(repack, total - n * repack)) for n in numbers)
            tasks.append(
                CopyTask(_covering(ordered[place:], n_kept, end - before), parts, numbers[0] * repack - before)
            )
        before = after
    return tasks


def _covering(shards: list[Shard], n_kept: Mapping[str, int], n_samples: int) -> tuple[Shard, ...]:
    """The first shards that hold `n_samples` kept samples together."""
    chosen: list[Shard] = []
    for shard in shards:
        if n_samples <= 0:
            break
        chosen.append(shard)
        n_samples -= n_kept.get(shard.name, 0)
    return tuple(chosen)


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
    with ExitStack() as open_files:
        writer = _PartWriter(task, folder, write, open_files)
        for shard in task.shards:
            stream = open_files.enter_context(storage.open_read(shard.url, read))
            gone = removed.get(shard.name, frozenset())
            current: str | None = None
            try:
                for info in (tar := TarStream(stream)):
                    split = split_name(info.name) if info.isreg() else None
                    if split is not None and split[0] != current and (current := split[0]) not in gone:
                        yield from writer.next_sample()
                        if writer.is_done:
                            break
                    if split is None or current not in gone:
                        writer.add(_renamed(info, shard.name) if task.is_repack else info, tar)
            except DamagedTarError as error:
                writer.note_damage(f"{shard.url}: {error}")
            if writer.is_done:
                break
        yield from writer.finish()


class _PartWriter:
    """The part that is being filled, and the ones after it."""

    def __init__(self, task: CopyTask, folder: str, options: Mapping[str, Any], open_files: ExitStack) -> None:
        self._waiting = list(task.parts)
        self._skip = task.skip
        self._folder, self._options, self._open_files = folder, options, open_files
        self._seen = 0  # kept samples begun in this part
        self._is_empty_sample = False  # begun, and nothing of it written yet
        self._part = self._waiting.pop(0)
        self.is_done = False
        self._open()

    def next_sample(self) -> Iterator[WrittenTar]:
        """Say that a kept sample begins; gives the part that is full, if it is."""
        self._count_cut()
        self._skipping = self._skip > 0
        if self._skipping:
            self._skip -= 1
            return
        if self._seen == self._part.n_samples:
            yield self._close()
            if not self._waiting:
                self.is_done = True
                return
            self._part = self._waiting.pop(0)
            self._open()
        self._seen += 1
        self._is_empty_sample = True

    def add(self, info: tarfile.TarInfo, tar: TarStream) -> None:
        """Copy one member; a member that is cut off is not begun."""
        if self._skipping:
            return
        if not info.isreg():
            self._tar.addfile(info)
            return
        with _spooled(info, tar) as data:
            self._tar.addfile(info, data)
        if self._is_empty_sample:
            self._written.n_samples += 1
            self._is_empty_sample = False

    def note_damage(self, message: str) -> None:
        """Remember what was wrong with the input of this part."""
        self._written.damage.append(message)

    def finish(self) -> Iterator[WrittenTar]:
        """The last part."""
        if not self.is_done:
            self._count_cut()
            yield self._close()

    def _count_cut(self) -> None:
        self._written.n_cut += self._is_empty_sample
        self._is_empty_sample = False

    def _open(self) -> None:
        url = storage.join(self._folder, f"{self._part.name.replace('/', '__')}.{uuid.uuid4().hex}.tar")
        self._written = WrittenTar(self._part.name, url)
        self._file = storage.open_write(url, self._options)
        self._open_files.callback(self._file.close)
        self._tar = tarfile.open(fileobj=self._file, mode="w|", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        self._seen, self._skipping = 0, self._skip > 0

    def _close(self) -> WrittenTar:
        self._tar.close()
        self._file.close()
        fs, path = storage.filesystem(self._written.temporary, self._options)
        self._written.n_bytes = int(fs.size(path))
        return self._written


def _renamed(info: tarfile.TarInfo, shard_name: str) -> tarfile.TarInfo:
    """The member under its shard's name: the key becomes the old image_id, and keys of two shards never meet."""
    info.name = f"{shard_name}/{info.name}"
    info.pax_headers = {key: value for key, value in info.pax_headers.items() if key != "path"}
    return info


def _spooled(info: tarfile.TarInfo, tar: TarStream) -> IO[bytes]:
    """The whole member, read before anything is written: a header without its bytes would ruin the output."""
    if info.size <= SPOOL_BYTES:
        return io.BytesIO(tar.read(info))
    spool = tempfile.TemporaryFile()  # noqa: SIM115  # given to the caller, who closes it
    try:
        shutil.copyfileobj(tar.open(info), spool, 2**20)
    except tarfile.ReadError as error:
        spool.close()
        raise DamagedTarError(f"{error} in '{info.name}'") from None
    if spool.tell() != info.size:
        raise DamagedTarError(f"unexpected end of data in '{info.name}' after {spool.tell()} of {info.size} bytes")
    spool.seek(0)
    return spool


def pack_files(
    part: str, files: Iterable[tuple[str, str]], folder: str, *, read: Mapping[str, Any], write: Mapping[str, Any]
) -> WrittenTar:
    """Loose files, given as (name in the tar, URL), as one tar."""
    written = WrittenTar(part, storage.join(folder, f"{part}.{uuid.uuid4().hex}.tar"))
    with storage.open_write(written.temporary, write) as file, tarfile.open(fileobj=file, mode="w|") as tar:
        for name, url in files:
            with storage.open_read(url, read) as source:
                data = source.read()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
            written.n_samples += 1
    fs, path = storage.filesystem(written.temporary, write)
    written.n_bytes = int(fs.size(path))
    return written
