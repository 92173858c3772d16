"""What is said of an image, or of two, in plain values: on a terminal, as JSON and as a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

Value = float | int | str | bool | None


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What was looked at.
        found: What was found, in words.
        needed: What it would take to count, in words; empty where nothing is asked.
        counts: Whether it speaks for removing the image, or for the two being a pair; None where it decides nothing.
        value: What was found, as a value.
    """

    name: str
    found: str
    needed: str = ""
    counts: bool | None = None
    value: Value = None


@dataclass(frozen=True)
class Explanation:
    """What is known of an image, or of two.

    Attributes:
        image_ids: The image, or the two.
        outcome: removed, kept, would go or not decided; of two: pair, no pair or not decided.
        verdict: Why, in one or a few sentences.
        checks: In the order in which a run makes them.
        not_known: What is not known yet, and the step that finds it out.
        partner: Of one image, the one that stays for it, or that it resembles most.
        undo: The command that brings a removed image back.
    """

    image_ids: tuple[str, ...]
    outcome: str
    verdict: str
    checks: tuple[Check, ...] = ()
    not_known: tuple[str, ...] = ()
    partner: str | None = None
    undo: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return asdict(self)


@dataclass(frozen=True)
class Gathered:
    """What the tables of a run hold about a few images.

    Attributes:
        rows: By table, then by id, as dictionaries; a table is missing where its step has not run.
        eps: That `identify` applied, or would; None where hashes alone decide.
        searched_eps: That the search was made for; None where there was none.
        compared: By pair of ids, whether the search compared the two; missing where it is not known.
        vectors: By id, what is stored, (D,) float32.
        lists: By the setting or file that names them, the ids among these that are in a list.
        gone_for: How many images go for each.
        not_known: See `Explanation`.
    """

    rows: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    eps: float | None = None
    searched_eps: float | None = None
    probes: str = ""
    compared: Mapping[frozenset[str], bool] = field(default_factory=dict)
    vectors: Mapping[str, Any] = field(default_factory=dict)
    lists: Mapping[str, frozenset[str]] = field(default_factory=dict)
    gone_for: Mapping[str, int] = field(default_factory=dict)
    not_known: tuple[str, ...] = ()

    def row(self, table: str, image_id: str) -> Mapping[str, Any]:
        """The row of an image in a table; empty where there is none."""
        return self.rows.get(table, {}).get(image_id, {})

    def image(self, image_id: str) -> Mapping[str, Any]:
        """What was found of an image when it was decoded, scored and clustered."""
        found: dict[str, Any] = {}
        for table in ("embeddings", "hashes", "scored", "clusters", "similarities"):
            for name, value in self.row(table, image_id).items():
                if value is not None or name not in found:
                    found[name] = value
        return found

    def is_in(self, name: str, image_id: str) -> bool:
        """Whether an image is in one of the lists."""
        return image_id in self.lists.get(name, ())
