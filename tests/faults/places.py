"""Where a protocol works, and what one is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from spark_imgdedup.config import Config, parse_config
from spark_imgdedup.counts import ClusterCounts
from spark_imgdedup.files import storage, writing
from spark_imgdedup.runs.tables import StepRecord, Tables


@dataclass(frozen=True)
class Place:
    """Where a protocol has in/, work/ and out/."""

    base: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def below(self, name: str) -> str:
        return storage.join(self.base, name)

    def config(self) -> Config:
        return parse_config(
            {
                "input": {"path": self.below("in")},
                "work_dir": self.below("work"),
                "output": {"path": self.below("out")},
                "remove": {"ids_path": self.below("ids")},
                "steps": ["remove"],
                "storage_options": dict(self.options),
            }
        )

    def tables(self) -> Tables:
        return Tables(None, self.config())

    def finish(self, version: str) -> None:
        """Record a step."""
        self.tables().finish(StepRecord("cluster", version, 1.0, ClusterCounts(rows=1, clusters=1, largest=1)))

    def version(self) -> str:
        """What the record of that step says; "" where there is none."""
        record = self.tables().record("cluster")
        return record.fingerprint if record is not None else ""

    def write(self, name: str, data: bytes) -> None:
        writing.write_bytes(self.below(name), data, self.options)

    def read(self, name: str) -> bytes:
        with storage.open_read(self.below(name), self.options) as file:
            return file.read()


@dataclass(frozen=True)
class Protocol:
    """A piece of work on files.

    Attributes:
        name: For reports.
        prepare: What is there before, written by an undisturbed disk.
        work: What is disturbed, and then done again. It begins by looking what is there, as a run does.
        look: What a reader sees at any moment; fails where it is neither the old nor the new, each whole.
    """

    name: str
    prepare: Callable[[Place], None]
    work: Callable[[Place], None]
    look: Callable[[Place], None]
