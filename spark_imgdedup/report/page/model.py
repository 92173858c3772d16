"""What the page shows, in plain values: `collect` fills it from the tables, `build` makes HTML of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# How two images were found to be one, by the name in `duplicates.found_by`: what the page calls it, and what found it.
# Exact, near and semantic are three things: none of their words stands for another.
KINDS = {
    "exact": ("exact copy", "same bytes or same pixels"),
    "pixels": ("near copy", "pixels of plain pictures"),
    "phash": ("near copy", "perceptual hash"),
    "phash+embedding": ("near copy", "perceptual hash, and the embedding agrees"),
    "embedding": ("semantic match", "embedding"),
    "chain": ("linked", "a chain of pairs"),
}
KEPT, REMOVED, LEAVING, OPEN = "kept", "removed", "would go", "not decided"


@dataclass(frozen=True)
class Picture:
    """An image as the page shows it.

    Attributes:
        image_id: Its id.
        status: KEPT, REMOVED, LEAVING (`remove` has not run) or OPEN (`identify` has not).
        facts: What is known of it, by the words of the page.
        uri: A data URI of the small picture; None where there is none.
        problem: Why there is none.
        undo: The command that brings it back, where it was removed.
    """

    image_id: str
    status: str = OPEN
    facts: Mapping[str, str] = field(default_factory=dict)
    uri: str | None = None
    problem: str | None = None
    undo: str | None = None


@dataclass(frozen=True)
class Pair:
    """Two images and what was measured of them.

    Attributes:
        better: The better-ranked one.
        other: The one that goes, if one of them does.
        measure: What was measured, in words.
        verdict: What became of `other`, and by which rule.
    """

    better: Picture
    other: Picture
    measure: str
    verdict: str = ""


@dataclass(frozen=True)
class Band:
    """Pairs that are about equally near: some of `n_all`.

    Attributes:
        kind: A key of KINDS, or mixed.
        title: Of what they have in common.
        inside: Whether they are within the eps of the run; None where that decides nothing.
        n_all: All of them.
        pairs: Those that are shown.
        table: Where all of them are.
    """

    kind: str
    title: str
    inside: bool | None
    n_all: int
    pairs: tuple[Pair, ...]
    table: str


@dataclass(frozen=True)
class Member:
    """An image of a group, and how near it is to the one that stays."""

    picture: Picture
    measure: str


@dataclass(frozen=True)
class Group:
    """An image that stays and some of those that go for it.

    Attributes:
        kept: The image that stays.
        n_all: Images that go for it.
        members: Some of them, the least similar first.
        lowest: The lowest cosine of one that goes with the one that stays, of all; None without vectors.
        found_by: How many were found by what: keys of KINDS.
        lowest_of_two: The lowest cosine of any two of `n_compared` images of the group, drawn by a hash of ids; None
            without vectors.
        n_compared: See there.
    """

    kept: Picture
    n_all: int
    members: tuple[Member, ...]
    lowest: float | None
    found_by: Mapping[str, int]
    lowest_of_two: float | None = None
    n_compared: int = 0


@dataclass(frozen=True)
class Level:
    """What one eps would remove.

    Attributes:
        eps: A cosine distance.
        score_from: The lowest cosine that it takes.
        near: Rows that have a better-ranked one so near, whether that stays or not.
        removed: Rows that go by the rule of the run; None beyond the eps that the search was made for.
        groups: Images that stay for others; None where the rule makes no groups, or removed is not known.
        largest: Images of the largest group, with the one that stays.
    """

    eps: float
    score_from: float
    near: int
    removed: int | None = None
    groups: int | None = None
    largest: int | None = None


@dataclass(frozen=True)
class Curve:
    """Levels of eps.

    Attributes:
        n_rows: Rows that were compared.
        levels: By ascending eps.
        own: The eps of the run; None where none was set.
        already: Exact copies, which go at any eps and are not in the levels.
        searched: The eps that the search was made for, where `removed` ends there.
        by_hash: Whether `removed` has what hashes find too, at every level.
    """

    n_rows: int
    levels: tuple[Level, ...]
    own: float | None
    already: int = 0
    searched: float | None = None
    by_hash: bool = False


@dataclass(frozen=True)
class Reason:
    """Samples that a step marked as unusable, for one reason: the names of some."""

    step: str
    reason: str
    n_all: int
    names: tuple[str, ...]
    table: str


@dataclass(frozen=True)
class Undo:
    """How what was removed is brought back.

    Attributes:
        commands: For ids, and for each reason.
        table: Where all that was removed is.
        removed_csv: Another list of all that was removed, beside files; None where there is none.
    """

    commands: tuple[str, ...]
    table: str
    removed_csv: str | None = None


@dataclass(frozen=True)
class Page:
    """All that the page says.

    Attributes:
        report: What report.json holds: its numbers are shown as they are there.
        dataset: What was read.
        tables: Where each table is, by its name.
        curve: What each eps would remove; None where there is none.
        bands: Pairs by how near they are.
        groups: The largest.
        n_groups: All of them; None where `identify` has not run.
        reasons: Of unusable samples.
        trimmed: Images with borders that were trimmed; None where it is not known.
        settings: The settings in effect, as YAML without secrets.
        versions: Of what made the run, by name.
        notes: What is not shown, and why.
        undo: How what was removed is brought back; None where nothing was.
    """

    report: Mapping[str, Any]
    dataset: str
    tables: Mapping[str, str] = field(default_factory=dict)
    curve: Curve | None = None
    bands: tuple[Band, ...] = ()
    groups: tuple[Group, ...] = ()
    n_groups: int | None = None
    reasons: tuple[Reason, ...] = ()
    trimmed: int | None = None
    settings: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    undo: Undo | None = None
