"""The numbers of report.json in the rows and words of the page."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from spark_imgdedup.report.page.model import Page, Picture

# Rows of a table on the page, tables of fields, and characters of a name.
MOST_ROWS = 20
MOST_TABLES = 12
MOST_CHARACTERS = 240
_UNSEEN = "\N{REPLACEMENT CHARACTER}"
# Classes of characters that embed, override or isolate a direction. Source: Unicode Standard Annex 9.
_FORCED = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})
_BEFORE, _AFTER = "samples_before", "samples_after"


@dataclass(frozen=True)
class Row:
    """A value, how many samples have it, and how many of these stay."""

    value: str
    before: int
    after: int
    bytes_before: int | None = None
    bytes_after: int | None = None

    @property
    def gone(self) -> int:
        """Samples that go."""
        return self.before - self.after


@dataclass(frozen=True)
class Counted:
    """`shown` of `of` values; the others together are the last row, so that all of it adds up."""

    title: str
    order: str
    shown: int
    of: int
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Part:
    """A share of all samples: what became of them, how many, and where the part starts, in hundredths."""

    word: str
    kind: str
    n: int
    start: float
    width: float


def clean(text: object, most: int = MOST_CHARACTERS) -> str:
    """Text that any browser takes, the middle of a long one left out.

    Control characters, halves of pairs and what turns the direction of text by force become marks; joiners stay, since
    scripts need them.
    """
    whole = "".join(_UNSEEN if _is_unseen(each) else each for each in str(text))
    half = (most - 1) // 2
    return whole if len(whole) <= most else f"{whole[:half]}…{whole[-half:]}"


def _is_unseen(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs") or unicodedata.bidirectional(character) in _FORCED


def clean_lines(text: str, most: int = 40_000) -> str:
    """Text of several lines."""
    return "\n".join(clean(line, 2_000) for line in text[:most].splitlines())


def count(n: float | None) -> str:
    """12,345; nothing where it is not known."""
    return "" if n is None else f"{n:,.0f}"


def percent(n: float | None, whole: float | None, digits: int = 1) -> str:
    """A share in percent; nothing of nothing."""
    return f"{100 * n / whole:.{digits}f} %" if whole and n is not None else ""


def megabytes(n: int | None) -> str:
    """MB below 10 GB, else GB."""
    if n is None:
        return ""
    return f"{n / 1e6:,.1f} MB" if n < 1e10 else f"{n / 1e9:,.1f} GB"


def parts(summary: Mapping[str, Any]) -> tuple[Part, ...]:
    """What became of the samples that were read: parts that add up to all of them; none before `remove`."""
    if summary["kept"] is None or not summary["read"]:
        return ()
    counts = [("kept", "kept", summary["kept"])]
    counts += [(f"removed: {reason}", "removed", n) for reason, n in summary["removed"].items()]
    counts += [("cut off in damaged shards", "cut", summary["cut"])] if summary["cut"] else []
    found, start = [], 0.0
    for word, kind, n in counts:
        width = 100 * n / summary["read"]
        found.append(Part(word, kind, n, round(start, 3), round(width, 3)))
        start += width
    return tuple(found)


def adds_up(summary: Mapping[str, Any]) -> bool:
    """Whether read = kept + removed + cut off."""
    return bool(summary["read"] == sum(part.n for part in parts(summary)))


def counted_tables(sizes: Mapping[str, Any]) -> Iterator[Counted]:
    """The breakdowns by source, format, resolution, fields and shard that there are."""
    tables = {
        "source": sizes.get("by_source"),
        "format": sizes["by_format"],
        "shorter side, pixels": sizes["by_resolution"],
        **{f"field {name}": table for name, table in list(sizes["by_field"].items())[:MOST_TABLES]},
        "shard": sizes["by_shard"],
    }
    yield from (_counted(title, table, sizes["total"]) for title, table in tables.items() if table is not None)


def _counted(title: str, table: Mapping[str, Any], total: Mapping[str, Any]) -> Counted:
    rows = [_row("(none)" if row["value"] is None else row["value"], row) for row in table["rows"][:MOST_ROWS]]
    n_left = table["of"] - len(rows)
    if n_left:
        before = total[_BEFORE] - sum(row.before for row in rows)
        after = total[_AFTER] - sum(row.after for row in rows)
        rows.append(Row(f"the other {n_left:,}", before, after))
    rows.append(_row("all", total))
    return Counted(title, table["order"], min(len(table["rows"]), MOST_ROWS), table["of"], tuple(rows))


def _row(value: str, sizes: Mapping[str, Any]) -> Row:
    return Row(value, sizes[_BEFORE], sizes[_AFTER], sizes["image_bytes_before"], sizes["image_bytes_after"])


@dataclass(frozen=True)
class Fact:
    """A fact of two pictures, and whether it is another for the second."""

    name: str
    one: str
    other: str

    @property
    def differs(self) -> bool:
        """Whether the two are not the same; keys and files never are, and say nothing."""
        return self.one != self.other and self.name not in ("key", "file")


def facts(one: Picture, other: Picture) -> tuple[Fact, ...]:
    """What is known of either of two pictures, side by side."""
    names = dict.fromkeys((*one.facts, *other.facts))
    return tuple(Fact(name, one.facts.get(name, ""), other.facts.get(name, "")) for name in names)


@dataclass(frozen=True)
class StepRow:
    """A step: its time, what it counted first, and how many of these a second."""

    name: str
    seconds: float
    n: int | None
    unit: str
    words: str

    @property
    def rate(self) -> float | None:
        """Per second."""
        return self.n / self.seconds if self.n is not None and self.seconds > 0 else None


# What a step counts that its rate is of, and its unit.
_RATED = {"samples": "images", "images": "images", "rows": "rows", "duplicates": "duplicates", "read": "samples"}


def step_rows(page: Page) -> tuple[StepRow, ...]:
    """The steps in the order of the data."""
    return tuple(_step_row(name, record) for name, record in page.report["steps"].items())


def _step_row(name: str, record: Mapping[str, Any]) -> StepRow:
    counts = record["counts"]
    key = next((each for each in _RATED if each in counts), None)
    if key == "duplicates":
        return StepRow(name, record["seconds"], None, "", f"{counts[key]:,} duplicates")
    n = None if key is None else counts[key]
    unit = _RATED.get(key or "", "")
    return StepRow(name, record["seconds"], n, unit, "" if n is None else f"{n:,} {unit}")
