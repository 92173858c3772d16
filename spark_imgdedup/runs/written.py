"""Whether the output of a finished `remove` is still as it was left."""

from __future__ import annotations

from spark_imgdedup.config import Config
from spark_imgdedup.counts import RemoveCounts
from spark_imgdedup.files import delta_log
from spark_imgdedup.files.owning import publishing
from spark_imgdedup.runs.tables import StepRecord


def is_written(record: StepRecord, config: Config) -> bool:
    """True where nothing of the output has gone."""
    assert isinstance(record.counts, RemoveCounts)
    if config.deletes:
        return _is_deleted(record.counts, record.fingerprint, config)
    if config.output.mode == "replace_where":
        return _is_replaced(record.counts, record.fingerprint, config)
    return publishing.is_published(config)


def trace_input(config: Config) -> delta_log.Trace:
    """The log of the table at input.path, what this work_dir has deleted there passed over."""
    return delta_log.trace(config.input.paths[0], config.input.storage_options, work_dir=config.work_dir)


def _is_deleted(counts: RemoveCounts, mark: str, config: Config) -> bool:
    """True where the table is as this removal left it: its commit counts, and no later one but OPTIMIZE and our own."""
    if not counts.deleted:
        return True  # the fingerprint says that its rows are the same
    return any(commit.mark(config.work_dir) == mark for commit in trace_input(config).deletions)


def _is_replaced(counts: RemoveCounts, mark: str, config: Config) -> bool:
    """True where the table still knows of the commit of this removal, or is so much older that its log forgot it."""
    path, options, version = config.output.path, config.output.storage_options, counts.version_after
    if path is None or version is None or not delta_log.is_delta(path, options):
        return False
    known = list(delta_log.commits_since(path, version - 1, options))
    ours = next((commit for commit in known if commit.version == version), None)
    return bool(known) if ours is None else ours.mark(config.work_dir) == mark
