"""A file of decisions -> the decisions of the run, and what they say of it. No Spark."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from spark_imgdedup.config import Config
from spark_imgdedup.errors import ConfigError, without_credentials
from spark_imgdedup.files import storage
from spark_imgdedup.files.decisions import Decision, add_decisions, import_place, merge, parse
from spark_imgdedup.report.review.estimate import Estimate, LevelShare, estimate
from spark_imgdedup.report.review.model import PageHeader
from spark_imgdedup.runs import leases
from spark_imgdedup.runs.plan import searched_eps
from spark_imgdedup.runs.tables import Tables


@dataclass(frozen=True)
class TakenIn:
    """What an import did.

    Attributes:
        file: Where the decisions are now.
        counts: Pairs of the import by decision.
        new: Pairs that nobody had decided.
        changed: Pairs that are decided in another way than before.
        conflicts: Pairs on which lines, of this file or the one before, say different things; the latest stands.
        held: Pairs that are decided now.
        estimates: One for each page.
        min_precision: What the largest eps was asked for.
        searched: The eps that the search was made for.
        other_run: Pages that were made of another run than is there now.
    """

    file: str
    counts: dict[str, int]
    new: int
    changed: int
    conflicts: int
    held: int
    estimates: tuple[Estimate, ...]
    min_precision: float
    searched: float
    other_run: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """It as one JSON object."""
        pages = []
        for each in self.estimates:
            best = each.largest_eps(self.min_precision)
            pages.append(
                {
                    "page": each.header.page,
                    "run": each.header.run,
                    "is_of_this_run": each.header.page not in self.other_run,
                    "eps": each.header.eps,
                    "precision": None if each.own is None else _as_json(each.own),
                    "min_precision": self.min_precision,
                    "largest_eps": None if best is None else _as_json(best),
                    "levels": [_as_json(level) for level in each.levels],
                    "bands": [
                        asdict(band.band)
                        | {"judged_same": band.same, "judged_different": band.different, "judged_unsure": band.unsure}
                        for band in each.bands
                    ],
                }
            )
        counts = {"new": self.new, "changed": self.changed, "conflicts": self.conflicts, "held": self.held}
        about = {"file": self.file, "decided": self.counts, **counts}
        return about | {"searched_eps": self.searched, "pages": pages}

    def lines(self) -> Iterator[str]:
        """It as it is printed."""
        said = ", ".join(f"{n:,} {word}" for word, n in self.counts.items())
        yield f"decisions    {sum(self.counts.values()):,} pairs: {said}"
        yield f"kept in      {self.file}: {self.new:,} new, {self.changed:,} changed, {self.held:,} in all"
        if self.conflicts:
            yield f"conflicts    {self.conflicts:,} pairs were decided in two ways; the later decision stands"
        for each in self.estimates:
            yield from self._page_lines(each)
        if not self.estimates:
            yield "precision    not known: no line tells of a page, so these pairs weigh nothing"
        if self.counts.get("different"):
            yield "next         run identify again: no image goes for one that it was called different from"

    def _page_lines(self, found: Estimate) -> Iterator[str]:
        if found.header.page in self.other_run:
            yield f"beware       page {found.header.page} was made of another run: its numbers are of the tables before"
        for each in found.bands:
            if each.band.pairs:
                asked = f"{each.same + each.different + each.unsure:,} of {each.band.drawn:,} judged"
                unsure = f", {each.unsure:,} unsure" if each.unsure else ""
                yield (
                    f"  {each.band.name}: {asked}, {each.same:,} same, {each.different:,} different{unsure}; "
                    f"pairs in the band: {each.band.pairs:,}"
                )
        if found.own is not None:
            at = "" if found.own.eps is None else f" at eps {found.own.eps:g}"
            yield f"precision    {_in_words(found.own)}{at}"
        best = found.largest_eps(self.min_precision)
        if best is None and found.levels:
            asked = f"{self.min_precision:.1%}"
            yield f"eps          no interval lies above {asked}: judge more pairs, or lower --min-precision"
        elif best is not None and best.eps is not None:
            asked = f"{self.min_precision:.1%}"
            yield f"eps          {best.eps:g} is the largest whose interval lies above {asked}: {_in_words(best)}"
            if best.eps > self.searched:
                yield (
                    f"beware       the search was made for eps {self.searched:g} and may miss pairs beyond it: set "
                    f"pairwise.max_eps={best.eps:g}, run pairwise, and review again"
                )


def take_in(config: Config, path: str, *, min_precision: float = 0.95) -> TakenIn:
    """Check a file of decisions, add them to those of the run, and say what they tell of it.

    Args:
        config: The settings of the run.
        path: What the page of questions has given, or lines of one's own.
        min_precision: In (0, 1), for the largest eps.

    Raises:
        ConfigError: there is no such file, no run, or the precision is out of range.
        SchemaError: a line is no decision; nothing is changed then.
        LeaseError: a run works in work_dir now.
    """
    if not 0 < min_precision < 1:
        raise ConfigError(f"--min-precision {min_precision} must lie between 0 and 1, such as 0.95.")
    options = config.storage_options
    if not storage.is_file(path, options):
        raise ConfigError(f"{path}: there is no such file. Name the one that the page of questions has given.")
    if not config.identify.decision_paths and not storage.exists(config.work_dir, options):
        raise ConfigError(
            f"work_dir {config.work_dir} is not there, so no run would read these decisions. Correct work_dir, or set "
            "identify.decisions."
        )
    decisions, pages = parse(storage.read_text(path, options), path)
    mine = merge(decisions)
    estimates = tuple(_estimates(pages, mine.decisions, path))
    with leases.held(["review import"], config):
        before = {each.pair: each.decision for each in _held(config)}
        after = add_decisions(mine.decisions, config)
    now = {each.pair: each.decision for each in after.decisions}
    counts = Counter(each.decision for each in mine.decisions)
    return TakenIn(
        file=without_credentials(import_place(config)),
        counts={word: counts[word] for word in ("same", "different", "unsure")},
        new=sum(each.pair not in before for each in mine.decisions),
        changed=sum(before.get(pair, word) != word for pair, word in now.items()),
        conflicts=len({*mine.conflicts, *after.conflicts}),
        held=len(now),
        estimates=estimates,
        min_precision=min_precision,
        searched=searched_eps(config),
        other_run=tuple(each.header.page for each in estimates if each.header.run not in _runs(config)),
    )


def _held(config: Config) -> Sequence[Decision]:
    """The decisions of the file that imports write."""
    place, options = import_place(config), config.storage_options
    if not storage.exists(place, options):
        return ()
    return merge(parse(storage.read_text(place, options), place)[0]).decisions


def _estimates(pages: Sequence[dict[str, Any]], decisions: Sequence[Decision], path: str) -> Iterator[Estimate]:
    headers = {header.page: header for header in (PageHeader.from_json(page, path) for page in pages)}
    for header in headers.values():
        yield estimate(header, decisions, path)


def _runs(config: Config) -> set[str]:
    records = (Tables(None, config).record(step) for step in ("identify", "pairwise"))
    return {record.fingerprint for record in records if record is not None}


def _as_json(level: LevelShare) -> dict[str, Any]:
    share = level.share
    about = {"eps": level.eps, "pairs": level.pairs, "judged": level.judged}
    return about | {"precision": share.value, "low": share.low, "high": share.high}


def _in_words(level: LevelShare) -> str:
    share = level.share
    value = "not known" if share.value is None else f"{share.value:.1%}"
    return f"{value} (95 % interval {share.low:.1%} to {share.high:.1%}), by {level.judged:,} of {level.pairs:,} pairs"
