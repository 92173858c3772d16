"""What was injected, and what became of it: counted, and printed at the end of the tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """One fault that hit.

    Attributes:
        group: protocols, one machine, cluster, S3.
        kind: What happened.
        rerun: Whether the work had to be done again: else the run went on to its end by itself.
        differences: What then was not as in an undisturbed run, in words; empty: it survived.
        bytes_lost: Of files that should be there and are not, or hold something else.
        seconds_repeated: What the disturbed run and the next took together, less an undisturbed one.
    """

    group: str
    kind: str
    rerun: bool
    differences: tuple[str, ...] = ()
    bytes_lost: int = 0
    seconds_repeated: float = 0.0


@dataclass
class Ledger:
    """All faults of a test run."""

    seed: int
    entries: list[Entry] = field(default_factory=list)

    def add(self, entry: Entry) -> None:
        self.entries.append(entry)

    def lines(self) -> Iterator[str]:
        """A table: kinds, how many were injected and survived, what was lost and repeated."""
        row = "{:<13} {:<30} {:>8} {:>8} {:>14} {:>10} {:>17}".format
        yield row("", f"seed {self.seed}", "injected", "survived", "by a second run", "bytes lost", "seconds repeated")
        for group, kind in dict.fromkeys((entry.group, entry.kind) for entry in self.entries):
            yield row(group, kind, *self._counts([e for e in self.entries if (e.group, e.kind) == (group, kind)]))
        yield row("all", "", *self._counts(self.entries))

    @staticmethod
    def _counts(entries: list[Entry]) -> tuple[int, int, int, int, str]:
        again = [entry for entry in entries if entry.rerun]
        repeated = sum(entry.seconds_repeated for entry in again)
        seconds = f"{repeated / len(again):.1f} each" if repeated else "-"
        survived = sum(not entry.differences for entry in entries)
        return len(entries), survived, len(again), sum(entry.bytes_lost for entry in entries), seconds

    def write(self, path: Path) -> None:
        """The same as JSON, with what was not survived in full."""
        by_kind = []
        for group, kind in dict.fromkeys((entry.group, entry.kind) for entry in self.entries):
            entries = [entry for entry in self.entries if (entry.group, entry.kind) == (group, kind)]
            n_injected, n_survived, n_again, n_bytes, _ = self._counts(entries)
            counts = {"injected": n_injected, "survived": n_survived, "by_a_second_run": n_again, "bytes_lost": n_bytes}
            repeated = [round(entry.seconds_repeated, 1) for entry in entries if entry.seconds_repeated]
            by_kind.append({"group": group, "kind": kind, **counts, "seconds_repeated": repeated})
        failed = [asdict(entry) for entry in self.entries if entry.differences]
        found = {"seed": self.seed, "injected": len(self.entries), "by_kind": by_kind, "not_survived": failed}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=1) + "\n")
