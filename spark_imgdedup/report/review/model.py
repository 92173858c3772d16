"""What a page of questions asks, and what its bands weigh."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spark_imgdedup.errors import SchemaError

_CHANGED = (
    "{source}: the line that tells of the page was changed, at {what}. Download the decisions from the page again; "
    "nothing was changed."
)


@dataclass(frozen=True)
class AskedBand:
    """A band of pairs, of which some are asked.

    Attributes:
        name: The band in words.
        kind: embedding, or phash for what hashes have found.
        low: The lowest cosine of its pairs; None for hashes.
        inside: Whether the run takes them; None where no eps is set.
        pairs: Pairs of the run that it holds.
        drawn: How many of them are asked, of those that nobody has decided.
        same: Pairs that were called the same before.
        different: Pairs that were called different before.
    """

    name: str
    kind: str
    low: float | None
    inside: bool | None
    pairs: int
    drawn: int = 0
    same: int = 0
    different: int = 0

    @property
    def n_open(self) -> int:
        """Pairs that may be asked, or were called unsure."""
        return self.pairs - self.same - self.different

    @classmethod
    def from_json(cls, found: Mapping[str, Any], source: str) -> AskedBand:
        """The band that a line tells of.

        Raises:
            SchemaError: it is something else.
        """
        numbers = ("pairs", "drawn", "same", "different")
        try:
            band = cls(**found)
            counts = [getattr(band, name) for name in numbers]
            is_right = all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in counts)
            is_right = is_right and band.same + band.different <= band.pairs and isinstance(band.name, str)
            is_right = is_right and (band.low is None or isinstance(band.low, int | float))
        except TypeError:
            is_right = False
        if not is_right:
            raise SchemaError(_CHANGED.format(source=source, what=str(found)[:120]))
        return band


@dataclass(frozen=True)
class Question:
    """Two images: as text `one` sorts first, which says nothing of their ranks.

    Attributes:
        one: An id.
        other: The other id.
        band: The place of their band.
        is_turned: Whether `other` is on the left.
    """

    one: str
    other: str
    band: int
    is_turned: bool


@dataclass(frozen=True)
class PageHeader:
    """What the first line of a file of decisions says of the page that has asked.

    Attributes:
        page: Its id: of the same run, seed and questions it is the same.
        run: The fingerprint of the step whose pairs they are.
        eps: The run's; None where none is set.
        bands: They.
    """

    page: str
    run: str
    eps: float | None
    bands: tuple[AskedBand, ...]

    @classmethod
    def from_json(cls, found: Mapping[str, Any], source: str) -> PageHeader:
        """The header that a line tells of.

        Raises:
            SchemaError: it is something else.
        """
        eps, bands = found.get("eps"), found.get("bands")
        is_right = isinstance(found.get("page"), str) and isinstance(bands, list)
        if not is_right or not (eps is None or isinstance(eps, int | float)):
            raise SchemaError(_CHANGED.format(source=source, what=str(dict(found))[:120]))
        told = tuple(AskedBand.from_json(each, source) for each in bands or ())
        return cls(str(found["page"]), str(found.get("run")), eps, told)


@dataclass(frozen=True)
class Asked:
    """All that a page asks.

    Attributes:
        header: Of the page.
        questions: In the order in which they are asked.
        n_left_out: Pairs that are farther apart than all bands.
        waits_for_hashes: Whether pairs that hashes will find are not among them, since `identify` has not run.
    """

    header: PageHeader
    questions: tuple[Question, ...]
    n_left_out: int = 0
    waits_for_hashes: bool = False
