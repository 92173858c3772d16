"""output.mode delete: the rows that leave are deleted from the Delta table at input.path, in one commit.

The commit carries the fingerprint of its removal, and its version the rows that are left. A run that finds its own
commit in the table's log has nothing left to do, also where it broke off right after it; its embeddings stay good.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_imgdedup import schemas
from spark_imgdedup.config import Config
from spark_imgdedup.counts import OutputCounts
from spark_imgdedup.errors import CountsError, TableError
from spark_imgdedup.files import delta_log
from spark_imgdedup.files.owning.lease import require_held
from spark_imgdedup.runs.current import built_on
from spark_imgdedup.runs.delta import (
    commits_marked,
    errors_in_one_line,
    find_commit,
    rows_at,
    table_name,
    table_size,
)
from spark_imgdedup.runs.fingerprints import fingerprint
from spark_imgdedup.runs.sources import mark_rejected
from spark_imgdedup.runs.tables import Tables, require_unique_ids
from spark_imgdedup.runs.written import trace_input
from spark_imgdedup.stages.columns import column_path, nearest_column, no_id_column, quoted
from spark_imgdedup.stages.index import index_images
from spark_imgdedup.stages.user_input.user_tables import open_table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


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


def delete_rows(tables: Tables, seen: delta_log.Trace, removed: DataFrame, n_read: int, config: Config) -> OutputCounts:
    """Delete the rows of `removed` from the table, and say what that was.

    Args:
        tables: For the session.
        seen: The log when the table was read.
        removed: With the ids, from `mark_removals`.
        n_read: Rows of the table that `removed` was taken from.
        config: Names the table and its ids.

    Raises:
        TableError: the table has been changed meanwhile, or Delta refuses.
        CountsError: another number of rows was deleted than there are in `removed`.
    """
    path, spark = config.input.paths[0], tables.spark
    n_removed = removed.count()
    n_bytes, n_files = table_size(spark, path)
    done = _done(seen, tables, config)
    if done is None and n_removed == 0:
        return OutputCounts(n_read, 0, n_bytes, n_bytes, n_files, seen.version, seen.version, deleted=False)
    if done is None:
        done = _merge(tables, removed, seen, config)
    _require_exactly(n_removed, done, path)
    # A commit of somebody else between the two has rows of its own.
    is_next = done.read_version == done.version - 1
    written = rows_at(spark, path, done.version) if is_next else n_read - n_removed
    bytes_after, n_files = table_size(spark, path)
    return OutputCounts(written, 0, n_bytes, bytes_after, n_files, done.read_version, done.version, deleted=True)


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
    schema = open_table(spark, (path,), config.input.storage_options).schema
    name = config.input.id_field or "image_id"
    place = column_path(schema, name)
    if place is None:
        raise no_id_column(schema.names, name, "input.id_field", nearest_column(schema, name))
    by = ".".join(map(quoted, place[0]))
    merge = (
        f"MERGE INTO {table_name(path)} AS images USING {{removed}} AS removed "
        f"ON CAST(images.{by} AS STRING) = removed.image_id WHEN MATCHED THEN DELETE"
    )
    mark = _mark(tables, config)
    require_held(config.work_dir)
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
