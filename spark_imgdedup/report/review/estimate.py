"""Decisions on the pairs of a page -> how often the run is right, and up to which eps often enough. No Spark."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from spark_imgdedup.errors import SchemaError
from spark_imgdedup.files.decisions import Decision
from spark_imgdedup.kernels.strata import Share, Stratum, share_of
from spark_imgdedup.report.review.model import AskedBand, PageHeader


@dataclass(frozen=True)
class Judged:
    """A band and what was decided in it.

    Attributes:
        band: It.
        same: Pairs of the page that were called the same.
        different: Pairs that were called different.
        unsure: Pairs that were called unsure: they count as not judged.
    """

    band: AskedBand
    same: int = 0
    different: int = 0
    unsure: int = 0

    @property
    def strata(self) -> tuple[Stratum, ...]:
        """What was decided before, and the rest, of which the page has asked some."""
        before = self.band.same + self.band.different
        judged = self.same + self.different
        return Stratum(before, before, self.band.same), Stratum(self.band.n_open, judged, self.same)


@dataclass(frozen=True)
class LevelShare:
    """The precision at an eps: the share of pairs within it, and of those found by hashes, that are the same.

    `eps` is None where hashes alone decide; `pairs` are all of them, `judged` those that people have decided.
    """

    eps: float | None
    pairs: int
    judged: int
    share: Share


@dataclass(frozen=True)
class Estimate:
    """What the decisions on a page say.

    Attributes:
        header: Of the page.
        bands: As the page has them, with what was decided.
        own: The precision at the run's eps; None where there is no pair within it.
        levels: At the end of each band, by ascending eps.
    """

    header: PageHeader
    bands: tuple[Judged, ...]
    own: LevelShare | None
    levels: tuple[LevelShare, ...]

    def largest_eps(self, min_precision: float) -> LevelShare | None:
        """The largest eps of which the lower end of the interval is at least that; None where there is none."""
        return next((each for each in reversed(self.levels) if each.share.low >= min_precision), None)


def estimate(header: PageHeader, decisions: Iterable[Decision], source: str) -> Estimate:
    """What these decisions say of the run.

    Args:
        header: Of the page.
        decisions: One for each pair; those of other pages are left out.
        source: Named in errors.

    Raises:
        SchemaError: more was decided than was asked.
    """
    bands = header.bands
    counts: Counter[tuple[int | None, str]] = Counter()
    for each in decisions:
        if each.page == header.page:
            counts[each.band, each.decision] += 1
    judged = tuple(
        Judged(band, *(counts[place, word] for word in ("same", "different", "unsure")))
        for place, band in enumerate(bands)
    )
    beyond = [place for place, _ in counts if place is None or place >= len(bands)]
    more = [each.band.name for each in judged if each.same + each.different + each.unsure > each.band.drawn]
    if beyond or more:
        what = f"a band {beyond[0]}, which the page has not" if beyond else f"more pairs of {more[0]!r} than it asked"
        raise SchemaError(
            f"{source}: it decides {what}, so its lines were changed. Download the decisions from page {header.page} "
            "again; nothing was changed."
        )
    own, levels = _levels(judged, header.eps)
    return Estimate(header, judged, own, levels)


def _levels(judged: Sequence[Judged], eps: float | None) -> tuple[LevelShare | None, tuple[LevelShare, ...]]:
    always = [each for each in judged if each.band.low is None]
    scored = sorted((each for each in judged if each.band.low is not None), key=lambda each: -(each.band.low or 0.0))
    levels: list[LevelShare] = []
    taken = list(always)
    for each in scored:
        taken.append(each)
        if (level := _level(round(1 - (each.band.low or 0.0), 6), taken)) is not None:
            levels.append(level)
    own = next((level for level in levels if eps is not None and abs((level.eps or 0.0) - eps) < 5e-7), None)
    if not scored and eps is None:
        own = _level(None, always)  # hashes alone decide
    return own, tuple(levels)


def _level(eps: float | None, taken: Sequence[Judged]) -> LevelShare | None:
    pairs = sum(each.band.pairs for each in taken)
    if not pairs:
        return None
    strata = [stratum for each in taken for stratum in each.strata]
    return LevelShare(eps, pairs, sum(stratum.seen for stratum in strata), share_of(strata))
