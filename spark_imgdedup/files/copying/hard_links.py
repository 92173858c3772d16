"""Links within a tar whose file leaves it: they become files, with the bytes of what they named. No Spark.

A shard with such links is read twice before it is copied: its headers, then the files that the links name.
"""

from __future__ import annotations

import copy
import posixpath
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import IO

from spark_imgdedup.files.copying.member_headers import without_pax
from spark_imgdedup.files.tars.strict_headers import DamagedTarError, carries_data
from spark_imgdedup.files.tars.tar_stream import TarStream

# Bytes of files that links name, in memory; more lie in a temporary file.
SPOOL_BYTES = 64 * 2**20

OpenTar = Callable[[], AbstractContextManager[TarStream]]


class LinkedFiles:
    """The files of a shard that links name, kept while it is copied.

    Args:
        open_tar: Opens the shard; its members come in the same order each time.
        leaves: Whether a member of that name is left out.
        always: Make every link a file: what it names may lie in another tar.
    """

    def __init__(self, open_tar: OpenTar, leaves: Callable[[str], bool], *, always: bool) -> None:
        self._spool: IO[bytes] = tempfile.SpooledTemporaryFile(SPOOL_BYTES)  # noqa: SIM115
        self._targets = _targets(open_tar, leaves, always=always)
        self._held: dict[int, tuple[tarfile.TarInfo, int]] = {}
        self._hold(open_tar, frozenset(self._targets.values()))

    def file(self, place: int, link: tarfile.TarInfo) -> tuple[tarfile.TarInfo, IO[bytes]] | None:
        """A link as a file, and its bytes; None where it stays a link: what it names stays too, or is not in the shard.

        Args:
            place: The link's number among the members.
            link: Its header.
        """
        held = self._held.get(self._targets.get(place, -1))
        if held is None:
            return None
        target, start = held
        made = copy.copy(link)
        made.type, made.linkname, made.size, made.sparse = tarfile.REGTYPE, "", target.size, None
        made.pax_headers = without_pax(link, "linkpath", "size")
        self._spool.seek(start)
        return made, self._spool

    def close(self) -> None:
        """Let the bytes go."""
        self._spool.close()

    def _hold(self, open_tar: OpenTar, wanted: frozenset[int]) -> None:
        if not wanted:
            return
        with open_tar() as tar:
            for place, info in _until_damage(tar):
                if place in wanted:
                    start = self._spool.tell()
                    try:
                        tar.copy_to(self._spool, info)
                    except (DamagedTarError, ValueError):  # the tar ends inside of it, or it has too many holes
                        self._spool.seek(start)
                        self._spool.truncate()
                    else:
                        self._held[place] = (info, start)


def _targets(open_tar: OpenTar, leaves: Callable[[str], bool], *, always: bool) -> dict[int, int]:
    """By the place of each link that must become a file: the place of what it names in the end."""
    files: dict[str, tuple[int, str]] = {}  # by name: the place of the file that is meant, and that file's name
    found: dict[int, int] = {}
    waiting: list[tuple[int, str]] = []
    with open_tar() as tar:
        for place, info in _until_damage(tar):
            if carries_data(info):
                files[_plain(info.name)] = (place, info.name)
            elif info.islnk() or info.issym():
                waiting.append((place, _named(info)))
                target = files.get(_named(info))
                if target is not None:
                    files[_plain(info.name)] = target
                    if always or leaves(target[1]):
                        found[place] = target[0]
    for place, name in waiting:  # a symbolic link may stand before its file
        target = files.get(name)
        if place not in found and target is not None and (always or leaves(target[1])):
            found[place] = target[0]
    return found


def _named(link: tarfile.TarInfo) -> str:
    """The member that a link names: a hard link by its whole path, a symbolic one from where it stands."""
    if link.islnk():
        return _plain(link.linkname)
    return _plain(posixpath.join(posixpath.dirname(link.name), link.linkname))


def _plain(name: str) -> str:
    return posixpath.normpath(name)


def _until_damage(tar: TarStream) -> Iterator[tuple[int, tarfile.TarInfo]]:
    try:
        yield from enumerate(tar)
    except DamagedTarError:
        return
