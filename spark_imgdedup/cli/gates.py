"""`--fail-if "duplicates > 40%"`: a limit to a count of a run, beyond which the command ends with exit code 1."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spark_imgdedup.errors import ConfigError

if TYPE_CHECKING:
    from spark_imgdedup.report.summary import Summary

_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    **{">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le, "==": operator.eq, "!=": operator.ne},
}
# The counts of a summary that a gate may name, and the count that a share of each is of; None: it is no share.
NAMES: Mapping[str, str | None] = {
    "read": None,
    "not_read": None,
    "unreadable": "read",
    "damaged_shards": None,
    "clusters": None,
    "largest_cluster": "clustered",
    "duplicates": "read",
    "uncovered": "duplicates",
    "groups": None,
    "wiped_out": "groups",
    "both_stay": "read",
    "removed": "read",
    "cut": "read",
    "kept": "read",
    "ids_unmatched": None,
}
# Counts that are 0 in a summary where no step has counted: that step's own count tells.
_COUNTED_WITH = {
    **dict.fromkeys(("uncovered", "groups", "wiped_out", "both_stay"), "duplicates"),
    **dict.fromkeys(("not_read", "unreadable", "damaged_shards"), "read"),
    **dict.fromkeys(("removed", "cut", "ids_unmatched"), "kept"),
}
_GATE = re.compile(r"\s*(\w+)\s*(>=|<=|==|!=|>|<)\s*(\d[\d_,]*(?:\.\d+)?)\s*(%?)\s*")


@dataclass(frozen=True)
class Gate:
    """A limit: `name` of `text` is held against `limit`, a share of another count where `is_share`."""

    text: str
    name: str
    sign: str
    limit: float  # percent where is_share
    is_share: bool


@dataclass(frozen=True)
class Verdict:
    """What a gate found: the count, what a share is of, and whether the command fails by it."""

    gate: str
    value: int
    of: int | None
    failed: bool

    def in_words(self) -> str:
        """Such as "duplicates > 40%: 412 of 900 (45.8%)"."""
        share = f" of {self.of:,} ({self.value / self.of:.1%})" if self.of else ""
        return f"{self.gate}: {self.value:,}{share}"


def parse_gates(texts: Sequence[str]) -> list[Gate]:
    """The gates of a command line, read before any work.

    Raises:
        ConfigError: one is not of the form `count > number` or `count > number%`, or there is no such count.
    """
    return [_parse(text) for text in texts]


def _parse(text: str) -> Gate:
    found = _GATE.fullmatch(text)
    if found is None:
        raise ConfigError(
            f"--fail-if: '{text}' is no limit. Write a count, one of > >= < <= == !=, and a number or a share: "
            "'duplicates > 40%', 'unreadable > 100'."
        )
    name, sign, number, percent = found.groups()
    if name not in NAMES:
        raise ConfigError(f"--fail-if: no count is called '{name}'. There are {', '.join(NAMES)}.")
    if percent and NAMES[name] is None:
        raise ConfigError(f"--fail-if: '{text}': {name} is no part of another count. Write a number without %.")
    limit = float(number.replace(",", "").replace("_", ""))
    return Gate(" ".join(text.split()), name, sign, limit, bool(percent))


def hold(gates: Sequence[Gate], summary: Summary) -> list[Verdict]:
    """What each gate says of a run.

    Raises:
        ConfigError: a count is named that no step of this run has counted.
    """
    return [_hold(gate, summary) for gate in gates]


def _hold(gate: Gate, summary: Summary) -> Verdict:
    value = _number(gate.name, summary)
    whole = NAMES[gate.name]
    of = None if whole is None else _number(whole, summary)
    if value is None or (gate.is_share and of is None):
        raise ConfigError(
            f"--fail-if: '{gate.text}': no step has counted {gate.name if value is None else whole} yet. Name a count "
            "of the steps that are taken, or take the others too."
        )
    held = (100 * value / of if of else 0.0) if gate.is_share else value
    return Verdict(gate.text, value, of, _COMPARE[gate.sign](held, gate.limit))


def _number(name: str, summary: Summary) -> int | None:
    counted_with = _COUNTED_WITH.get(name)
    if counted_with is not None and getattr(summary, counted_with) is None:
        return None
    found: Any = getattr(summary, name)
    if isinstance(found, Mapping):
        return sum(found.values())
    return len(found) if isinstance(found, tuple) else found
