"""The file of a lease on a file system of this machine, mounts included. No Spark.

All changes of it are made under a lock of the system, which ends with its process. Where a mount knows no locks, making
the file is still exclusive; only of two that take over from the same dead run within a millisecond both might be told
yes, until the next sign of life.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from spark_imgdedup.errors import LeaseError
from spark_imgdedup.files import storage
from spark_imgdedup.files.owning.lease_slots import Seen, Slot

# The lock is held for some milliseconds; who waits longer waits for a process that was stopped in between.
LOCK_SECONDS = 20.0


class LocalSlot(Slot):
    """On a file system of this machine, mounts included. Folders that it makes go with it, where they are empty."""

    def __init__(self, folder: str, options: storage.Options | None = None) -> None:
        super().__init__(os.path.realpath(storage.canonical(folder)), options)
        self._made: list[str] = []

    def put(self, data: bytes, over: Seen | None) -> Seen | None:
        """Store `data` where there is nothing, or in place of exactly `over`; None where another was quicker."""
        for _ in range(5):
            self._make_folder()
            try:
                with self._locked():
                    return self._put(data, over)
            except FileNotFoundError:  # who made the folder has just taken it away
                continue
        raise LeaseError(
            f"{os.path.dirname(self.path)}: another run takes that folder away again and again. Try later."
        )

    def renew(self, data: bytes, seen: Seen) -> Seen | None:
        """Give a sign of life: the file's time, which needs no room on the disk. None where it is another one."""
        with suppress(FileNotFoundError), self._locked():  # the folder may have been taken away
            found = self.read()
            if found is not None and found.data == seen.data:
                self._touch(data)
                return seen
        return None

    def delete(self, seen: Seen) -> None:
        """Take the file away if it is still `seen`, and the folders that were made for it."""
        with suppress(FileNotFoundError), self._locked():
            super().delete(seen)
        while self._made:
            with suppress(OSError):  # somebody has put something there
                os.rmdir(self._made.pop())

    def now(self) -> datetime | None:
        """What the clock of the file system says, a mount's server among them: the time of the lock, made just now."""
        with self._locked() as number:
            if number is None:
                return None
            os.utime(number)
            return datetime.fromtimestamp(os.fstat(number).st_mtime, UTC)

    def _put(self, data: bytes, over: Seen | None) -> Seen | None:
        found = self.read()
        if (found and found.data) != (over and over.data):
            return None
        if found is not None:
            os.unlink(self.path)
        try:
            number = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:  # on a mount without locks
            return None
        try:
            with open(number, "wb") as file:
                file.write(data)
        except OSError:
            os.unlink(self.path)
            raise
        return Seen(data, data.decode())

    def _touch(self, data: bytes) -> None:
        try:
            os.utime(self.path)
        except OSError:  # a mount that sets no times, or another user's file that we may write
            with open(self.path, "wb") as file:
                file.write(data)

    def _make_folder(self) -> None:
        folder, missing = os.path.dirname(self.path), list[str]()
        while not os.path.isdir(folder):
            missing.append(folder)
            folder = os.path.dirname(folder)
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        self._made = [*reversed(missing), *self._made] if missing else self._made

    @contextmanager
    def _locked(self) -> Iterator[int | None]:
        """Inside, no other process and no other thread changes the file; without a lock on mounts that know none."""
        path = f"{self.path}.lock"
        number = self._lock(path)
        try:
            yield number
        finally:
            if number is not None:
                with suppress(OSError):
                    os.unlink(path)  # who waits for it sees that it is gone, and makes another
                os.close(number)

    def _lock(self, path: str) -> int | None:
        give_up = time.monotonic() + LOCK_SECONDS
        while time.monotonic() < give_up:
            try:
                number = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
            except FileNotFoundError:
                raise
            except OSError:  # the disk is full or read-only: O_EXCL alone decides
                return None
            try:
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_file(number, path):
                    return number
            except BlockingIOError:
                time.sleep(0.005)
            except OSError:
                os.close(number)
                return None
            os.close(number)
        raise LeaseError(
            f"{path} has been locked for {LOCK_SECONDS:.0f} s. Is a run stopped there? Continue or end it."
        )


def _is_file(number: int, path: str) -> bool:
    """True where the open file is the one of that name."""
    try:
        return os.path.samestat(os.fstat(number), os.stat(path))
    except FileNotFoundError:
        return False
