"""The end of a run: what was read, what went and why, what is left; in lines and as report.json."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from spark_imgdedup.config import Config
from spark_imgdedup.errors import SchemaError
from spark_imgdedup.files import storage

if TYPE_CHECKING:
    from spark_imgdedup.runs.tables import StepRecord, Tables

STEPS_WITH_RECORDS = ("embed", "cluster", "pairwise", "identify", "remove")
# Damaged shards named on the screen; report.json names them all.
MOST_SHARDS_SHOWN = 5


@dataclass(frozen=True)
class Summary:
    """The counts of a run. What no step has counted yet is None."""

    read: int | None = None
    unreadable: Mapping[str, int] = field(default_factory=dict)
    damaged_shards: tuple[str, ...] = ()
    clusters: int | None = None
    largest_cluster: int | None = None
    eps: float | None = None
    duplicates: int | None = None
    removed: Mapping[str, int] = field(default_factory=dict)
    ids_unmatched: int = 0
    cut: int = 0
    kept: int | None = None
    bytes_before: int | None = None
    bytes_after: int | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    output: str | None = None

    def lines(self) -> Iterator[str]:
        """The summary as it is printed."""
        if self.read is not None:
            unreadable = sum(self.unreadable.values())
            reasons = ", ".join(f"{reason} {n:,}" for reason, n in self.unreadable.items())
            yield f"read         {self.read:,} samples" + (
                f", {unreadable:,} without a usable image ({reasons})" if unreadable else ""
            )
        for shard in self.damaged_shards[:MOST_SHARDS_SHOWN]:
            yield f"damaged      {shard}"
        if len(self.damaged_shards) > MOST_SHARDS_SHOWN:
            yield f"damaged      and {len(self.damaged_shards) - MOST_SHARDS_SHOWN:,} more shards, see report.json"
        if self.clusters is not None:
            yield f"clusters     {self.clusters:,}, the largest of {self.largest_cluster:,} rows"
        if self.duplicates is not None:
            share = f" ({self.duplicates / self.read:.1%})" if self.read else ""
            yield f"duplicates   {self.duplicates:,}{share} at eps {self.eps}"
        if self.kept is not None:
            reasons = ", ".join(f"{reason} {n:,}" for reason, n in self.removed.items()) or "nothing"
            yield f"removed      {reasons}" + (f"; {self.cut:,} cut off in damaged shards" if self.cut else "")
            yield f"kept         {self.kept:,} samples in {self.output}"
        if self.ids_unmatched:
            yield f"unmatched    {self.ids_unmatched:,} ids to remove are not in the dataset"
        if self.bytes_before and self.bytes_after is not None:
            saved = 1 - self.bytes_after / self.bytes_before
            before, after = _megabytes(self.bytes_before), _megabytes(self.bytes_after)
            yield f"bytes        {before} before, {after} after ({saved:.1%} less)"
        if self.seconds:
            yield f"seconds      {', '.join(f'{step} {seconds:.1f}' for step, seconds in self.seconds.items())}"


def summarize(records: Mapping[str, StepRecord]) -> Summary:
    """The summary of the steps that have run."""
    counts: dict[str, Mapping[str, Any]] = {step: record.counts for step, record in records.items()}
    embed, cluster, identify, remove = (counts.get(step, {}) for step in ("embed", "cluster", "identify", "remove"))
    unreadable = dict(embed.get("rejected", {}))
    for reason, n in cluster.get("rejected", {}).items():
        unreadable[reason] = unreadable.get(reason, 0) + n
    return Summary(
        read=remove.get("read", embed.get("samples", _rows_read(cluster))),
        unreadable=unreadable,
        damaged_shards=tuple(embed.get("damaged_shards", ())),
        clusters=cluster.get("clusters"),
        largest_cluster=cluster.get("largest"),
        eps=identify.get("eps"),
        duplicates=identify.get("duplicates"),
        removed=remove.get("removed", {}),
        ids_unmatched=remove.get("ids_given", 0) - remove.get("ids_matched", 0),
        cut=remove.get("cut", 0),
        kept=remove.get("written"),
        bytes_before=remove.get("bytes_before"),
        bytes_after=remove.get("bytes_after"),
        seconds={step: record.seconds for step, record in records.items()},
        output=remove.get("output"),
    )


def write_report(tables: Tables, config: Config, *, leave_out: Collection[str] = ()) -> Summary:
    """Summarize what the steps recorded, and store it as <work_dir>/report/report.json.

    Args:
        tables: Where the records are.
        config: Names the work_dir.
        leave_out: Steps that this configuration does not take; records of theirs are from another one.

    Raises:
        SchemaError: no step has run in this work_dir.
    """
    found = {step: tables.record(step) for step in STEPS_WITH_RECORDS if step not in leave_out}
    records = current_records({step: record for step, record in found.items() if record is not None})
    if not records:
        raise SchemaError(f"{config.work_dir}: no step has run there yet. Run spark-imgdedup run, or correct work_dir.")
    summary = summarize(records)
    report = {"summary": asdict(summary), "steps": {step: asdict(record) for step, record in records.items()}}
    data = (json.dumps(report, indent=1) + "\n").encode()
    storage.write_bytes(storage.join(config.work_dir, "report", "report.json"), data)
    return summary


def current_records(records: Mapping[str, StepRecord]) -> dict[str, StepRecord]:
    """The records whose tables were made from the tables that are there now, in the order of the data."""
    current: dict[str, StepRecord] = {}
    for step in STEPS_WITH_RECORDS:
        record = records.get(step)
        if record is not None and all(
            before in current and current[before].fingerprint == mark for before, mark in record.built_on.items()
        ):
            current[step] = record
    return current


def _rows_read(cluster: Mapping[str, Any]) -> int | None:
    return cluster["rows"] + sum(cluster["rejected"].values()) if cluster else None


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:,.1f} MB" if n_bytes < 1e9 else f"{n_bytes / 1e9:,.2f} GB"
