"""What of a copy is done: files that wait below `_temporary` for their names, each with a record beside it. No Spark.

A record is written once its file is whole and on the disk, and its name says all that decided the file's bytes: the
input's stamps, what was left out, the settings. So a run that was killed copies again only what has no record.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from spark_imgdedup.files import storage, writing
from spark_imgdedup.files.copying.copy_plan import CopyTask
from spark_imgdedup.files.copying.kept_members import Source
from spark_imgdedup.files.copying.removal_check import Gone
from spark_imgdedup.files.copying.tar_writer import KeptSample, WrittenTar, refusals_in_one_line
from spark_imgdedup.files.owning.manifest import MANIFEST
from spark_imgdedup.files.owning.names import below

# Raised when the same input and settings give other bytes: what an older version left is then copied again.
COPY_VERSION = 2
_RECORD = re.compile(r"([0-9a-f]{32})\.json")


@dataclass(frozen=True)
class Finished:
    """The finished files of an output that is being written."""

    folder: str  # `_temporary` of the output
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def tar(self, mark: str) -> WrittenTar | None:
        """A tar that an earlier attempt has finished, or None."""
        found = self._record(mark)
        try:
            samples = [KeptSample(*each) for each in found.pop("samples")]
            stamp = found.pop("stamp")
            tar = WrittenTar(**found, samples=samples)
        except (AttributeError, KeyError, TypeError, ValueError):  # there is none, or it was cut
            return None
        place = self._place(tar.temporary, f"{tar.name}.tar", tar.n_bytes, stamp)
        return None if place is None else replace(tar, temporary=place)

    def keep_tar(self, mark: str, tar: WrittenTar) -> None:
        """Say that a tar is whole. Its bytes are on the disk, and so is its name once the record's is."""
        info = storage.look_at(tar.temporary, self.options)
        if info is None or info.n_bytes != tar.n_bytes:
            return
        said = asdict(replace(tar, samples=[], temporary=storage.base_name(tar.temporary)))
        samples = [(each.image_id, each.shard, each.key, each.n_bytes) for each in tar.samples]
        self._write(mark, said | {"stamp": info.stamp, "samples": samples})

    def files(self, mark: str, names: Sequence[str]) -> list[tuple[str, int]] | None:
        """Where copies of these files are and the bytes of each, or None where not all of them are finished."""
        found = self._record(mark)
        try:
            folder, sizes, stamps = found["folder"], found["sizes"], found["stamps"]
            described = list(zip(names, sizes, stamps, strict=True))
        except (KeyError, TypeError, ValueError):
            return None
        waiting = {storage.base_name(file.url): file for file in self._below(folder)}
        places = []
        for number, (name, *wanted) in enumerate(described):
            if _is(waiting.get(str(number)), *wanted):
                places.append((storage.join(self.folder, folder, str(number)), wanted[0]))
            elif (place := self._place(f"{folder}/{number}", name, *wanted)) is not None:
                places.append((place, wanted[0]))
            else:
                return None
        return places

    def keep_files(self, mark: str, folder: str, sizes: Sequence[int]) -> None:
        """Say that the files 0, 1, … of a folder below `_temporary` are whole."""
        there = {storage.base_name(file.url): file for file in self._below(storage.base_name(folder))}
        found = [there.get(str(number)) for number in range(len(sizes))]
        if [file and file.n_bytes for file in found] == list(sizes):
            stamps = [file.stamp for file in found if file is not None]
            self._write(mark, {"folder": storage.base_name(folder), "sizes": list(sizes), "stamps": stamps})

    def _below(self, folder: str) -> list[storage.FileInfo]:
        return storage.list_files(below(self.folder, folder, self.folder), "", self.options)

    def _place(self, temporary: str, name: str, n_bytes: int, stamp: str) -> str | None:
        """Where a finished file is: below `_temporary`, or already under its final name, which keeps its stamp."""
        for place in (
            below(self.folder, temporary, self.folder),
            below(posixpath.dirname(self.folder), name, self.folder),
        ):
            info = storage.look_at(place, self.options)
            if info is not None:
                return place if _is(info, n_bytes, stamp) else None
        return None

    def _record(self, mark: str) -> Any:
        try:
            return json.loads(storage.read_text(storage.join(self.folder, f"{mark}.json"), self.options))
        except (FileNotFoundError, ValueError):
            return None

    def _write(self, mark: str, said: Mapping[str, Any]) -> None:
        data = json.dumps(said, separators=(",", ":")).encode()
        with refusals_in_one_line(self.folder):
            writing.write_bytes(storage.join(self.folder, f"{mark}.json"), data, self.options)

    def marks(self) -> frozenset[str]:
        """The marks of the records that are there."""
        return _marks(storage.names_in(self.folder, self.options))

    def clear_others(self, wanted: Collection[str] | None) -> frozenset[str]:
        """Take away what is not finished, or not `wanted` (None: all are), and give the marks of the records that stay.

        A record goes before its file: one whose file is gone says that the file has got its name.
        """
        names = storage.names_in(self.folder, self.options)
        there = _marks(names)
        kept = there if wanted is None else there & frozenset(wanted)
        others = [name for name in names if name.split(".")[0] not in kept and name != MANIFEST]
        for is_record in (True, False):
            chosen = [name for name in others if bool(_RECORD.fullmatch(name)) is is_record]
            storage.delete_below(self.folder, chosen, self.options)
        return kept


def _marks(names: Sequence[str]) -> frozenset[str]:
    """The marks of the records among some files."""
    return frozenset(found[1] for name in names if (found := _RECORD.fullmatch(name)))


def _is(info: storage.FileInfo | None, n_bytes: int, stamp: str) -> bool:
    """True where a file is still as its record says; where the storage has no stamps nothing shows it."""
    return info is not None and bool(stamp) and (info.n_bytes, info.stamp) == (n_bytes, stamp)


def tar_marks(task: CopyTask, removed: Mapping[str, Gone], source: Source) -> list[str]:
    """By part, what decides the bytes of its tar.

    Args:
        task: From `plan_copies`; its shards carry their stamps.
        removed: Keys to leave out with their digests, by shard name.
        source: How the shards are read.
    """
    shards = [
        (shard.url, shard.name, shard.n_bytes, shard.stamp, shard.reorder, sorted(removed.get(shard.name, {}).items()))
        for shard in task.shards
    ]
    parts = [(part.name, part.n_samples) for part in task.parts]
    decides = (shards, task.skip, parts, source.image_member, source.id_field)
    return [mark_of("tar", *decides, number) for number in range(len(task.parts))]


def file_mark(files: Sequence[tuple[str, ...]], stamps: Sequence[storage.FileInfo | None], *how: Any) -> str:
    """What decides the bytes of copies of some files, or of a tar of them.

    Args:
        files: What is known of each, its name among it.
        stamps: Of each, as it is now.
        how: What else counts.
    """
    return mark_of("files", *how, list(files), [None if s is None else (s.n_bytes, s.stamp) for s in stamps])


def mark_of(*decides: Any) -> str:
    """32 hexadecimal digits for what decides some bytes."""
    return hashlib.sha256(json.dumps([COPY_VERSION, *decides]).encode()).hexdigest()[:32]
