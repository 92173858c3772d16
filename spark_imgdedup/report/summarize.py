"""The counts of the steps as one summary, and as report.json."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, TypeVar

from spark_imgdedup.config import Config
from spark_imgdedup.config.steps import RECORDED
from spark_imgdedup.counts import ClusterCounts, IdentifyCounts, ImageCounts, PairwiseCounts, RemoveCounts, StepCounts
from spark_imgdedup.errors import SchemaError
from spark_imgdedup.files import storage, writing
from spark_imgdedup.report.breakdowns import break_down
from spark_imgdedup.report.summary import Summary
from spark_imgdedup.runs.current import first_broken

if TYPE_CHECKING:
    from spark_imgdedup.runs.tables import StepRecord, Tables

C = TypeVar("C", bound=StepCounts)
# Counts that a summary takes over under their names.
_OF_PAIRWISE = ("probes", "why", "comparisons", "recall")
_OF_REMOVE = ("read", "removed", "ids_unmatched", "cut", "bytes_before", "bytes_after", "output", "stay_anyway")
_OF_IDENTIFY = (
    *("eps", "duplicates", "rule", "uncovered", "groups", "wiped_out", "both_stay", "different", "decided_unknown"),
    "measured_for",
)


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
            found,
            read=images.samples,
            unit="image",
            unreadable=reasons,
            not_read=images.not_read,
            damaged_shards=images.damaged_shards,
        )
    pairwise = _counts(records, "pairwise", PairwiseCounts)
    if pairwise is not None:
        found = replace(found, searched_eps=pairwise.eps, **_taken(pairwise, _OF_PAIRWISE))
    identify = _counts(records, "identify", IdentifyCounts)
    if identify is not None:
        found = replace(found, **_taken(identify, _OF_IDENTIFY))
    remove = _counts(records, "remove", RemoveCounts)
    return found if remove is None else _with_removal(found, remove)


def _with_removal(found: Summary, remove: RemoveCounts) -> Summary:
    before, after = remove.version_before, remove.version_after
    versions = (before, after) if remove.deleted and before is not None and after is not None else None
    found = replace(found, kept=remove.written, not_read=remove.not_read or found.not_read, versions=versions)
    return replace(found, **_taken(remove, _OF_REMOVE))


def _taken(counts: StepCounts, names: Collection[str]) -> dict[str, Any]:
    return {name: getattr(counts, name) for name in names}


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
    steps = {step: asdict(record) for step, record in records.items()}
    for step in steps.values():
        del step["schemas"]  # for readers of the tables
    report = {"summary": counted, "breakdowns": counted.pop("breakdowns"), "steps": steps}
    data = (json.dumps(report, indent=1) + "\n").encode()
    writing.write_bytes(storage.join(config.work_dir, "report", "report.json"), data, config.storage_options)
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
