"""What each step counts: a record of its own type, as its JSON record holds it, and as it reads in a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self


@dataclass(frozen=True)
class StepCounts:
    """The counts of some step."""

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """The counts that a record holds.

        Raises:
            ValueError: they are of another shape, such as an older version's.
        """
        names = {each.name for each in fields(cls)}
        if set(found) != names:
            raise ValueError(f"{cls.__name__} has {', '.join(sorted(names))}, not {', '.join(sorted(found))}")
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in found.items()})

    @property
    def table_rows(self) -> int:
        """Rows of the table of all images that the step begins; 0 for a step that reads one counted by another."""
        return 0

    def in_words(self, seconds: float) -> str:
        """The counts in a line, with what they took."""
        raise NotImplementedError


def not_read_in_words(not_read: Mapping[str, int]) -> str:
    """The files below an input that are not read, to be added to a line: "; not read: heic 12, hidden folder 3"."""
    return f"; not read: {', '.join(f'{why} {n:,}' for why, n in not_read.items())}" if not_read else ""


@dataclass(frozen=True)
class ImageCounts(StepCounts):
    """What became of the images of the input; `hashes` are those that were taken of each."""

    samples: int
    embedded: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)  # by reason
    image_bytes: int = 0
    damaged_shards: tuple[str, ...] = ()  # the first of them, with what was wrong
    n_damaged_shards: int = 0
    hashes: tuple[str, ...] = ()
    not_read: Mapping[str, int] = field(default_factory=dict)  # files below the input, by reason

    @property
    def table_rows(self) -> int:
        """One for each of these."""
        return self.samples

    def in_words(self, seconds: float) -> str:
        """The counts in a line, with what they took."""
        rate = self.samples / seconds if seconds else 0
        return (
            f"{self.samples:,} images in {seconds:.1f} s ({rate:.1f} images/s), {sum(self.rejected.values()):,} of "
            f"them without a usable image{not_read_in_words(self.not_read)}"
        )


@dataclass(frozen=True)
class ScoreCounts(StepCounts):
    """Rows, those that the filters reject, and the least, median and greatest of each score."""

    rows: int
    rejected: Mapping[str, int] = field(default_factory=dict)  # by reason
    scores: Mapping[str, Sequence[float] | None] = field(default_factory=dict)

    @property
    def table_rows(self) -> int:
        """One for each of these."""
        return self.rows

    def in_words(self, seconds: float) -> str:
        """The counts in a line, with what they took."""
        reasons = ", ".join(f"{reason} {n:,}" for reason, n in self.rejected.items()) or "none rejected"
        return f"{self.rows:,} rows scored in {seconds:.1f} s: {reasons}"


@dataclass(frozen=True)
class DetectCounts(StepCounts):
    """What the searches by hashes found; None is a search that was not asked for."""

    images: int
    copies: int | None = None
    near_hashes: int | None = None
    lossless_radius: int | None = None  # bits up to which every pair of near hashes is found
    expected_recall: Mapping[str, float] = field(default_factory=dict)  # beyond it, by bits

    def in_words(self, seconds: float) -> str:
        """The counts in a line, with what they took."""
        found = {"exact copies": self.copies, "pairs of near hashes": self.near_hashes}
        parts = ", ".join(f"{n:,} {words}" for words, n in found.items() if n is not None)
        beyond = list(self.expected_recall.items())
        lost = f"; of pairs {beyond[-1][0]} bits apart about {beyond[-1][1]:.1%} are found" if beyond else ""
        return f"{parts} among {self.images:,} images in {seconds:.1f} s{lost}"


@dataclass(frozen=True)
class ClusterCounts(StepCounts):
    """Rows in clusters, and those that no cluster takes."""

    rows: int
    clusters: int
    largest: int  # rows of the largest
    rejected: Mapping[str, int] = field(default_factory=dict)  # by reason

    @property
    def table_rows(self) -> int:
        """One for each of these."""
        return self.rows

    def in_words(self, seconds: float) -> str:
        """The counts in a line, with what they took."""
        return f"{self.rows:,} rows in {self.clusters:,} clusters, the largest {self.largest:,}, in {seconds:.1f} s"


@dataclass(frozen=True)
class PairwiseCounts(StepCounts):
    """Rows that were compared, how many comparisons that took, and which share of the near pairs it finds."""

    rows: int
    probes: str = "home"  # where rows were compared, as `Plan` says it
    why: str = ""
    eps: float = 0.0  # what the search was made for
    for_any_eps: bool = False  # it would be the same for another
    comparisons: int = 0
    recall: Mapping[str, float | None] = field(default_factory=dict)  # value, low, high, pairs, rows

    def in_words(self, seconds: float) -> str:
        """The counts in a line, with what they took."""
        share = self.recall.get("value")
        found = "" if share is None else f", {share:.2%} of the pairs within {self.eps:g} found"
        work = f"{self.rows:,} rows compared ({self.probes}) by {self.comparisons:,} comparisons"
        return f"{work}{found}, in {seconds:.1f} s"


@dataclass(frozen=True)
class GroupCounts(StepCounts):
    """Images that may count as one with another, and the groups that these are in."""

    rows: int
    groups: int
    largest: int  # rows of the largest
    eps: float = 0.0  # that of the search whose links they are made of

    def in_words(self, seconds: float) -> str:
        """The counts in a line, with what they took."""
        return f"{self.rows:,} rows in {self.groups:,} groups, the largest {self.largest:,}, in {seconds:.1f} s"


@dataclass(frozen=True)
class IdentifyCounts(StepCounts):
    """Duplicates, by the search that found them; eps is None where hashes alone decide."""

    eps: float | None
    duplicates: int
    found_by: Mapping[str, int] = field(default_factory=dict)
    rule: str = "semdedup"
    uncovered: int = 0  # duplicates that name an image which goes itself
    groups: int = 0  # images that stay for others
    wiped_out: int = 0  # of these, such as go themselves
    both_stay: int = 0  # images that must stay, and repeat another one that must
    different: int = 0  # pairs that people have called different
    decided_unknown: int = 0  # ids in decisions that the dataset has not
    measured_for: int | None = None  # for so many images that eps is right with the encoder

    def in_words(self, seconds: float) -> str:
        """The counts in a line, with what they took."""
        by = ", ".join(f"{n:,} by {name}" for name, n in self.found_by.items())
        at = "" if self.eps is None else f" at eps {self.eps}"
        found = f"{self.duplicates:,} duplicates by {self.rule}{at}{f' ({by})' if len(self.found_by) > 1 else ''}"
        kept = f"uncovered removals {self.uncovered:,}, groups wiped out {self.wiped_out:,} of {self.groups:,}"
        both = f", {self.both_stay:,} that must stay repeat one another" if self.both_stay else ""
        apart = f", {self.different:,} pairs called different" if self.different else ""
        unknown = f", {self.decided_unknown:,} decided ids not in the dataset" if self.decided_unknown else ""
        return f"{found}, {kept}{both}{apart}{unknown}, in {seconds:.1f} s"


@dataclass(frozen=True)
class SampleCounts:
    """What there is and what the ids name, before anything is removed."""

    read: int = 0  # samples
    n_damaged_shards: int = 0
    ids_given: int = 0  # distinct, as the next two
    ids_matched: int = 0
    ids_unmatched: int = 0
    ids_null: int = 0  # rows of the list that hold no id
    samples_matched: int = 0
    samples_without_field: int = 0  # which no id can match

    def ids_in_words(self) -> str:
        """What became of the ids to remove."""
        words = f"{self.ids_given:,} ids given, {self.ids_matched:,} matched"
        if self.samples_matched != self.ids_matched:
            words += f" ({self.samples_matched:,} samples)"
        if self.ids_unmatched:
            words += f", {self.ids_unmatched:,} not in the dataset"
        if self.ids_null:
            words += f", {self.ids_null:,} rows without an id"
        if self.samples_without_field:
            words += f"; {self.samples_without_field:,} samples without the field were kept"
        return words


@dataclass(frozen=True)
class OutputCounts:
    """What is left, and where it lies."""

    written: int = 0  # samples; of a table that rows were deleted from, those that stay
    cut: int = 0  # samples that the input ends inside of
    bytes_before: int = 0
    bytes_after: int = 0
    files: int = 0
    version_before: int | None = None  # of a Delta table
    version_after: int | None = None
    deleted: bool = False  # rows of the input itself, which has those versions then


@dataclass(frozen=True)
class RemoveCounts(OutputCounts, SampleCounts, StepCounts):
    """What was read, what left and why, what is left."""

    removed: Mapping[str, int] = field(default_factory=dict)  # by reason
    output: str | None = None
    not_read: Mapping[str, int] = field(default_factory=dict)  # files below the input, by reason
    stay_anyway: int = 0  # samples that would leave, but were brought back, or are named by remove.never

    @classmethod
    def of(cls, samples: SampleCounts, removed: Mapping[str, int], output: str | None, written: OutputCounts) -> Self:
        """The counts of a finished removal from its parts."""
        return cls(removed=removed, output=output, **asdict(samples), **asdict(written))

    def in_words(self, seconds: float) -> str:
        """The counts in a line, with what they took."""
        n_removed = sum(self.removed.values())
        ids = f"; {self.ids_in_words()}" if self.ids_given or self.ids_null else ""
        nothing = "; beware, nothing is left" if n_removed and not self.written else ""
        if self.stay_anyway:
            ids = f"; {self.stay_anyway:,} stay since they were brought back or must stay{ids}"
        counts = f"{self.read:,} samples read, {n_removed:,} removed, {self.written:,} written in {seconds:.1f} s"
        return f"{counts}{ids}{nothing}"
