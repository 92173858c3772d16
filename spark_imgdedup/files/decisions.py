"""What people have decided of pairs of images: lines of JSON, of which the latest on a pair stands. No Spark."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from spark_imgdedup.config import Config
from spark_imgdedup.errors import ConfigError, SchemaError
from spark_imgdedup.files import storage, writing

Verdict = Literal["same", "different", "unsure"]
VERDICTS: tuple[str, ...] = get_args(Verdict)
# Below work_dir, unless identify.decisions names other places.
FILE = "decisions.jsonl"
# Problems shown of a file that cannot be read.
_SHOWN = 5
_FIRST = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Decision:
    """What somebody has decided of two images.

    Attributes:
        one: An id; as text, the lower of the two.
        other: The other id.
        decision: Whether they show the same.
        time: When, in ISO 8601 with a time zone; None is before all others.
        band: The number of the band on the page, from 0 on; None where it was not drawn there.
        band_name: That band in words.
        band_pairs: Pairs of the run that the band holds.
        band_drawn: How many of them the page shows.
        page: The page's id.
    """

    one: str
    other: str
    decision: Verdict
    time: str | None = None
    band: int | None = None
    band_name: str | None = None
    band_pairs: int | None = None
    band_drawn: int | None = None
    page: str | None = None

    @property
    def pair(self) -> tuple[str, str]:
        """Both ids."""
        return self.one, self.other


@dataclass(frozen=True)
class Merged:
    """Decisions of several sources.

    Attributes:
        decisions: One for each pair, by the pair.
        conflicts: Pairs of which lines say different things.
    """

    decisions: tuple[Decision, ...]
    conflicts: tuple[tuple[str, str], ...]


def decision_places(config: Config) -> tuple[str, ...]:
    """Where decisions are read from: what identify.decisions names, or the file in work_dir that imports write."""
    return config.identify.decision_paths or (storage.join(config.work_dir, FILE),)


def import_place(config: Config) -> str:
    """The file that imports write: the first of `decision_places`, or a file in it where that is a folder."""
    first = decision_places(config)[0]
    return first if first.endswith(".jsonl") else storage.join(first, FILE)


def read_decisions(config: Config) -> Merged:
    """All decisions that the run minds.

    Raises:
        ConfigError: identify.decisions names a place without a file.
        SchemaError: a line is none; with its number, what and why.
    """
    found: list[Decision] = []
    for place in decision_places(config):
        files = storage.list_files(place, ".jsonl", config.storage_options)
        if not files and config.identify.decision_paths:
            raise ConfigError(
                f"identify.decisions: there is no .jsonl file at {place}. `spark-imgdedup review import` writes it; "
                "correct the path, or take the setting out until then."
            )
        for file in files:
            decisions, _ = parse(storage.read_text(file.url, config.storage_options), file.url)
            found += decisions
    return merge(found)


def different_pairs(config: Config) -> tuple[tuple[str, str], ...]:
    """The pairs that were called different, sorted.

    Raises:
        ConfigError: as `read_decisions`.
        SchemaError: as `read_decisions`.
    """
    return tuple(each.pair for each in read_decisions(config).decisions if each.decision == "different")


def parse(text: str, source: str) -> tuple[list[Decision], list[dict[str, Any]]]:
    """The decisions of a file, in order, and what its lines say of pages: objects with a key `bands`.

    Raises:
        SchemaError: a line is neither; with its number, what and why, for the first few.
    """
    decisions: list[Decision] = []
    pages: list[dict[str, Any]] = []
    problems: list[str] = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
            if not isinstance(found, dict):
                raise ValueError("it is no JSON object")
            if "bands" in found:
                pages.append(found)
            else:
                decisions.append(_decision(found))
        except (ValueError, RecursionError) as error:
            problems.append(f"line {number} ({line.strip()[:60]}): {error}")
    if problems:
        more = f"; and {len(problems) - _SHOWN:,} more" if len(problems) > _SHOWN else ""
        raise SchemaError(
            f"{source}: {len(problems):,} of its lines are no decisions: {'; '.join(problems[:_SHOWN])}{more}. A line "
            'is {"one": id, "other": id, "decision": "same", "different" or "unsure"}, and may have a time. Mend these '
            "lines or take them out; nothing was changed."
        )
    return decisions, pages


def merge(decisions: Iterable[Decision]) -> Merged:
    """One decision for each pair: the latest, of two of one time the one that comes later."""
    standing: dict[tuple[str, str], Decision] = {}
    said: dict[tuple[str, str], set[str]] = {}
    for each in decisions:
        said.setdefault(each.pair, set()).add(each.decision)
        before = standing.get(each.pair)
        if before is None or _when(each) >= _when(before):
            standing[each.pair] = each
    conflicts = tuple(sorted(pair for pair, words in said.items() if len(words) > 1))
    return Merged(tuple(standing[pair] for pair in sorted(standing)), conflicts)


def add_decisions(new: Sequence[Decision], config: Config) -> Merged:
    """Write these into the file that imports write, together with what it holds. The same ones twice change nothing.

    Raises:
        SchemaError: a line of the file is no decision.
    """
    place, options = import_place(config), config.storage_options
    text = storage.read_text(place, options) if storage.exists(place, options) else ""
    held, _ = parse(text, place)
    merged = merge([*held, *new])
    lines = "".join(f"{as_line(each)}\n" for each in merged.decisions)
    if lines != text:
        writing.write_bytes(place, lines.encode(), options)
    return merged


def as_line(decision: Decision) -> str:
    """A decision as its line, without what it does not say."""
    said = {name: value for name, value in asdict(decision).items() if value is not None}
    return json.dumps(said, ensure_ascii=False)


def _decision(found: dict[str, Any]) -> Decision:
    unknown = [name for name in ("one", "other", "decision") if name not in found]
    if unknown:
        raise ValueError(f"it has no {', '.join(unknown)}")
    ids = [_id(found[name], name) for name in ("one", "other")]
    if ids[0] == ids[1]:
        raise ValueError(f"both ids are {ids[0]!r}")
    if found["decision"] not in VERDICTS:
        raise ValueError(f"decision is {found['decision']!r}, and must be one of {', '.join(VERDICTS)}")
    known = {each.name: found[each.name] for each in fields(Decision) if each.name in found}
    for name in ("band", "band_pairs", "band_drawn"):
        value = known.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
            raise ValueError(f"{name} is {value!r}, and must be a whole number from 0 on")
    for name in ("time", "band_name", "page"):
        if known.get(name) is not None and not isinstance(known[name], str):
            raise ValueError(f"{name} is {known[name]!r}, and must be text")
    one, other = sorted(ids)
    decision = Decision(**known | {"one": one, "other": other})
    _when(decision)
    return decision


def _id(value: Any, name: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and value:
        return value
    raise ValueError(f"{name} is {value!r}, and must be an id: text, or a whole number")


def _when(decision: Decision) -> datetime:
    if decision.time is None:
        return _FIRST
    try:
        found = datetime.fromisoformat(decision.time)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise ValueError(f"time is {decision.time!r}, and must be like 2026-11-29T06:30:00Z")
    return found
