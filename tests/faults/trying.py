"""Runs a protocol in a process of its own, on storage that fails, and again on storage that does not."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spark_imgdedup.errors import ImgDedupError
from spark_imgdedup.files import storage
from spark_imgdedup.files.filesystems import filesystem
from spark_imgdedup.files.owning.lease_holder import TTL_SECONDS
from tests.faults.disks import DEAD, Disk, DiskFault
from tests.faults.places import Place
from tests.faults.protocols import PROTOCOLS
from tests.faults.stores import Store, StoreFault

BY_NAME = {protocol.name: protocol for protocol in PROTOCOLS}
DONE, REFUSED, BROKEN = 0, 1, 2
LIMIT_SECONDS = 60
# Starts processes in milliseconds: it has imported what they need.
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["tests.faults.trying", "s3fs"])


@dataclass(frozen=True)
class Tried:
    """What became of a piece of work: its exit code, how often it asked the storage, and what it said."""

    code: int
    n_operations: int
    said: str


@dataclass
class Trial:
    """A protocol, prepared: what is there before it, and after it."""

    name: str
    folder: Path  # for what is held aside
    place: Place
    before: Mapping[str, bytes] = field(default_factory=dict)
    after: Mapping[str, bytes] = field(default_factory=dict)
    n_operations: int = 0

    @classmethod
    def prepared(cls, name: str, folder: Path, url: str = "", options: Mapping[str, Any] | None = None) -> Trial:
        """By work that nothing disturbs; in `folder`/place unless a URL on a store is named."""
        folder = folder.resolve()
        found = cls(name, folder, Place(url or str(folder / "place"), options or {}))
        BY_NAME[name].prepare(found.place)
        found.before = found.tree()
        done = found.attempt(DiskFault())
        assert done.code == DONE, done.said
        found.after, found.n_operations = found.tree(), done.n_operations
        return found

    def reset(self) -> None:
        """The place as it was prepared: under the same name, which manifests hold."""
        storage.delete(self.place.base, self.place.options)
        fs, _ = filesystem(self.place.base, self.place.options)
        for name, data in self.before.items():
            _, path = filesystem(self.place.below(name), self.place.options)
            if self.on_disk:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            fs.pipe_file(path, data)

    @property
    def on_disk(self) -> bool:
        return "://" not in self.place.base

    def tree(self) -> dict[str, bytes]:
        """Every file, hidden ones too."""
        fs, top = filesystem(self.place.base, self.place.options)
        return {path[len(top) :].lstrip("/"): fs.cat_file(path) for path in fs.find(top)}

    def wait_out_leases(self) -> None:
        """Let the minutes pass that a machine takes to boot: then a lease that a power loss has cut is nobody's."""
        long_ago = time.time() - 10 * TTL_SECONDS
        for path in Path(self.place.base).rglob("*.lease"):
            os.utime(path, (long_ago, long_ago))

    def begin_again(self) -> None:
        """Do the work once more although it is recorded, as with --force."""
        storage.delete_file(self.place.below("work/_steps/cluster.json"), self.place.options)
        assert self.attempt(DiskFault()).code == DONE

    def looks_wrong(self) -> str:
        """What a reader would stumble over; "" where all is well."""
        try:
            BY_NAME[self.name].look(self.place)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return ""

    def attempt(self, fault: DiskFault | StoreFault, **options: Any) -> Tried:
        """Do the work, with a fault or with none, in a process of its own; `options` replace those of the store.

        Raises:
            AssertionError: it hangs, or ends in an error that is neither ours nor the storage's.
        """
        place = Place(self.place.base, {**self.place.options, **options})
        process = _SERVER.Process(target=_work, args=(self.name, self.folder, place, fault))
        process.start()
        process.join(LIMIT_SECONDS)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise AssertionError(f"{self.name} hangs after {fault}")
        said = self.folder / "said"
        n_operations, _, text = said.read_text().partition("\n") if said.exists() else ("0", "", "")
        said.unlink(missing_ok=True)
        code = process.exitcode
        assert code in (DONE, REFUSED, DEAD), f"{self.name} after {fault}: exit code {code}\n{text}"
        return Tried(code, int(n_operations), text)


def _work(name: str, folder: Path, place: Place, fault: DiskFault | StoreFault) -> None:
    if "://" in place.base:
        failing: Disk | Store = Store(StoreFault(fault.kind, fault.at, fault.seed))
    else:
        shadow = folder / "shadow"
        shutil.rmtree(shadow, ignore_errors=True)
        shadow.mkdir()
        failing = Disk(Path(place.base), shadow, fault)
    failing.install()
    code, said = DONE, ""
    try:
        BY_NAME[name].work(place)
    except (ImgDedupError, OSError) as error:
        code, said = REFUSED, f"{type(error).__name__}: {error}"
    except BaseException:
        code, said = BROKEN, traceback.format_exc()
    (folder / "said").write_text(f"{failing.n_operations}\n{said}")
    raise SystemExit(code)
