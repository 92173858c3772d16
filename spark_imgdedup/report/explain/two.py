"""Why two images are a pair, or none. No Spark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from spark_imgdedup.config import Config
from spark_imgdedup.report.explain.evidence import Measured, measure_pair
from spark_imgdedup.report.explain.model import Check, Explanation, Gathered
from spark_imgdedup.report.explain.one import decision_in_words, listed
from spark_imgdedup.report.explain.ranked import better_of

PAIR, NO_PAIR, OPEN = "pair", "no pair", "not decided"


def explain_two(one: str, other: str, gathered: Gathered, config: Config) -> Explanation:
    """The checks of a pair with their numbers, what became of both, and the verdict.

    Args:
        one: An id.
        other: Another one.
        gathered: What the tables hold of both.
        config: The settings in effect.
    """
    measured = measure_pair(one, other, gathered, config)
    better, why = better_of(one, other, gathered, config)
    worse = other if better == one else one
    rank = Check("ranks first, and so would stay", f"{better}: {why}")
    checks = (
        *measured.checks,
        *_searched(one, other, gathered),
        rank,
        *(check for each in (one, other) for check in _became(each, gathered)),
    )
    outcome, verdict = _verdict(better, worse, measured, gathered, config)
    return Explanation((one, other), outcome, verdict, checks, gathered.not_known)


def _searched(one: str, other: str, gathered: Gathered) -> Iterator[Check]:
    clusters = [gathered.row("clusters", each).get("cluster_id") for each in (one, other)]
    if "clusters" not in gathered.rows:
        return
    copies = [each for each in (one, other) if each in gathered.rows.get("copies", {})]
    if copies:
        yield Check(
            "clusters", f"{' and '.join(copies)} was not clustered: an exact copy of another image stood for it"
        )
        return
    if None in clusters:
        yield Check("clusters", "one of them has no cluster: it was not usable, or a filter took it out before")
        return
    found = f"both in {clusters[0]}" if clusters[0] == clusters[1] else f"{clusters[0]} and {clusters[1]}"
    yield Check("clusters", found)
    compared = gathered.compared.get(frozenset((one, other)))
    if compared is not None:
        said = "yes" if compared else "no: pairs of two clusters that are not near each other's border are left out"
        yield Check(f"compared by the search (probes {gathered.probes})", said, "", None, compared)


def _became(image_id: str, gathered: Gathered) -> Iterator[Check]:
    if "duplicates" in gathered.rows:
        row = gathered.row("duplicates", image_id)
        yield Check(f"{image_id}, by identify", decision_in_words(row) if row else "stays: it is no duplicate")
    if "removed" in gathered.rows:
        row = gathered.row("removed", image_id)
        yield Check(f"{image_id}, by remove", f"removed: {row['reason']}" if row else "not removed")
    yield from listed(image_id, gathered, prefix=f"{image_id}, ")


def _verdict(better: str, worse: str, measured: Measured, gathered: Gathered, config: Config) -> tuple[str, str]:
    if "duplicates" not in gathered.rows:
        return OPEN, f"Not decided yet: identify has not run. {_by_numbers(measured)}"
    rows = {each: gathered.row("duplicates", each) for each in (better, worse)}
    for goes, stays in ((worse, better), (better, worse)):
        if rows[goes] and stays in (_text(rows[goes], "kept_id"), _text(rows[goes], "max_id")):
            return PAIR, f"They are a pair: {goes} {decision_in_words(rows[goes])}."
    return (NO_PAIR if not measured.is_near else PAIR), " ".join(_apart(better, worse, measured, gathered, config))


def _apart(better: str, worse: str, measured: Measured, gathered: Gathered, config: Config) -> Iterator[str]:
    """Why neither of two images goes for the other."""
    rows = {each: gathered.row("duplicates", each) for each in (better, worse)}
    kept = {each: _text(row, "kept_id") for each, row in rows.items()}
    yield _by_numbers(measured)
    if rows[better] and rows[worse] and kept[better] == kept[worse]:
        yield f"Both go for {kept[worse]}, which ranks before them."
    elif measured.is_near and rows[worse]:
        yield f"But {worse} goes for {kept[worse]} instead: of all that are near it and stay, that one ranks first."
    elif measured.is_near and gathered.is_in("remove.never", worse):
        yield f"But {worse} must stay: remove.never names it."
    elif measured.is_near and rows[better]:
        yield (
            f"But {better} goes itself, for {kept[better]}, and rule {config.identify.rule} removes an image only for "
            f"one that stays."
        )
    elif measured.is_near and gathered.compared.get(frozenset((better, worse))) is False:
        yield (
            f"But the search did not compare them (probes {gathered.probes}), and no other pair brought them into one "
            "group. pairwise.probes=all compares every pair."
        )
    elif measured.is_near:
        yield "But identify has found no pair: its tables are of other settings, or it looked at other numbers."
    else:
        for each in (better, worse):
            if rows[each]:
                yield f"{each} goes for {kept[each]}."


def _by_numbers(measured: Measured) -> str:
    if measured.is_near is None:
        return "Too little is known of the two to say whether they count as one image."
    if measured.is_near:
        return "By these numbers they count as one image."
    return "They are no pair: none of the checks speaks for it."


def _text(row: Mapping[str, Any], name: str) -> str | None:
    return None if row.get(name) is None else str(row[name])
