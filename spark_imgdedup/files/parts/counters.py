"""How far tasks are within the parts that they make: each says so now and then in a file beside the parts. No Spark.

A part that is there says in its footer how many rows it has, so a task of a few seconds writes no such file. What is
left of these files is taken away with all else in the folder that is no part.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pyarrow.parquet as pq

from spark_imgdedup.files import storage
from spark_imgdedup.files.filesystems import filesystem, is_object_store
from spark_imgdedup.files.parts.part_files import Round

log = logging.getLogger(__name__)

_PREFIX = "_count-"
# Between two signs of a task: on a disk, and on a store, where each is a request.
SECONDS, SECONDS_ON_STORES = 5.0, 20.0
# The driver lists the folder no more often than this.
_SECONDS_BETWEEN_LOOKS = 4.0


@dataclass(frozen=True)
class Made:
    """How far the parts of a table are, of those that this run makes.

    Attributes:
        images: Samples that are done.
        failed: Of these, such without a usable image.
        n_files: Tars or loose images whose part is there.
        of_files: All of them.
        n_bytes: Bytes of the input that are done; those of a part that is being made by the images in it.
        of_bytes: All of them.
        is_loose: The files are images.
    """

    images: int
    failed: int
    n_files: int
    of_files: int
    n_bytes: int
    of_bytes: int
    is_loose: bool


@dataclass(frozen=True)
class _Count:
    images: int = 0
    failed: int = 0
    n_bytes: int = 0


class Counter:
    """Counts what a task has done of one part, and says so in a file from time to time; never an error of the task."""

    def __init__(self, one: Round, part: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._url, self._options = storage.join(one.folder, f"{_PREFIX}{part}"), one.options
        self._round, self._name = storage.join(one.folder, "_round"), one.name
        self._clock, self._said, self._count = clock, clock(), _Count()
        self._pause = SECONDS_ON_STORES if is_object_store(filesystem(one.folder, one.options)[0]) else SECONDS

    def add(self, images: int, failed: int, n_bytes: int) -> None:
        """Count some more."""
        now = self._count
        self._count = _Count(now.images + images, now.failed + failed, now.n_bytes + n_bytes)
        if self._clock() - self._said >= self._pause:
            self._said = self._clock()
            try:
                self._say()
            except Exception:  # of any store; the count is for people to look at, and the next may go better
                log.debug("no count of %s", self._url, exc_info=True)

    def _say(self) -> None:
        if storage.read_text(self._round, self._options) != self._name:
            return  # the table is finished, or another run's
        fs, path = filesystem(self._url, self._options)
        with fs.open(path, "wb") as file:
            file.write(json.dumps(vars(self._count)).encode())


class PartsInWork:
    """What a driver knows of the parts that its tasks make: of how many files each is, and of how many bytes."""

    def __init__(
        self, folder: str, sizes: Mapping[str, tuple[int, int]], options: storage.Options, is_loose: bool
    ) -> None:
        self._folder, self._sizes, self._options, self._is_loose = folder, sizes, options, is_loose
        self._known: dict[str, tuple[str, _Count]] = {}  # by file: which state of it, and what it said
        self._looked, self._made = float("-inf"), self._sum(set())

    def look(self) -> Made:
        """How far they are; asked often, it answers as it did a few seconds ago."""
        if time.monotonic() - self._looked >= _SECONDS_BETWEEN_LOOKS:
            self._made = self._look()
            self._looked = time.monotonic()
        return self._made

    def _look(self) -> Made:
        there = set()
        for file, below, _ in storage.find_files(self._folder, self._options):
            is_part = below in self._sizes
            if is_part:
                there.add(below)
            elif below.removeprefix(_PREFIX) not in self._sizes:
                continue
            if self._known.get(below, ("",))[0] == file.stamp:
                continue
            try:
                self._known[below] = file.stamp, self._rows(file.url) if is_part else self._said(file.url)
            except (OSError, ValueError, TypeError):  # it is being written, or has just gone
                log.debug("%s cannot be read yet", file.url, exc_info=True)
        return self._sum(there)

    def _rows(self, url: str) -> _Count:
        """What the footer of a part says; it is read once."""
        with storage.open_random(url, self._options) as stream:
            found = pq.read_metadata(stream)
        place = found.schema.names.index("rejected_because")
        groups = (found.row_group(number).column(place).statistics for number in range(found.num_row_groups))
        good = sum(each.null_count for each in groups if each is not None and each.has_null_count)
        return _Count(found.num_rows, found.num_rows - good)

    def _said(self, url: str) -> _Count:
        return _Count(**json.loads(storage.read_text(url, self._options)))

    def _sum(self, there: set[str]) -> Made:
        total = Made(0, 0, 0, 0, 0, 0, self._is_loose)
        for part, (n_files, n_bytes) in self._sizes.items():
            is_made = part in there
            count = self._known.get(part if is_made else f"{_PREFIX}{part}", ("", _Count()))[1]
            total = replace(
                total,
                images=total.images + count.images,
                failed=total.failed + count.failed,
                n_files=total.n_files + (n_files if is_made else 0),
                of_files=total.of_files + n_files,
                n_bytes=total.n_bytes + (n_bytes if is_made else min(count.n_bytes, n_bytes)),
                of_bytes=total.of_bytes + n_bytes,
            )
        return total


_IN_WORK: dict[str, PartsInWork] = {}
_LOCK = threading.Lock()


@contextmanager
def in_work(folder: str, parts: PartsInWork) -> Iterator[None]:
    """Inside, `parts_below` finds what is known of the parts of this folder."""
    with _LOCK:
        _IN_WORK[folder] = parts
    try:
        yield
    finally:
        with _LOCK:
            _IN_WORK.pop(folder, None)


def parts_below(folder: str) -> PartsInWork | None:
    """The parts that this process has made in a folder below this one, if it does so right now."""
    with _LOCK:
        return next((parts for place, parts in _IN_WORK.items() if place.startswith(folder.rstrip("/") + "/")), None)
