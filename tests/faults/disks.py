"""A disk that fails at a chosen operation, for a process of its own.

What changes folders is seen by Python's audit events, what changes files by stand-ins for `open`, `os.open`, `os.write`
and the calls that sync. What C++ writes by itself is not seen.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import random
import sys
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

# The process ends at the operation; it does, and what was not synced is lost; the disk takes nothing more from there
# on; that one operation fails.
KINDS = ("killed", "power", "full", "error")
DEAD = 77  # exit code of a process that was killed
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(frozen=True)
class DiskFault:
    """What happens at which operation, counted from 1; at 0 nothing does."""

    kind: str = "killed"
    at: int = 0
    seed: int = 0  # of how much of a write arrives, and how much of what was not synced is lost


@dataclass
class _Change:
    """A change of a folder that a power loss takes back, unless the folder was synced since."""

    folder: str
    path: str
    undo: Callable[[], None]
    is_creation: bool = False


@dataclass
class Disk:
    """All below `root`, with one fault. `shadow` is an empty folder beside it, for what is replaced or removed."""

    root: Path
    shadow: Path
    fault: DiskFault
    n_operations: int = 0
    _is_full: bool = False
    _is_ours: bool = False  # inside of an operation of this module
    _changes: list[_Change] = field(default_factory=list)
    _unsynced: dict[int, tuple[int, int]] = field(default_factory=dict)  # inode -> a descriptor, bytes that are safe

    def install(self) -> None:
        """From now on, in this process, for good."""
        self._random = random.Random(self.fault.seed)
        self._real = {name: getattr(os, name) for name in ("open", "write", "fsync")}
        real_open = builtins.open

        def open_file(file, mode="r", buffering=-1, *more, **named):
            if not isinstance(file, int) and self._holds(file) and not set(mode).isdisjoint("wxa+") and "b" in mode:
                raw = _Writing(self, os.fspath(file), mode.replace("b", ""))
                return raw if buffering == 0 else io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            return real_open(file, mode, buffering, *more, **named)

        builtins.open = io.open = open_file
        os.open, os.write = self._open, self._write
        os.fsync = os.fdatasync = self._fsync
        os.sync = self._sync
        sys.addaudithook(self._hear)

    # --- operations

    def operation(self, *, needs_room: bool, dying: Callable[[], None] = lambda: None) -> None:
        """One operation on the disk comes next. `dying` is what of it still arrives when the process dies in it.

        Raises:
            OSError: it fails.
        """
        self.n_operations += 1
        is_now = self.n_operations == self.fault.at
        if is_now and self.fault.kind in ("killed", "power"):
            dying()
            if self.fault.kind == "power":
                self._lose()
            os._exit(DEAD)
        self._is_full |= is_now and self.fault.kind == "full"
        if self._is_full and needs_room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if is_now and self.fault.kind == "error":
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def _hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if self._is_ours or event not in _EVENTS:
            return
        with self._ours():
            _EVENTS[event](self, *arguments)

    def _opens(self, path: object, mode: str | None, flags: int) -> None:
        if not self._holds(path) or not flags & _WRITING:
            return
        path = os.path.realpath(os.fsdecode(path))
        is_new = not os.path.lexists(path)
        self.operation(needs_room=is_new)
        if is_new:
            self._note(path, lambda: os.unlink(path), is_creation=True)

    def _renames(self, source: object, target: object, source_fd: int, target_fd: int) -> None:
        source, target = _resolved(source, source_fd), _resolved(target, target_fd)
        if not self._holds(target):
            return
        self.operation(needs_room=False)
        bring_back = self._kept(target)

        def undo() -> None:
            os.rename(target, source)
            bring_back()

        self._note(target, undo)

    def _links(self, source: object, target: object, source_fd: int, target_fd: int) -> None:
        target = _resolved(target, target_fd)
        if self._holds(target):
            self.operation(needs_room=True)
            self._note(target, lambda: os.unlink(target))

    def _removes(self, path: object, folder_fd: int) -> None:
        path = _resolved(path, folder_fd)
        if self._holds(path):
            self.operation(needs_room=False)
            self._note(path, self._kept(path))

    def _makes_folder(self, path: object, mode: int, folder_fd: int) -> None:
        if self._holds(path := _resolved(path, folder_fd)) and not os.path.lexists(path):
            self.operation(needs_room=True)

    def _removes_folder(self, path: object, folder_fd: int) -> None:
        if self._holds(_resolved(path, folder_fd)):
            self.operation(needs_room=False)

    def _cuts(self, path: object, n_bytes: int) -> None:
        if not isinstance(path, int) and self._holds(path):
            self.operation(needs_room=False)

    # --- files

    def _open(self, path, flags, *more, **named) -> int:
        number = self._real["open"](path, flags, *more, **named)
        if flags & _WRITING and self._holds(_resolved(path, named.get("dir_fd"))):
            self.watch(number)
        return number

    def _write(self, number: int, data: bytes) -> int:
        if not self._holds(_path_of(number)):
            return self._real["write"](number, data)
        return self.write(number, data)

    def write(self, number: int, data: bytes) -> int:
        """Write to an open file; of a write that the process dies in, a part arrives."""
        part = memoryview(data)[: self._random.randrange(len(data) + 1)]
        self.operation(needs_room=True, dying=lambda: self._real["write"](number, part))
        return self._real["write"](number, data)

    def watch(self, number: int) -> None:
        """Remember an open file: what is written to it is lost with the power until it is synced."""
        inode = os.fstat(number).st_ino
        if inode not in self._unsynced:
            self._unsynced[inode] = (os.dup(number), 0)

    def _fsync(self, number: int) -> None:
        """What is synced is remembered, and the real disk is not waited for."""
        path = _path_of(number)
        if self._holds(path):
            self.operation(needs_room=False)
            found = os.fstat(number)
            if os.path.isdir(path):
                self._changes = [change for change in self._changes if change.folder != path]
            elif found.st_ino in self._unsynced:
                copy, _ = self._unsynced[found.st_ino]
                self._unsynced[found.st_ino] = (copy, found.st_size)
            # Journaling file systems put a new file's own name on the disk with it.
            self._changes = [change for change in self._changes if not (change.is_creation and change.path == path)]
            return
        self._real["fsync"](number)

    def _sync(self) -> None:
        self.operation(needs_room=False)
        self._changes = []
        self._unsynced = {inode: (copy, os.fstat(copy).st_size) for inode, (copy, _) in self._unsynced.items()}

    # --- the power goes

    def _lose(self) -> None:
        """Cut each file anywhere behind what was synced, and take back changes of folders, the last ones first."""
        with self._ours():
            for copy, safe in self._unsynced.values():
                size = os.fstat(copy).st_size
                if size > safe:
                    os.ftruncate(copy, self._random.choice([safe, self._random.randint(safe, size), size]))
            n_kept = self._random.randint(0, len(self._changes))
            for change in reversed(self._changes[n_kept:]):
                with suppress(OSError):
                    os.makedirs(change.folder, exist_ok=True)
                    change.undo()

    def _note(self, path: str, undo: Callable[[], None], is_creation: bool = False) -> None:
        self._changes.append(_Change(os.path.dirname(path), path, undo, is_creation))

    def _kept(self, path: str) -> Callable[[], None]:
        """Hold what is there now; what brings it back."""
        if not os.path.isfile(path):
            return lambda: None
        held = str(self.shadow / str(len(os.listdir(self.shadow))))
        os.link(path, held)
        return lambda: os.link(held, path)

    @contextmanager
    def _ours(self):
        before, self._is_ours = self._is_ours, True
        try:
            yield
        finally:
            self._is_ours = before

    def _holds(self, path: object) -> bool:
        if isinstance(path, int) or path is None:
            return False
        return f"{os.path.realpath(os.fsdecode(path))}/".startswith(f"{self.root}/")


class _Writing(io.FileIO):
    """A file that is written through the disk."""

    def __init__(self, disk: Disk, path: str, mode: str) -> None:
        super().__init__(path, mode)
        self._disk = disk
        disk.watch(self.fileno())

    def write(self, data) -> int:
        return self._disk.write(self.fileno(), bytes(data))


def _path_of(number: int) -> str:
    return os.readlink(f"/proc/self/fd/{number}").removesuffix(" (deleted)")


def _resolved(path: object, folder_fd: int | None) -> str:
    if isinstance(path, int):
        return _path_of(path)
    path = os.fsdecode(path)
    within = _path_of(folder_fd) if folder_fd not in (None, -1) and not os.path.isabs(path) else os.getcwd()
    folder, name = os.path.split(os.path.join(within, path))
    return os.path.join(os.path.realpath(folder), name)


_EVENTS = {
    "open": Disk._opens,
    "os.rename": Disk._renames,
    "os.link": Disk._links,
    "os.remove": Disk._removes,
    "os.mkdir": Disk._makes_folder,
    "os.rmdir": Disk._removes_folder,
    "os.truncate": Disk._cuts,
}
