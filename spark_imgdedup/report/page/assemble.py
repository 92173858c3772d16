"""What was drawn and what is known of it, put together as the page shows it. No Spark."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from spark_imgdedup.config import Config
from spark_imgdedup.report.page.draw import DrawnBand, DrawnGroup, DrawnPair
from spark_imgdedup.report.page.facts import Known
from spark_imgdedup.report.page.model import KEPT, KINDS, LEAVING, OPEN, REMOVED, Band, Group, Member, Pair, Picture
from spark_imgdedup.report.page.undo import undo_command


@dataclass(frozen=True)
class Shown:
    """Pictures by id: a data URI, or why there is none."""

    uris: Mapping[str, str]
    problems: Mapping[str, str]


def band(drawn: DrawnBand, known: Known, shown: Shown, config: Config) -> Band:
    """The pairs of a band with their pictures."""
    pairs = tuple(
        Pair(
            picture(each.better, known, shown),
            picture(each.other, known, shown),
            measure(each, drawn.kind),
            verdict(each, known, inside=drawn.inside, rule=config.identify.rule),
        )
        for each in drawn.pairs
    )
    return Band(drawn.kind, drawn.title, drawn.inside, drawn.n_all, pairs, drawn.table)


def group(drawn: DrawnGroup, known: Known, shown: Shown) -> Group:
    """A group with its pictures."""
    members = tuple(
        Member(picture(pair.other, known, shown), measure(pair, found_by)) for pair, found_by in drawn.members
    )
    return Group(
        kept=picture(drawn.kept, known, shown),
        n_all=drawn.n_all,
        members=members,
        lowest=drawn.lowest,
        found_by=drawn.found_by,
        lowest_of_two=drawn.lowest_of_two,
        n_compared=drawn.n_compared,
    )


def picture(image_id: str, known: Known, shown: Shown) -> Picture:
    """An image with what is known of it."""
    facts, became = known.facts.get(image_id, {}), status(image_id, known)
    undo = undo_command(image_id, known.settings) if became == REMOVED else None
    return Picture(image_id, became, facts, shown.uris.get(image_id), shown.problems.get(image_id), undo)


def status(image_id: str, known: Known) -> str:
    """What became of an image, or would."""
    if known.removed is not None:
        return REMOVED if image_id in known.removed else KEPT
    if known.decisions is None:
        return OPEN
    return LEAVING if image_id in known.decisions or image_id in known.rejected else KEPT


def measure(pair: DrawnPair, kind: str) -> str:
    """What was measured, in words."""
    if kind == "exact":
        return "same bytes or same pixels"
    parts = [f"cosine {pair.cosine:.6f}"] if pair.cosine is not None else []
    if pair.hamming is not None:
        parts.append(f"hashes {pair.hamming} {'bit' if pair.hamming == 1 else 'bits'} apart")
    return ", ".join(parts) or KINDS[kind][1]


def verdict(pair: DrawnPair, known: Known, *, inside: bool | None, rule: str) -> str:
    """Why the second image of a pair goes or stays, in a sentence."""
    if known.decisions is None:
        by_eps = {True: "Within eps.", False: "Outside eps.", None: ""}[inside]
        return f"{by_eps} Not decided yet: identify has not run.".strip()
    found = known.decisions.get(pair.other)
    if found is None:
        if pair.other in known.rejected:
            return f"Not a duplicate, but refused: {known.rejected[pair.other]}."
        if tuple(sorted((pair.better, pair.other))) in known.different:
            return "No duplicate: somebody has called these two different."
        why = "outside eps" if inside is False else f"by rule {rule}, no image that stays is near enough"
        return f"No duplicate: {why}."
    word, detector = KINDS.get(found["found_by"], (found["found_by"], found["found_by"]))
    rule, kept = found.get("rule") or rule, found.get("kept_id", found["max_id"])
    stays = "the image beside it" if str(kept) == pair.better else str(kept)
    left_in = known.removed is not None and pair.other not in known.removed
    return f"{word.capitalize()}, found by {detector}; rule {rule}: goes for {stays}" + (
        ", but remove has left it in." if left_in else "."
    )
