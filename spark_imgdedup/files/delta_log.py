"""The log of a Delta table: which commit its rows come from, and what a run has written there itself. No Spark.

A commit is a file of its log, `_delta_log/<version>.json`. Each of our own commits carries a mark in `userMetadata`.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from spark_imgdedup.errors import without_credentials
from spark_imgdedup.files import storage

LOG = "_delta_log"
_COMMIT = re.compile(r"(\d{20})\.json")
_MARK = "spark_imgdedup"


@dataclass(frozen=True)
class Commit:
    """One version of a table."""

    version: int
    file: storage.FileInfo
    info: Mapping[str, Any]  # what its writer says of it
    changes_rows: bool  # false for OPTIMIZE, which only puts them into other files

    @property
    def read_version(self) -> int | None:
        """The version that its writer had read."""
        return self.info.get("readVersion")

    @property
    def metrics(self) -> dict[str, int]:
        """How many rows, files and bytes it took away and added, by Delta's names."""
        return {name: int(n) for name, n in self.info.get("operationMetrics", {}).items() if str(n).isdigit()}

    def mark(self, work_dir: str) -> str | None:
        """The fingerprint of the removal of this work_dir that made it, or None."""
        said = self._said(work_dir)
        return str(said["remove"]) if "remove" in said else None

    def restores(self, work_dir: str) -> bool:
        """True where it inserted rows that a removal of this work_dir had deleted."""
        return bool(self._said(work_dir).get("restored"))

    def _said(self, work_dir: str) -> Mapping[str, Any]:
        """What a run of this work_dir has said of its commit; empty where it is another's."""
        try:
            ours = json.loads(self.info.get("userMetadata") or "{}")[_MARK]
            return ours if ours["work_dir"] == _owner(work_dir) else {}
        except (ValueError, KeyError, TypeError):
            return {}


@dataclass(frozen=True)
class Trace:
    """Where the rows of a table come from."""

    version: int  # the newest
    origin: Commit  # nothing but OPTIMIZE, RESTORE to it and `deletions` has happened since
    deletions: tuple[Commit, ...]  # by the work_dir asked for, newest first; those that a RESTORE took back left out


def mark_for(work_dir: str, fingerprint: str) -> str:
    """What `Commit.mark` reads: the `userMetadata` of a commit."""
    return json.dumps({_MARK: {"work_dir": _owner(work_dir), "remove": fingerprint}})


def mark_for_restore(work_dir: str, *, is_change: bool) -> str:
    """The `userMetadata` of a commit that inserts what a removal of this work_dir had deleted.

    Args:
        work_dir: Of the run.
        is_change: Whether it is one to `trace`, as those of others are; else it is passed over, as a deletion is.
    """
    ours = {"work_dir": _owner(work_dir), "restored": True}
    return json.dumps({_MARK: ours if is_change else {**ours, "remove": "restored"}})


def _owner(work_dir: str) -> str:
    return without_credentials(storage.canonical(work_dir))


def is_delta(path: str, options: storage.Options | None = None) -> bool:
    """True where there is a Delta table at a path."""
    return not storage.is_glob(path) and storage.exists(storage.join(path, LOG), options)


def trace(path: str, options: storage.Options | None = None, *, work_dir: str | None = None) -> Trace:
    """Go back through the log to the commit that gave a table its rows.

    Args:
        path: Of a Delta table.
        options: Of its storage.
        work_dir: Deletions that a run of it has made are passed over; None: they count like any other change.

    Raises:
        FileNotFoundError: the log holds no commit.
    """
    files = dict(_commit_files(path, options))
    if not files:
        raise FileNotFoundError(f"{path}: its {LOG} holds no commit")
    newest = place = max(files)
    deletions: list[Commit] = []
    while True:
        commit = read_commit(place, files[place], options)
        before = _same_rows(commit)
        if before is None and work_dir is not None and commit.mark(work_dir) and commit.read_version == place - 1:
            deletions.append(commit)
            before = place - 1
        if before not in files:  # old commits are taken away after delta.logRetentionDuration
            return Trace(newest, commit, tuple(deletions))
        place = before


def commits_since(path: str, version: int, options: storage.Options | None = None) -> Iterator[Commit]:
    """The commits after a version, newest first."""
    files = dict(_commit_files(path, options))
    for each in sorted((each for each in files if each > version), reverse=True):
        yield read_commit(each, files[each], options)


def read_commit(version: int, file: storage.FileInfo, options: storage.Options | None = None) -> Commit:
    """A commit, read as far as it takes to know what it did."""
    info: Mapping[str, Any] | None = None
    changes_rows = False
    with storage.open_read(file.url, options) as lines:
        for line in lines:
            action = json.loads(line)
            info = action.get("commitInfo", info)
            changes_rows = changes_rows or _is_change(action)
            if info is not None and changes_rows:
                break
    return Commit(version, file, info or {}, changes_rows)


def _is_change(action: Mapping[str, Any]) -> bool:
    files = (action[kind] for kind in ("add", "remove") if kind in action)
    return "metaData" in action or any(file.get("dataChange", True) for file in files)


def _same_rows(commit: Commit) -> int | None:
    """The version that holds the rows of a commit already, or None where they are its own."""
    if commit.info.get("operation") == "RESTORE":
        back = commit.info.get("operationParameters", {}).get("version")
        return int(back) if str(back).isdigit() else None
    return None if commit.changes_rows else commit.version - 1


def _commit_files(path: str, options: storage.Options | None) -> Iterator[tuple[int, storage.FileInfo]]:
    for file in storage.list_files(storage.join(path, LOG), ".json", options):
        if found := _COMMIT.fullmatch(posixpath.basename(file.url)):
            yield int(found[1]), file
