"""The members of a shard that stay, front to back. No Spark."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import IO, Any, NamedTuple

from spark_imgdedup.files.copying.hard_links import LinkedFiles
from spark_imgdedup.files.copying.removal_check import Gone, RemovalCheck
from spark_imgdedup.files.tars.gather import open_tar
from spark_imgdedup.files.tars.shards import Shard, split_name
from spark_imgdedup.files.tars.strict_headers import DamagedTarError, carries_data
from spark_imgdedup.files.tars.tar_stream import TarStream


@dataclass(frozen=True)
class Source:
    """How the shards of a task are read."""

    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    image_member: str | None = None  # as in `input`, and so the next
    id_field: str | None = None


class KeptMember(NamedTuple):
    """A member that stays."""

    info: tarfile.TarInfo
    stream: TarStream  # which stands at it
    key: str | None  # of its sample
    is_first: bool = False  # a sample begins with it
    file: IO[bytes] | None = None  # the bytes of what it was a link to, where it is to be a file


def kept_members(
    stream: TarStream, shard: Shard, gone: Gone, source: Source, *, is_repack: bool
) -> Iterator[KeptMember]:
    """The members of a shard, which `stream` is, but for those of samples that leave.

    These are held against what was compared.

    Links and folders are of no sample, but a link named like a removed sample leaves with it. One that stays becomes a
    file where what it names leaves, or, with `is_repack`, may come into another tar.

    Raises:
        ShardError: the image of a sample that leaves is not the one that was compared.
        DamagedTarError: after the last member that could be read.
    """
    check = RemovalCheck(shard.url, gone, source.image_member)
    with ExitStack() as held:
        links = _Links(shard, gone, source, is_repack, held)
        waiting: list[tuple[int, tarfile.TarInfo, str | None]] = []
        current: str | None = None
        try:
            for place, info in enumerate(stream):
                key, _ = split_name(info.name) or (None, None)
                is_link = info.islnk() or info.issym()
                is_first = key is not None and key != current and carries_data(info)
                if key in gone:
                    check.pass_over(info, stream)
                elif is_link and is_repack and key not in (None, current):
                    waiting.append((place, info, key))  # its sample may begin with the next member
                    continue
                if waiting and not (is_first and key == waiting[0][2]):
                    yield from (links.member(*each, stream) for each in waiting)
                    waiting.clear()
                current = key if is_first else current
                if key in gone:
                    continue
                yield links.member(place, info, key, stream) if is_link else KeptMember(info, stream, key, is_first)
                yield from (links.member(*each, stream) for each in waiting)
                waiting.clear()
            yield from (links.member(*each, stream) for each in waiting)
        except DamagedTarError:
            yield from (links.member(*each, stream) for each in waiting)
            check.end()
            raise
        check.end()


class _Links:
    """The links of a shard: what they name is read where the first of them comes."""

    def __init__(self, shard: Shard, gone: Gone, source: Source, is_repack: bool, held: ExitStack) -> None:
        self._open: Callable[[], Any] = lambda: open_tar(shard, source.options)
        self._gone, self._is_repack, self._held = gone, is_repack, held
        self._files: LinkedFiles | None = None

    def member(self, place: int, info: tarfile.TarInfo, key: str | None, stream: TarStream) -> KeptMember:
        """A link as it is copied: as it is, or as a file."""
        if self._files is None:
            self._files = LinkedFiles(self._open, self._leaves, always=self._is_repack)
            self._held.callback(self._files.close)
        found = self._files.file(place, info)
        return KeptMember(info, stream, key) if found is None else KeptMember(found[0], stream, key, file=found[1])

    def _leaves(self, name: str) -> bool:
        split = split_name(name)
        return split is not None and split[0] in self._gone
