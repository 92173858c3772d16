"""output.mode delete: rows that were deleted from the Delta table at input.path, and are to be there again.

They are read from the version before their deletion and inserted, once: what somebody else deletes after that is gone.
The mark of that commit says that it is ours, so the rows of the table still count as those that were embedded.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import reduce
from typing import TYPE_CHECKING

from spark_imgdedup.config import Config
from spark_imgdedup.errors import TableError
from spark_imgdedup.files import delta_log
from spark_imgdedup.files.owning.lease import require_held
from spark_imgdedup.runs.delta import commits_saying, errors_in_one_line, table_name
from spark_imgdedup.runs.staying import brought_back
from spark_imgdedup.runs.written import trace_input
from spark_imgdedup.stages.columns import id_as_text, quoted
from spark_imgdedup.stages.local_rows import local_rows
from spark_imgdedup.stages.user_input.user_tables import open_table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from spark_imgdedup.runs.tables import Tables

log = logging.getLogger(__name__)

# What Spark says of files that VACUUM has taken away.
_GONE = ("FILE_NOT_EXIST", "FILE_NOT_FOUND", "FileNotFoundException")


class VacuumedError(TableError):
    """Files of an old version of a Delta table are gone."""


def deleted_rows(tables: Tables, config: Config) -> DataFrame | None:
    """image_id of the rows that this work_dir has deleted and that are not in the table now; None without deletions."""
    versions = [commit.read_version for commit in _ours(config) if not commit.restores(config.work_dir)]
    ids = [_ids(tables, config, version) for version in versions if version is not None]
    if not ids:
        return None
    found = reduce(lambda one, other: one.unionByName(other), ids).distinct()
    return found.join(_ids(tables, config), "image_id", "left_anti")


def require_insertable(tables: Tables, config: Config, ids: Collection[str]) -> None:
    """Look, before anything is listed, whether rows with these ids can be inserted.

    Raises:
        TableError: not all of them, since Delta has no version with them any more, or its files are gone.
    """
    wanted = local_rows(tables.spark, [(each,) for each in sorted(ids)], "image_id string")
    with vacuum_in_one_line(config):
        n_found = sum(rows.count() for _, rows in _insertable(tables, config, wanted))
        n_there = wanted.join(_ids(tables, config), "image_id", "left_semi").count()
    n_lost = len(ids) - n_found - n_there
    if n_lost:
        raise TableError(
            f"{config.input.paths[0]}: of {len(ids):,} rows that are to be there again {n_lost:,} are in no version "
            "that its log still tells of, or were deleted by somebody else. Nothing was changed."
        )


def insert_brought_back(tables: Tables, config: Config) -> None:
    """Insert the rows that `restore` has listed and that we have deleted; those that cannot be are a warning.

    Raises:
        TableError: Delta refuses.
    """
    listed = brought_back(tables, config)
    if listed is None:
        return
    try:
        with vacuum_in_one_line(config):
            for commit, wanted in _insertable(tables, config, listed):
                if not wanted.isEmpty():
                    _insert(tables, config, wanted, commit)
    except VacuumedError as error:  # `restore` has looked: these were deleted by somebody else after they came back
        log.warning("remove: %s", error)


def _insertable(tables: Tables, config: Config, ids: DataFrame) -> Iterator[tuple[delta_log.Commit, DataFrame]]:
    """Our deletions, the newest first, each with those of these ids that it deleted and we have not inserted since."""
    missing = ids.join(_ids(tables, config), "image_id", "left_anti")
    for commit in _ours(config):
        if missing.isEmpty():
            return
        after = _ids(tables, config, commit.version)
        if not commit.restores(config.work_dir):
            was_there = missing.join(_ids(tables, config, commit.read_version), "image_id", "left_semi")
            yield commit, was_there.join(after, "image_id", "left_anti")
            after = _ids(tables, config, commit.read_version)
        missing = missing.join(after, "image_id", "left_anti")


def _insert(tables: Tables, config: Config, wanted: DataFrame, deletion: delta_log.Commit) -> None:
    path, spark, name = config.input.paths[0], tables.spark, config.input.id_field or "image_id"
    rows = open_table(spark, (path,), config.input.storage_options, version=deletion.read_version)
    wanted, by = wanted.withColumnRenamed("image_id", "_back"), quoted(name)
    rows = rows.join(wanted, id_as_text(rows, name, "input.id_field") == wanted["_back"], "left_semi")
    merge = (
        f"MERGE INTO {table_name(path)} AS images USING {{back}} AS back "
        f"ON CAST(images.{by} AS STRING) = CAST(back.{by} AS STRING) WHEN NOT MATCHED THEN INSERT *"
    )
    # Where others have changed the table since, the embeddings lack these rows: then it counts as a change.
    is_known = deletion.version in {commit.version for commit in trace_input(config).deletions}
    require_held(config.work_dir)
    mark = delta_log.mark_for_restore(config.work_dir, is_change=not is_known)
    with commits_saying(spark, mark), errors_in_one_line(path):
        spark.sql(merge, back=rows).collect()
    log.info("remove: rows of version %d are in %s again", deletion.read_version, path)


def _ids(tables: Tables, config: Config, version: int | None = None) -> DataFrame:
    table = open_table(tables.spark, (config.input.paths[0],), config.input.storage_options, version=version)
    return table.select(id_as_text(table, config.input.id_field or "image_id", "input.id_field").alias("image_id"))


def _ours(config: Config) -> list[delta_log.Commit]:
    """Our deletions and insertions, newest first."""
    commits = delta_log.commits_since(config.input.paths[0], -1, config.input.storage_options)
    ours = (each for each in commits if each.mark(config.work_dir) is not None or each.restores(config.work_dir))
    return [each for each in ours if each.read_version is not None]


@contextmanager
def vacuum_in_one_line(config: Config) -> Iterator[None]:
    """Say in a line that files of an old version are gone.

    Raises:
        VacuumedError: with what to do.
    """
    try:
        yield
    except Exception as error:  # of Spark, Spark Connect or Py4J
        if not any(word in str(error) for word in _GONE):
            raise
        raise VacuumedError(
            f"{config.input.paths[0]}: files of the version before the deletion are gone, as VACUUM takes them away: "
            "its rows cannot be inserted again. Nothing was changed. Take them from where they once came from."
        ) from None
