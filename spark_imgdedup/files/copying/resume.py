"""Copying that goes on where an earlier attempt was killed: what is finished is taken as it is. No Spark."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import takewhile
from typing import Any

from spark_imgdedup.files import storage, writing
from spark_imgdedup.files.copying.copy_plan import CopyTask, Part
from spark_imgdedup.files.copying.finished import Finished, file_mark, tar_marks
from spark_imgdedup.files.copying.kept_members import Source
from spark_imgdedup.files.copying.removal_check import Gone
from spark_imgdedup.files.copying.shard_packer import pack_files
from spark_imgdedup.files.copying.shard_writer import copy_kept
from spark_imgdedup.files.copying.tar_writer import WrittenTar, copy_file
from spark_imgdedup.files.filesystems import filesystem, is_object_store


def resume_kept(
    task: CopyTask, removed: Mapping[str, Gone], finished: Finished, *, read: Source
) -> Iterator[WrittenTar]:
    """The tars of a task: those that are finished, and then, copied now, the rest.

    Several tars of one task all begin in its first shard, see `plan_copies`: the rest begins there too, after the
    samples of those that are finished.

    Raises:
        ShardError: the image of a sample that leaves is not the one that was compared.
        ConfigError: the output takes no more.
    """
    marks = tar_marks(task, removed, read)
    there = list(takewhile(lambda tar: tar is not None, map(finished.tar, marks)))
    yield from (tar for tar in there if tar is not None)
    rest = task.parts[len(there) :]
    if not rest:
        return
    passed = sum(part.n_samples or 0 for part in task.parts[: len(there)])
    waiting = marks[len(there) :]
    marked = tuple(replace(part, mark=mark) for part, mark in zip(rest, waiting, strict=True))
    left = replace(task, parts=marked, skip=task.skip + passed)
    tars = copy_kept(left, removed, finished.folder, read=read, write=finished.options)
    # Shards that have shrunk fill fewer. The tars come first, or the last of them would be given up, not closed.
    for tar, mark in zip(tars, waiting, strict=False):
        if all(_is_as_planned(shard.url, shard.n_bytes, shard.stamp, read.options) for shard in task.shards):
            finished.keep_tar(mark, tar)
        yield tar


def _is_as_planned(url: str, n_bytes: int, stamp: str, options: storage.Options) -> bool:
    """True where a shard is still what the mark says: else what was read of it is nothing for another run."""
    now = storage.look_at(url, options)
    return now is not None and bool(stamp) and (now.n_bytes, now.stamp) == (n_bytes, stamp)


@dataclass(frozen=True)
class FileGroup:
    """Loose files that are copied together."""

    names: Sequence[str]  # their image_ids, which are their names in the output
    urls: Sequence[str]
    in_tar: Sequence[str] = ()  # their names in the tar `part`, where they become one
    part: str = ""
    read: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def stamps(self) -> list[storage.FileInfo | None]:
        """Of each file, as it is now."""
        calls = [partial(storage.look_at, url, self.read) for url in self.urls]
        fs, _ = filesystem(self.urls[0] if self.urls else ".", self.read)
        return storage.at_once(calls) if is_object_store(fs) else [call() for call in calls]

    def mark(self, stamps: Sequence[storage.FileInfo | None]) -> str:
        """What decides the bytes of the copies."""
        return file_mark(list(zip(self.urls, self.names, strict=True)), stamps, self.part, list(self.in_tar))


def resume_pack(group: FileGroup, finished: Finished) -> WrittenTar:
    """Loose files as one tar, which may be finished already."""
    stamps = group.stamps()
    mark = group.mark(stamps)
    if (tar := finished.tar(mark)) is not None:
        return tar
    files = zip(group.names, group.in_tar, group.urls, strict=True)
    part = Part(group.part, mark=mark)
    tar = pack_files(part, files, finished.folder, read=group.read, write=finished.options)
    if None not in stamps and group.stamps() == stamps:
        finished.keep_tar(mark, tar)
    return tar


def resume_files(group: FileGroup, finished: Finished) -> list[tuple[str, int]]:
    """Loose files as they are, below `_temporary`: where each is and its bytes, in order. They may be finished already.

    Raises:
        ConfigError: the output takes no more.
    """
    stamps = group.stamps()
    mark = group.mark(stamps)
    if (found := finished.files(mark, group.names)) is not None:
        return found
    folder = storage.join(finished.folder, f"{mark}.{uuid.uuid4().hex}")
    places = [storage.join(folder, str(number)) for number in range(len(group.urls))]
    pairs = zip(group.urls, places, strict=True)
    try:
        sizes = [copy_file(url, place, read=group.read, write=finished.options) for url, place in pairs]
    except BaseException:
        with suppress(OSError):
            storage.delete(folder, finished.options)
        raise
    if None not in stamps and group.stamps() == stamps:
        writing.sync_all(folder, finished.options)
        finished.keep_files(mark, folder, sizes)
    return list(zip(places, sizes, strict=True))
