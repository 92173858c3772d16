"""Scores a run against a dataset whose repeats are known: how many planted copies went, and what went with them.

A group is a source and its copies; a group of one is a distractor, which nothing repeats. One member of each group
should stay. Which one does not matter: the survivor is the kept member that was changed least, and every other kept
copy is a miss.
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from spark_imgdedup.errors import SchemaError

# The survivor of a group is its earliest kept member in this order; a transform named nowhere here comes last.
SEVERITY = (
    *("original", "exact", "png", "webp", "jpeg75", "resize50", "jpeg30", "bright", "crop10", "blur", "gray", "text"),
    *("jpeg10", "crop20", "rot5", "border", "cd_jpeg30", "hflip", "crop50"),
)
COLUMNS = ("image_id", "shard", "group", "role", "transform", "expect")
SCORED_ROLES = ("source", "copy", "distractor")
ROLES = (*SCORED_ROLES, "bad")
EXPECTATIONS = ("ok", "unreadable", "no_image")


@dataclass(frozen=True)
class TruthRow:
    """What is known of one sample."""

    image_id: str
    shard: str
    group: str
    role: str
    transform: str
    expect: str


@dataclass(frozen=True)
class TruthScore:
    """A run against the truth. Counts are samples, unless the name says groups."""

    copies_planted: int
    copies_removed: int  # the survivor of a group without its source counts: it repeats nothing any more
    caught_by_transform: dict[str, tuple[int, int]]  # transform -> (caught, planted), in order of severity
    distractors_removed: int
    groups_lost: int  # groups of two or more of which nothing is kept
    false_removals: int  # distractors removed, and every row of a lost group
    links_checked: int  # removed rows whose max_id is in the truth
    links_right: int  # of these, max_id is of the same group
    unreadable_planted: int
    unreadable_named: int
    wrongly_unreadable: tuple[str, ...]  # good samples that the run could not read
    unknown_ids: tuple[str, ...]  # ids of the run, links included, that the truth does not have

    @property
    def recall(self) -> float | None:
        """Share of the planted copies that were caught; None where none was planted."""
        return _share(self.copies_removed, self.copies_planted)

    @property
    def recall_by_transform(self) -> dict[str, float]:
        """Share of the copies that were caught, for each transform."""
        return {name: caught / planted for name, (caught, planted) in self.caught_by_transform.items()}

    @property
    def link_precision(self) -> float | None:
        """Share of the checked links that point into their own group; None where there was none."""
        return _share(self.links_right, self.links_checked)

    def lines(self) -> list[str]:
        """The score in short sentences, for a summary on the screen."""
        by_transform = ", ".join(f"{name} {a}/{b}" for name, (a, b) in self.caught_by_transform.items())
        lines = [f"planted copies found: {_of(self.copies_removed, self.copies_planted)}"]
        lines += [f"by transform: {by_transform}"] if by_transform else []
        lines += [f"false removals: {self.false_removals}"]
        if self.groups_lost:
            lines.append(f"groups lost, nothing of them kept: {self.groups_lost}")
        if self.links_checked:
            lines.append(f"links to the right picture: {_of(self.links_right, self.links_checked)}")
        if self.unreadable_planted:
            lines.append(f"unusable samples noticed: {_of(self.unreadable_named, self.unreadable_planted)}")
        if self.wrongly_unreadable:
            lines.append(f"good samples called unreadable: {_some(self.wrongly_unreadable)}")
        if self.unknown_ids:
            lines.append(f"ids that the truth does not have: {_some(self.unknown_ids)}")
        return lines


def score_run(truth_csv: str | Path, removed: Mapping[str, str | None], unreadable: Collection[str] = ()) -> TruthScore:
    """How well a run did on a dataset whose repeats are recorded in a file.

    Args:
        truth_csv: A CSV with at least the columns of COLUMNS.
        removed: image_id of each removed sample -> the image it repeats (`max_id`), or None where that is not known.
        unreadable: What the run marked as unreadable or without an image: image_ids, and names of damaged shards
            (the sample a tar is cut in has no id of its own in a run).

    Raises:
        SchemaError: the file lacks a column, repeats an image_id, or holds an unknown role or expectation.
    """
    rows = read_truth(truth_csv)
    by_id = {row.image_id: row for row in rows}
    scored = [row for row in rows if row.role in SCORED_ROLES]
    groups: dict[str, list[TruthRow]] = defaultdict(list)
    for row in scored:
        groups[row.group].append(row)

    survivors = {group: _survivor(members, removed) for group, members in groups.items()}
    lost = [members for group, members in groups.items() if survivors[group] is None]
    caught = _caught_by_transform(scored, survivors, removed)
    links = [(row, by_id[link]) for row in scored if (link := removed.get(row.image_id)) in by_id and link is not None]
    bad = [row for row in rows if row.expect != "ok"]
    wrong = (set(unreadable) & by_id.keys()) - {row.image_id for row in bad}
    named = {link for link in removed.values() if link is not None} | set(removed) | set(unreadable)
    return TruthScore(
        copies_planted=sum(planted for _, planted in caught.values()),
        copies_removed=sum(n_caught for n_caught, _ in caught.values()),
        caught_by_transform=caught,
        distractors_removed=sum(len(members) == 1 for members in lost),
        groups_lost=sum(len(members) > 1 for members in lost),
        false_removals=sum(map(len, lost)),
        links_checked=len(links),
        links_right=sum(row.group == other.group for row, other in links),
        unreadable_planted=len(bad),
        unreadable_named=sum(row.image_id in unreadable or row.shard in unreadable for row in bad),
        wrongly_unreadable=tuple(sorted(wrong)),
        unknown_ids=tuple(sorted(named - by_id.keys() - {row.shard for row in rows})),
    )


def read_truth(truth_csv: str | Path) -> list[TruthRow]:
    """The rows of a truth file, in its order.

    Raises:
        SchemaError: as for `score_run`.
    """
    with Path(truth_csv).open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise SchemaError(f"{truth_csv} lacks the columns {missing}; it needs {list(COLUMNS)}.")
        rows = [TruthRow(*(record[name] for name in COLUMNS)) for record in reader]
    for row in rows:
        if row.role not in ROLES or row.expect not in EXPECTATIONS:
            raise SchemaError(
                f"{truth_csv}: {row.image_id} has role {row.role!r} and expect {row.expect!r}; "
                f"use one of {list(ROLES)} and one of {list(EXPECTATIONS)}."
            )
    image_id, times = Counter(row.image_id for row in rows).most_common(1)[0] if rows else ("", 0)
    if times > 1:
        raise SchemaError(f"{truth_csv} has {times} rows with image_id {image_id!r}; each sample needs one.")
    return rows


def _survivor(members: list[TruthRow], removed: Mapping[str, str | None]) -> TruthRow | None:
    kept = [row for row in members if row.image_id not in removed]
    return min(kept, key=_severity, default=None)  # the earliest row of the file wins a tie


def _severity(row: TruthRow) -> int:
    return SEVERITY.index(row.transform) if row.transform in SEVERITY else len(SEVERITY)


def _caught_by_transform(
    scored: list[TruthRow], survivors: Mapping[str, TruthRow | None], removed: Mapping[str, str | None]
) -> dict[str, tuple[int, int]]:
    planted: Counter[str] = Counter()
    caught: Counter[str] = Counter()
    for row in sorted((row for row in scored if row.role == "copy"), key=_severity):
        planted[row.transform] += 1
        caught[row.transform] += row.image_id in removed or survivors[row.group] is row
    return {name: (caught[name], planted[name]) for name in planted}


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _of(part: int, whole: int) -> str:
    return f"{part} of {whole}" + (f" ({100 * part / whole:.1f} %)" if whole else "")


def _some(ids: Iterable[str], shown: int = 3) -> str:
    names = list(ids)
    return f"{len(names)} ({', '.join(names[:shown])}{', …' if len(names) > shown else ''})"
