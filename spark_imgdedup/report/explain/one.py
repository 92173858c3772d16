"""Why one image went or stayed. No Spark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from spark_imgdedup.config import Config
from spark_imgdedup.report.explain.model import Check, Explanation, Gathered
from spark_imgdedup.report.explain.ranked import better_of, shown
from spark_imgdedup.report.page.model import KEPT, KINDS, LEAVING, OPEN, REMOVED
from spark_imgdedup.report.page.undo import stored_settings, undo_command
from spark_imgdedup.stages.identify import similarity_threshold

# Lists of ids by which an image stays, and what each is called.
_STAYS = {"remove.never": "must stay", "restored": "was brought back"}


def explain_one(image_id: str, gathered: Gathered, config: Config) -> Explanation:
    """What each step has found of an image, what became of it, and why.

    Args:
        image_id: Its id.
        gathered: What the tables hold of it, and of those that it went for or resembles.
        config: The settings in effect.
    """
    checks = (
        *_read(image_id, gathered),
        *_filters(image_id, gathered, config),
        *_copies(image_id, gathered),
        *_nearest(image_id, gathered),
        *_decided(image_id, gathered, config),
        *listed(image_id, gathered),
        *_removed(image_id, gathered),
    )
    outcome, verdict = _verdict(image_id, gathered, config)
    partner = partner_of(image_id, gathered)
    undo = undo_command(image_id, stored_settings(config)) if outcome == REMOVED else None
    return Explanation((image_id,), outcome, verdict, checks, gathered.not_known, partner, undo)


def partner_of(image_id: str, gathered: Gathered) -> str | None:
    """The image that stays for another one, or else the one that it resembles most."""
    for table, name in (
        ("duplicates", "kept_id"),
        ("duplicates", "max_id"),
        ("copies", "max_id"),
        ("similarities", "max_id"),
    ):
        found = gathered.row(table, image_id).get(name)
        if found is not None and str(found) != image_id:
            return str(found)
    return None


def decision_in_words(row: Mapping[str, Any]) -> str:
    """A row of `duplicates`: for whom it goes, and what found it."""
    kept = row.get("kept_id", row.get("max_id"))
    word, detector = KINDS.get(row.get("found_by") or "", ("duplicate", row.get("found_by") or "not told"))
    numbers = []
    if row.get("found_by") != "exact" and (cosine := row.get("cosine_sim_score")) is not None and cosine == cosine:
        numbers.append(f"cosine {cosine:.6f}")
    if row.get("hamming") is not None:
        numbers.append(f"hashes {row['hamming']} bits apart")
    near = f" ({', '.join(numbers)})" if numbers else ""
    return f"goes for {kept}: {word}, found by {detector}{near}, by rule {row.get('rule') or 'semdedup'}"


def listed(image_id: str, gathered: Gathered, prefix: str = "") -> Iterator[Check]:
    """The lists that name it."""
    for name, ids in gathered.lists.items():
        if image_id in ids:
            what = _STAYS.get(name, "is to be removed")
            yield Check(f"{prefix}in {name}", f"yes: it {what}", "", name not in _STAYS, True)


def _read(image_id: str, gathered: Gathered) -> Iterator[Check]:
    table = next((name for name in ("embeddings", "hashes") if name in gathered.rows), None)
    row = gathered.row(table, image_id) if table else {}
    if not row:
        return
    why = row.get("rejected_because")
    if why is not None:
        yield Check(
            "read", f"not usable: {why}" + (f" ({row['error']})" if row.get("error") else ""), "a readable image"
        )
        return
    size = f"{row.get('image_format')}, {shown(row.get('width'))} x {shown(row.get('height'))}"
    yield Check("read", f"{size}, {shown(row.get('image_bytes'))} bytes", "a readable image", False)


def _filters(image_id: str, gathered: Gathered, config: Config) -> Iterator[Check]:
    row, score = gathered.row("scored", image_id), config.score
    limits = {"aesthetic": (score.min_aesthetic_score, None), "nsfw": (None, score.max_nsfw_score)}
    limits |= {each.name: (each.min_score, each.max_score) for each in score.scorers}
    why = row.get("rejected_because")
    for name, (least, most) in limits.items():
        value = row.get(f"{name}_score")
        if value is None:
            continue
        needed = [f"at least {least:g}"] if least is not None else []
        needed += [f"below {most:g}"] if most is not None else []
        rejected = why in (name, f"{name}_nan")
        yield Check(f"filter {name}", f"{value:.6g}", " and ".join(needed), rejected if needed else None, value)


def _copies(image_id: str, gathered: Gathered) -> Iterator[Check]:
    if "copies" not in gathered.rows:
        return
    row = gathered.row("copies", image_id)
    if row:
        found = f"equal to {row['max_id']}, which ranks first of {row['group_size']:,} such images"
        yield Check("exact copies", found, "equal bytes or pixels", True, str(row["max_id"]))
    else:
        yield Check("exact copies", "none that ranks before it", "equal bytes or pixels", False)


def _nearest(image_id: str, gathered: Gathered) -> Iterator[Check]:
    row = gathered.row("similarities", image_id)
    if not row:
        return
    name, cosine = "nearest that ranks before it", row["cosine_sim_score"]
    if str(row["max_id"]) == image_id:
        yield Check(name, f"none: it ranks first of all it was compared with (cluster {row['cluster_id']})")
        return
    needed, near = "", None
    if gathered.eps is not None:
        least = similarity_threshold(gathered.eps)
        needed, near = f"at least {least:.6g} (1 - eps {gathered.eps:g})", bool(cosine >= least)
    yield Check(name, f"{row['max_id']}, cosine {cosine:.6f} (cluster {row['cluster_id']})", needed, near, cosine)


def _decided(image_id: str, gathered: Gathered, config: Config) -> Iterator[Check]:
    if "duplicates" not in gathered.rows:
        return
    row = gathered.row("duplicates", image_id)
    if not row:
        n = gathered.gone_for.get(image_id, 0)
        yield Check("duplicate", "no" + (f"; it stays for {n:,} others that go" if n else ""), "", False, False)
        return
    yield Check("duplicate", decision_in_words(row), "", True, True)
    if (group := row.get("group_id")) is not None:
        yield Check("group", f"that of {group}, which ranks first in it", "", None, str(group))
    kept = row.get("kept_id")
    if kept is not None:
        better, why = better_of(str(kept), image_id, gathered, config)
        found = why if better == str(kept) else f"it does not: {image_id} does ({why})"
        yield Check(f"{kept} ranks before it", found)


def _removed(image_id: str, gathered: Gathered) -> Iterator[Check]:
    if "removed" in gathered.rows:
        row = gathered.row("removed", image_id)
        yield Check("removed", f"yes: {row['reason']}" if row else "no", "", bool(row), bool(row))


def _verdict(image_id: str, gathered: Gathered, config: Config) -> tuple[str, str]:
    decision = gathered.row("duplicates", image_id)
    refused = _refusal(image_id, gathered)
    if "removed" in gathered.rows:
        row = gathered.row("removed", image_id)
        if row:
            why = {
                "duplicate": decision_in_words(decision) if decision else "a duplicate, by identify",
                "listed": "a list of remove.ids_path names it",
            }.get(row["reason"], f"refused: {row['reason']}")
            return REMOVED, f"It was removed: {why}."
        stays = [what for name, what in _STAYS.items() if gathered.is_in(name, image_id)]
        against = [decision_in_words(decision)] if decision else [f"refused: {refused}"] if refused else []
        if against and stays:
            return KEPT, f"It stays since it {' and '.join(stays)}. Otherwise: {against[0]}."
        if decision:
            why = "remove.drop leaves duplicates in, or remove.ids_path stands in their place"
            return KEPT, f"It stays, though identify found that it {decision_in_words(decision)}: {why}."
        if refused:
            return KEPT, f"It stays, though refused ({refused}): remove.unreadable and remove.drop leave it in."
        return KEPT, f"It stays: {_why_it_stays(image_id, gathered)}."
    if decision:
        return LEAVING, f"It would go, since remove has not run: {decision_in_words(decision)}."
    if refused:
        return OPEN, f"It takes no further part: {refused}. Whether it leaves is for remove to say."
    if "duplicates" in gathered.rows:
        return KEPT, f"It would stay: {_why_it_stays(image_id, gathered)}."
    return OPEN, "Not decided yet: identify has not run."


def _refusal(image_id: str, gathered: Gathered) -> str | None:
    for table in ("scored", "embeddings", "hashes", "clusters"):
        why = gathered.row(table, image_id).get("rejected_because")
        if why is not None:
            return str(why)
    return None


def _why_it_stays(image_id: str, gathered: Gathered) -> str:
    n = gathered.gone_for.get(image_id, 0)
    if n:
        return f"it ranks first of the images that count as one with it, and {n:,} of them go for it"
    row = gathered.row("similarities", image_id)
    if (
        row
        and str(row["max_id"]) != image_id
        and gathered.eps is not None
        and row["cosine_sim_score"] >= similarity_threshold(gathered.eps)
    ):
        return f"the image it resembles most, {row['max_id']}, goes itself or counts as another one"
    return "no image that stays and ranks before it is near enough"
