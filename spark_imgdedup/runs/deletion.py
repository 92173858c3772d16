"""output.mode delete: the rows that leave are deleted from the Delta table at input.path, in one commit.

The commit carries the fingerprint of its removal, and its version the rows that are left. A run that finds its own
commit in the table's log has nothing left to do, also where it broke off right after it; its embeddings stay good.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from spark_imgdedup import schemas
from spark_imgdedup.config import Config
from spark_imgdedup.errors import CountsError, TableError
from spark_imgdedup.files import delta_log
from spark_imgdedup.runs.delta import (
    commits_marked,
    errors_in_one_line,
    find_commit,
    rows_at,
    table_name,
    table_size,
)
from spark_imgdedup.runs.fingerprints import fingerprint, steps_before
from spark_imgdedup.runs.sources import built_on, mark_rejected
from spark_imgdedup.runs.tables import StepRecord, Tables, require_unique_ids
from spark_imgdedup.stages.columns import quoted
from spark_imgdedup.stages.index import index_images

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

log = logging.getLogger(__name__)

Counts = dict[str, Any]


def trace_input(config: Config) -> delta_log.Trace:
    """The log of the table at input.path, what this work_dir has deleted there passed over."""
    return delta_log.trace(config.input.paths[0], config.input.storage_options, work_dir=config.work_dir)


def require_same_rows(tables: Tables, config: Config) -> delta_log.Trace:
    """The log of the table; refused is what was found among other rows, or with other settings, than there are now.

    Raises:
        TableError: with the step whose tables are older.
    """
    waiting = list(steps_before("remove", config))
    while waiting:
        step = waiting.pop()
        record = tables.record(step)
        if record is None:
            continue  # named by `Tables.read`
        now = {name: earlier.fingerprint for name in record.built_on if (earlier := tables.record(name)) is not None}
        if now != record.built_on or fingerprint(step, config, now) != record.fingerprint:
            raise TableError(
                f"{config.input.paths[0]}, version {trace_input(config).version}: the tables of {step} were made from "
                "other rows or with other settings, so nothing was deleted by them. "
                "Take all steps: spark-imgdedup run --config …"
            )
        waiting += now
    return trace_input(config)


def table_index(tables: Tables, seen: delta_log.Trace, config: Config) -> DataFrame:
    """What `sample_index` gives, of the rows that the table holds; or held before this very removal, if it is done.

    Raises:
        ShardError: two rows have one id, so one could not be deleted without the other.
    """
    done = _done(seen, tables, config)
    version = seen.version if done is None else done.version - 1
    index = tables.write("index", index_images(tables.spark, config, version=version))
    require_unique_ids(index.where(schemas.IS_SAMPLE), "image_id")
    return mark_rejected(index, tables, config)


def delete_rows(tables: Tables, seen: delta_log.Trace, removed: DataFrame, n_read: int, config: Config) -> Counts:
    """Delete the rows of `removed` from the table, and say what that was.

    Args:
        tables: For the session.
        seen: The log when the table was read.
        removed: With the ids, from `mark_removals`.
        n_read: Rows of the table that `removed` was taken from.
        config: Names the table and its ids.

    Returns:
        written (rows that stay), cut, bytes_before, bytes_after, files, version_before, version_after, deleted (whether
        a commit was needed).

    Raises:
        TableError: the table has been changed meanwhile, or Delta refuses.
        CountsError: another number of rows was deleted than there are in `removed`.
    """
    path, spark = config.input.paths[0], tables.spark
    n_removed = removed.count()
    n_bytes, n_files = table_size(spark, path)
    found = {"written": n_read, "cut": 0, "bytes_before": n_bytes, "bytes_after": n_bytes, "files": n_files}
    done = _done(seen, tables, config)
    if done is None and n_removed == 0:
        return found | {"version_before": seen.version, "version_after": seen.version, "deleted": False}
    if done is None:
        done = _merge(tables, removed, seen, config)
    _require_exactly(n_removed, done, path)
    # A commit of somebody else between the two has rows of its own.
    is_next = done.read_version == done.version - 1
    found["written"] = rows_at(spark, path, done.version) if is_next else n_read - n_removed
    found["bytes_after"], found["files"] = table_size(spark, path)
    return found | {"version_before": done.read_version, "version_after": done.version, "deleted": True}


def is_deleted(record: StepRecord, config: Config) -> bool:
    """True where the table is as this removal left it: its commit counts, and no later one but OPTIMIZE and our own."""
    if not record.counts.get("deleted", True):
        return True  # the fingerprint says that its rows are the same
    return any(commit.mark(config.work_dir) == record.fingerprint for commit in trace_input(config).deletions)


def _done(seen: delta_log.Trace, tables: Tables, config: Config) -> delta_log.Commit | None:
    """The commit of this very removal, if it is the last that we made."""
    newest = next(iter(seen.deletions), None)
    mark = _mark(tables, config)
    return newest if newest is not None and newest.mark(config.work_dir) == mark else None


def _mark(tables: Tables, config: Config) -> str:
    return fingerprint("remove", config, built_on("remove", tables, config))


def _merge(tables: Tables, removed: DataFrame, seen: delta_log.Trace, config: Config) -> delta_log.Commit:
    path, spark = config.input.paths[0], tables.spark
    now = trace_input(config)
    if (now.origin, now.deletions) != (seen.origin, seen.deletions):
        raise TableError(
            f"{path}: somebody else changed it between versions {seen.version} and {now.version}, while this step "
            "looked for what to delete. Nothing was deleted: run again."
        )
    by = quoted(config.input.id_field or "image_id")
    merge = (
        f"MERGE INTO {table_name(path)} AS images USING {{removed}} AS removed "
        f"ON CAST(images.{by} AS STRING) = removed.image_id WHEN MATCHED THEN DELETE"
    )
    mark = _mark(tables, config)
    with commits_marked(spark, config, mark), errors_in_one_line(path):
        spark.sql(merge, removed=removed.select("image_id")).collect()
    return find_commit(config, path, now.version, mark)


def _require_exactly(n_removed: int, commit: delta_log.Commit, path: str) -> None:
    n_deleted = commit.metrics.get("numTargetRowsDeleted")
    if n_deleted != n_removed:
        raise CountsError(
            f"remove: {n_removed} rows were to leave {path}, and its version {commit.version} deleted {n_deleted}. "
            f"Take it back: RESTORE TABLE {table_name(path)} TO VERSION AS OF {commit.read_version}"
        )
