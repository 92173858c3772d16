"""The file of a lease: made only where there is none, replaced only where it is still the one that was read. No Spark.

S3 is asked for it by conditions of the request (If-None-Match, If-Match). Other stores are read back after a while,
which is weaker: two runs that start within the same second there may both be told yes if the store is slow to show what
it has stored. Local files: `lease_local`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from spark_imgdedup.files import storage
from spark_imgdedup.files.filesystems import filesystem

# Hidden from every listing: see `files.walk.is_hidden`.
LEASE = ".spark_imgdedup.lease"
# A store without conditions: how long a write may take until everybody sees it.
SETTLE_SECONDS = 2.0


@dataclass(frozen=True)
class Seen:
    """A lease file as it was read.

    Attributes:
        data: What it holds.
        tag: Changes with every write; of a store, its ETag.
        modified: When it last changed, by the clock of the storage; None where that does not say.
    """

    data: bytes
    tag: str
    modified: datetime | None = None


class Slot:
    """The lease file of a folder on a store of any kind."""

    def __init__(self, folder: str, options: storage.Options | None = None) -> None:
        self.fs, root = filesystem(storage.canonical(folder), options)
        self.path = f"{root.rstrip('/')}/{LEASE}"
        self._clock = f"{self.path}.clock"

    def read(self) -> Seen | None:
        """What is there now; None where nothing is."""
        try:
            modified, info = self._modified(self.path), self._tag()
            data = self.fs.cat_file(self.path)  # after its tag: a change in between is found by `put`
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Seen(data, info if info is not None else data.decode(errors="replace"), modified)

    def put(self, data: bytes, over: Seen | None) -> Seen | None:
        """Store `data` where there is nothing, or in place of exactly `over`; None where another was quicker.

        Where the store fails, what is there says whether it has stored all the same: a request that was tried again
        meets itself.
        """
        try:
            stored = self._store(data, over)
        except Exception:  # of each library's own kind
            found = self.read()
            if found is not None and found.data == data:
                return found
            if (found and found.tag) == (over and over.tag):
                raise
            return None
        if stored is not None:
            return stored
        time.sleep(SETTLE_SECONDS)
        found = self.read()
        return found if found is not None and found.data == data else None

    def renew(self, data: bytes, seen: Seen) -> Seen | None:
        """Give a sign of life; None where the file is no longer `seen`."""
        return self.put(data, seen)

    def delete(self, seen: Seen) -> None:
        """Take the file away if it is still `seen`."""
        found = self.read()
        if found is not None and found.tag == seen.tag:
            self.fs.rm_file(self.path)
        if self.fs.exists(self._clock):  # of a run that was killed as it asked for the time
            self._delete_clock()

    def now(self) -> datetime | None:
        """What the clock of the storage says, by a file that is made for it: other machines' clocks do not count."""
        self.fs.pipe_file(self._clock, b"")
        found = self._modified(self._clock)
        self._delete_clock()
        return found

    def _delete_clock(self) -> None:
        with suppress(FileNotFoundError):  # another run has asked for the time at the same time
            self.fs.rm_file(self._clock)

    def _modified(self, path: str) -> datetime | None:
        try:
            found: datetime = self.fs.modified(path)
        except NotImplementedError:
            return None
        return found if found.tzinfo else found.replace(tzinfo=UTC)

    def _tag(self) -> str | None:
        return None

    def _store(self, data: bytes, over: Seen | None) -> Seen | None:
        """Store `data` unless another was quicker; None where only what is read back says whether it was."""
        found = self.read()
        if (found and found.tag) != (over and over.tag):
            raise FileExistsError(self.path)
        if over is None:
            try:
                self.fs.pipe_file(self.path, data, mode="create")
                return None
            except (NotImplementedError, TypeError, ValueError):  # it knows no such mode
                pass
        self.fs.pipe_file(self.path, data)
        return None


class S3Slot(Slot):
    """On S3, which stores on condition."""

    def _tag(self) -> str | None:
        return str(self.fs.info(self.path)["ETag"])

    def _store(self, data: bytes, over: Seen | None) -> Seen | None:
        condition = {"IfMatch": over.tag} if over is not None else {"IfNoneMatch": "*"}
        try:
            return Seen(data, str(self._call("put_object", Body=data, **condition)["ETag"]))
        except Exception as error:
            if not _knows_no_conditions(error):
                raise
            return super()._store(data, over)

    def delete(self, seen: Seen) -> None:
        """Take the file away if it is still `seen`."""
        with suppress(Exception):  # it knows no such condition, or the file is another one
            self._call("delete_object", IfMatch=seen.tag)
        super().delete(seen)

    def _call(self, method: str, **arguments: Any) -> Mapping[str, Any]:
        bucket, key, _ = self.fs.split_path(self.path)
        found: Mapping[str, Any] = self.fs.call_s3(method, Bucket=bucket, Key=key, **arguments)
        return found


def _knows_no_conditions(error: Exception) -> bool:
    """True of a server (501) and of an older botocore that take no such condition."""
    response: Mapping[str, Any] = getattr(error.__cause__ or error, "response", None) or {}
    return response.get("Error", {}).get("Code") == "NotImplemented" or type(error).__name__ == "ParamValidationError"
