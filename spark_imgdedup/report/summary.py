"""The end of a run: what was read, what went and why, what is left; in lines and as report.json."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from spark_imgdedup.config import Config
from spark_imgdedup.config.steps import RECORDED
from spark_imgdedup.counts import ClusterCounts, IdentifyCounts, ImageCounts, PairwiseCounts, RemoveCounts, StepCounts
from spark_imgdedup.errors import SchemaError
from spark_imgdedup.files import storage
from spark_imgdedup.report.breakdowns import Breakdowns, break_down
from spark_imgdedup.report.sizes import SizeTable
from spark_imgdedup.runs.current import first_broken

if TYPE_CHECKING:
    from spark_imgdedup.runs.tables import StepRecord, Tables

C = TypeVar("C", bound=StepCounts)

# Damaged shards named on the screen; report.json names them all.
MOST_SHARDS_SHOWN = 5
# Characters of a line that names values and their counts.
WIDTH = 120


@dataclass(frozen=True)
class Summary:
    """The counts of a run. What no step has counted yet is None."""

    read: int | None = None
    unreadable: Mapping[str, int] = field(default_factory=dict)
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
        if self.read is not None:
            unreadable = sum(self.unreadable.values())
            reasons = ", ".join(f"{reason} {n:,}" for reason, n in self.unreadable.items())
            yield f"read         {self.read:,} samples" + (
                f", {unreadable:,} without a usable {self.unit} ({reasons})" if unreadable else ""
            )
        for shard in self.damaged_shards[:MOST_SHARDS_SHOWN]:
            yield f"damaged      {shard}"
        if len(self.damaged_shards) > MOST_SHARDS_SHOWN:
            yield f"damaged      and {len(self.damaged_shards) - MOST_SHARDS_SHOWN:,} more shards, see report.json"
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
        found_by = self.breakdowns.get("found_by", {})
        if len(found_by) > 1:
            yield f"found by     {', '.join(f'{name} {n:,}' for name, n in found_by.items())}"
        yield from self._removal_lines()
        yield from self._size_lines()
        if self.seconds:
            yield f"seconds      {', '.join(f'{step} {seconds:.1f}' for step, seconds in self.seconds.items())}"

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
        if self.versions is not None:
            yield f"version      {self.versions[1]}, and {self.versions[0]} before the rows were deleted"
        if self.ids_unmatched:
            yield f"unmatched    {self.ids_unmatched:,} ids to remove are not in the dataset"
        if self.bytes_before and self.bytes_after is not None:
            saved = 1 - self.bytes_after / self.bytes_before
            before, after = _megabytes(self.bytes_before), _megabytes(self.bytes_after)
            yield f"bytes        {before} before, {after} after ({saved:.1%} less)"

    def _size_lines(self) -> Iterator[str]:
        sizes = self.breakdowns.get("sizes")
        if sizes is None or sizes["leaving"] is None:
            return
        total = sizes["total"]
        n_before, n_after = total["image_bytes_before"], total["image_bytes_after"]
        if n_before and n_after is not None:
            saved = 1 - n_after / n_before
            without = "after" if sizes["leaving"] == "removed" else "without the duplicates"
            yield f"images       {_megabytes(n_before)} before, {_megabytes(n_after)} {without} ({saved:.1%} less)"
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


def summarize(records: Mapping[str, StepRecord]) -> Summary:
    """The summary of the steps that have run."""
    found = Summary(seconds={step: record.seconds for step, record in records.items()})
    cluster = _counts(records, "cluster", ClusterCounts)
    if cluster is not None:
        found = replace(
            found,
            read=cluster.rows + sum(cluster.rejected.values()),
            unit="vector",
            unreadable=cluster.rejected,
            clusters=cluster.clusters,
            largest_cluster=cluster.largest,
            clustered=cluster.rows,
        )
    images = _counts(records, "embed", ImageCounts) or _counts(records, "hashes", ImageCounts)
    if images is not None:
        reasons = dict(images.rejected)
        for reason, n in found.unreadable.items():
            reasons[reason] = reasons.get(reason, 0) + n
        found = replace(
            found, read=images.samples, unit="image", unreadable=reasons, damaged_shards=images.damaged_shards
        )
    pairwise = _counts(records, "pairwise", PairwiseCounts)
    if pairwise is not None:
        found = replace(
            found,
            probes=pairwise.probes,
            why=pairwise.why,
            comparisons=pairwise.comparisons,
            recall=pairwise.recall,
            searched_eps=pairwise.eps,
        )
    identify = _counts(records, "identify", IdentifyCounts)
    if identify is not None:
        found = replace(
            found,
            eps=identify.eps,
            duplicates=identify.duplicates,
            rule=identify.rule,
            uncovered=identify.uncovered,
            groups=identify.groups,
            wiped_out=identify.wiped_out,
            both_stay=identify.both_stay,
            measured_for=identify.measured_for,
        )
    remove = _counts(records, "remove", RemoveCounts)
    return found if remove is None else _with_removal(found, remove)


def _with_removal(found: Summary, remove: RemoveCounts) -> Summary:
    before, after = remove.version_before, remove.version_after
    versions = (before, after) if remove.deleted and before is not None and after is not None else None
    return replace(
        found,
        read=remove.read,
        removed=remove.removed,
        ids_unmatched=remove.ids_unmatched,
        cut=remove.cut,
        kept=remove.written,
        bytes_before=remove.bytes_before,
        bytes_after=remove.bytes_after,
        output=remove.output,
        versions=versions,
    )


def _counts(records: Mapping[str, StepRecord], step: str, kind: type[C]) -> C | None:
    counts = records[step].counts if step in records else None
    return counts if isinstance(counts, kind) else None


def write_report(tables: Tables, config: Config, *, leave_out: Collection[str] = (), compute: bool = True) -> Summary:
    """Summarize what the steps recorded, break it down, and store both as <work_dir>/report/report.json.

    Args:
        tables: Where the records are.
        config: Names the work_dir.
        leave_out: Steps that this configuration does not take; records of theirs are from another one.
        compute: Whether to compute the breakdowns that an earlier report does not have; that runs Spark.

    Raises:
        SchemaError: no step has run in this work_dir.
    """
    found = {step.name: tables.record(step.name) for step in RECORDED}
    together = records_together({step: record for step, record in found.items() if record is not None})
    records = {step: record for step, record in together.items() if step not in leave_out}
    if not records:
        raise SchemaError(f"{config.work_dir}: no step has run there yet. Run spark-imgdedup run, or correct work_dir.")
    summary = replace(summarize(records), breakdowns=break_down(tables, config, records, compute=compute))
    counted = asdict(summary)
    report = {
        "summary": counted,
        "breakdowns": counted.pop("breakdowns"),
        "steps": {step: asdict(record) for step, record in records.items()},
    }
    data = (json.dumps(report, indent=1) + "\n").encode()
    storage.write_bytes(storage.join(config.work_dir, "report", "report.json"), data, config.storage_options)
    return summary


def records_together(records: Mapping[str, StepRecord]) -> dict[str, StepRecord]:
    """The records whose tables were made from the tables that are there now, in the order of the data.

    Whatever the settings and the inputs are by now: a report tells of what was done.
    """
    return {
        step.name: records[step.name]
        for step in RECORDED
        if first_broken(step.name, records.get, lambda _: True) is None
    }


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:,.1f} MB" if n_bytes < 1e9 else f"{n_bytes / 1e9:,.2f} GB"
