"""A corpus whose repeats are known: shards/*.tar, and truth.csv.

Columns of the truth: key, shard, member, group, role (source, copy or distractor are scored), transform, expect.
"""

from __future__ import annotations

import csv
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from spark_imgdedup.report.truth import SCORED_ROLES, TruthScore


@dataclass(frozen=True)
class Corpus:
    """A folder with shards and their truth."""

    folder: Path
    left_out: frozenset[str] = frozenset()  # SHA-256 of originals whose groups do not count

    @property
    def shards(self) -> str:
        """What a run reads."""
        return str(self.folder / "shards")

    def rows(self) -> list[dict[str, str]]:
        """The scored rows of the truth, each with the image_id that a run gives it."""
        with (self.folder / "truth.csv").open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["role"] in SCORED_ROLES]
        out = {row["group"] for row in rows if row["transform"] == "original" and row["sha256"] in self.left_out}
        return [{"image_id": f"{row['shard']}/{row['key']}", **row} for row in rows if row["group"] not in out]

    def without(self, other: Corpus) -> Corpus:
        """This corpus without the groups whose original has copies in the other one."""
        seen = {row["sha256"] for row in other.rows() if row["role"] == "source"}
        return replace(self, left_out=frozenset(seen))

    def images(self) -> Iterator[tuple[dict[str, str], bytes]]:
        """Each scored row with its image file, shard by shard."""
        members = {(row["shard"], row["member"]): row for row in self.rows()}
        for path in sorted((self.folder / "shards").glob("*.tar")):
            with tarfile.open(path) as tar:
                for member in tar:
                    row, data = members.get((path.stem, member.name)), tar.extractfile(member)
                    if row is not None and data is not None:
                        yield row, data.read()

    def write_truth(self, folder: Path) -> Path:
        """The scored rows as a file for report.truth.score_run."""
        folder.mkdir(parents=True, exist_ok=True)
        path, rows = folder / "truth.csv", self.rows()
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return path


def measures(score: TruthScore, n_removed: int) -> dict[str, float | int]:
    """Copy recall, row precision (removed rows whose group keeps a member) and their harmonic mean."""
    recall, precision = score.recall or 0.0, 1 - score.false_removals / max(n_removed, 1)
    return {
        "f1": round(2 * recall * precision / max(recall + precision, 1e-9), 4),
        "copy_recall": round(recall, 4),
        "row_precision": round(precision, 4),
        "removed": n_removed,
        "groups_lost": score.groups_lost,
        "distractors_removed": score.distractors_removed,
    }


def recalls(score: TruthScore) -> dict[str, float]:
    """Copy recall of each transform, in order of severity."""
    return {name: round(found, 3) for name, found in score.recall_by_transform.items()}
