"""The end of a run in lines: what was read, what went and why, what is left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from spark_imgdedup.report.breakdowns import Breakdowns
from spark_imgdedup.report.sizes import SizeTable

# Damaged shards named on the screen; report.json names them all.
MOST_SHARDS_SHOWN = 5
# Characters of a line that names values and their counts.
WIDTH = 120


@dataclass(frozen=True)
class Summary:
    """The counts of a run. What no step has counted yet is None."""

    read: int | None = None
    unreadable: Mapping[str, int] = field(default_factory=dict)
    not_read: Mapping[str, int] = field(default_factory=dict)  # files below the input, by reason
    damaged_shards: tuple[str, ...] = ()
    clusters: int | None = None
    largest_cluster: int | None = None
    clustered: int | None = None
    probes: str | None = None  # where rows were compared, and why there
    why: str = ""
    comparisons: int | None = None
    recall: Mapping[str, float | None] = field(default_factory=dict)  # of the pairs within searched_eps
    searched_eps: float | None = None
    eps: float | None = None
    duplicates: int | None = None
    rule: str = ""
    uncovered: int = 0  # duplicates that name an image which goes itself
    groups: int = 0  # images that stay for others, and how many of these go
    wiped_out: int = 0
    both_stay: int = 0  # that must, and repeat one another
    stay_anyway: int = 0  # samples that would leave, but were brought back, or are named by remove.never
    different: int = 0  # pairs that people have called different
    decided_unknown: int = 0  # ids in decisions that the dataset has not
    measured_for: int | None = None  # for so many images that eps is right
    removed: Mapping[str, int] = field(default_factory=dict)
    ids_unmatched: int = 0
    cut: int = 0
    kept: int | None = None
    bytes_before: int | None = None
    bytes_after: int | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    output: str | None = None
    versions: tuple[int, int] | None = None  # of a Delta table that rows were deleted from, before and after
    unit: str = "image"  # or vector, where a run starts from those
    breakdowns: Breakdowns = field(default_factory=lambda: Breakdowns(computed_from={}))

    def lines(self) -> Iterator[str]:
        """The summary as it is printed."""
        yield from self._input_lines()
        if self.clusters is not None:
            share = f" ({(self.largest_cluster or 0) / self.clustered:.1%})" if self.clustered else ""
            yield f"clusters     {self.clusters:,}, the largest of {self.largest_cluster:,} rows{share}"
        yield from self._search_lines()
        if self.duplicates is not None:
            share = f" ({self.duplicates / self.read:.1%})" if self.read else ""
            at = "" if self.eps is None else f" at eps {self.eps}"
            yield f"duplicates   {self.duplicates:,}{share} by {self.rule}{at}"
            yield (
                f"uncovered    {self.uncovered:,} of these name an image that goes itself; "
                f"groups wiped out: {self.wiped_out:,} of {self.groups:,}"
            )
        if self.measured_for is not None and (self.clustered or 0) > self.measured_for:
            yield (
                f"beware       eps {self.eps} was measured for up to {self.measured_for:,} images: wrong pairs grow "
                "with the square of their number. Look at pairs, and lower identify.eps (docs/guide-images.md)"
            )
        if self.both_stay:
            yield f"must stay    {self.both_stay:,} images that repeat another one which must stay too"
        if self.different or self.decided_unknown:
            unknown = f"; {self.decided_unknown:,} ids in decisions are not in the dataset"
            yield f"decisions    {self.different:,} pairs called different{unknown if self.decided_unknown else ''}"
        found_by = self.breakdowns.get("found_by", {})
        if len(found_by) > 1:
            yield f"found by     {', '.join(f'{name} {n:,}' for name, n in found_by.items())}"
        yield from self._removal_lines()
        yield from self._size_lines()
        if self.seconds:
            yield f"seconds      {', '.join(f'{step} {seconds:.1f}' for step, seconds in self.seconds.items())}"

    def _input_lines(self) -> Iterator[str]:
        if self.read is not None:
            unreadable = sum(self.unreadable.values())
            reasons = ", ".join(f"{reason} {n:,}" for reason, n in self.unreadable.items())
            yield f"read         {self.read:,} samples" + (
                f", {unreadable:,} without a usable {self.unit} ({reasons})" if unreadable else ""
            )
        if self.not_read:
            yield f"not read     {', '.join(f'{why} {n:,}' for why, n in self.not_read.items())}"
        for shard in self.damaged_shards[:MOST_SHARDS_SHOWN]:
            yield f"damaged      {shard}"
        if len(self.damaged_shards) > MOST_SHARDS_SHOWN:
            yield f"damaged      and {len(self.damaged_shards) - MOST_SHARDS_SHOWN:,} more shards, see report.json"

    def _search_lines(self) -> Iterator[str]:
        if self.probes is None:
            return
        yield f"compared     {self.comparisons or 0:,} pairs ({self.probes}): {self.why}"
        share, n_pairs = self.recall.get("value"), self.recall.get("pairs")
        if share is None:
            yield f"found        nothing to measure: no pair within eps {self.searched_eps:g} among the sampled rows"
        elif n_pairs:
            low, high = (self.recall[name] or 0.0 for name in ("low", "high"))
            yield (
                f"found        {share:.2%} of the pairs within eps {self.searched_eps:g} ({low:.2%} to {high:.2%}), by "
                f"{n_pairs:,.0f} pairs of {self.recall['rows']:,.0f} sampled rows"
            )

    def _removal_lines(self) -> Iterator[str]:
        if self.kept is not None:
            reasons = ", ".join(f"{reason} {n:,}" for reason, n in self.removed.items()) or "nothing"
            yield f"removed      {reasons}" + (f"; {self.cut:,} cut off in damaged shards" if self.cut else "")
            yield f"kept         {self.kept:,} samples in {self.output}"
            if self.stay_anyway:
                yield f"stay         {self.stay_anyway:,} of these were brought back, or are in remove.never"
            if not self.kept and self.removed:
                yield f"beware       nothing is left: all {sum(self.removed.values()):,} samples were removed"
        if self.versions is not None:
            yield f"version      {self.versions[1]}, and {self.versions[0]} before the rows were deleted"
        if self.ids_unmatched:
            yield f"unmatched    {self.ids_unmatched:,} ids to remove are not in the dataset"
        if self.bytes_before and self.bytes_after is not None:
            before, after = _megabytes(self.bytes_before), _megabytes(self.bytes_after)
            yield f"bytes        {before} before, {after} after ({_change(self.bytes_before, self.bytes_after)})"

    def _size_lines(self) -> Iterator[str]:
        sizes = self.breakdowns.get("sizes")
        if sizes is None or sizes["leaving"] is None:
            return
        total = sizes["total"]
        n_before, n_after = total["image_bytes_before"], total["image_bytes_after"]
        if n_before and n_after is not None:
            without = "after" if sizes["leaving"] == "removed" else "without the duplicates"
            before, after = _megabytes(n_before), _megabytes(n_after)
            yield f"images       {before} before, {after} {without} ({_change(n_before, n_after)})"
        by_format = {} if sizes["by_format"] is None else {"format": sizes["by_format"]}
        for name, table in (by_format | sizes["by_field"]).items():
            if table["of"] > 1:
                yield _values_line(name, table)


def _values_line(name: str, table: SizeTable) -> str:
    """How much of each value stays, the most frequent ones first, in one line."""
    line = f"by {_short(name, 20)}".ljust(12)
    for place, row in enumerate(table["rows"]):
        value = "(none)" if row["value"] is None else _short(row["value"], 30)
        part = f"{' ' if place == 0 else ', '}{value} {row['samples_after']:,} of {row['samples_before']:,}"
        more = f", and {table['of'] - place:,} more, see report.json"
        room = WIDTH - (len(more) if place + 1 < table["of"] else 0)
        if place and len(line) + len(part) > room:
            return line + more
        line += part if place else f"{part} stay"
    n_left = table["of"] - len(table["rows"])
    return line + (f", and {n_left:,} more, see report.json" if n_left else "")


def _short(text: str, most: int) -> str:
    """`text` in one line of at most `most` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def _change(before: int, after: int) -> str:
    """How much less, or more, `after` is."""
    saved = 1 - after / before
    return f"{saved:.1%} less" if saved >= 0 else f"{-saved:.1%} more"


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:,.1f} MB" if n_bytes < 1e9 else f"{n_bytes / 1e9:,.2f} GB"
