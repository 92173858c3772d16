"""What Delta is asked for beside reads and writes: the size of a table, marks on our commits, errors in one line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from operator import methodcaller
from typing import TYPE_CHECKING

from spark_imgdedup.config import Config
from spark_imgdedup.errors import TableError
from spark_imgdedup.files import delta_log, storage

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Not an option of MERGE, so it must be set for the session.
_USER_METADATA = "spark.databricks.delta.commitInfo.userMetadata"
# Delta's name of an error, and what the user can do. Delta names several where one is the cause of another: the first
# of these counts.
_REMEDIES = {
    "DELTA_MISSING_NOT_NULL_COLUMN_VALUE": "Give the column a value in each row, or drop the constraint.",
    "DELTA_NOT_NULL_CONSTRAINT_VIOLATED": "Give the column a value in each row, or drop the constraint.",
    "DELTA_REPLACE_WHERE_MISMATCH": "Correct output.replace_where, the rows, or the constraint that is named here.",
    "DELTA_FAILED_RECOGNIZE_PREDICATE": "Correct output.replace_where: it is what stands after WHERE in SQL.",
    "UNRESOLVED_COLUMN": "Correct output.replace_where, or add the column to the table.",
    "DELTA_VIOLATE_CONSTRAINT_WITH_VALUES": "Correct the rows, or drop the constraint.",
    "DELTA_CANNOT_MODIFY_APPEND_ONLY": "Set the table's property delta.appendOnly to false to allow it.",
    "DELTA_CONCURRENT": "Somebody else wrote to the table at that moment: run again.",
    "DELTA_METADATA_CHANGED": "Somebody else changed the table at that moment: run again.",
    "DELTA_PROTOCOL_CHANGED": "Somebody else changed the table at that moment: run again.",
}


def table_name(path: str) -> str:
    """The table at a path, as SQL takes it."""
    return f"delta.`{storage.spark_path(path).replace('`', '``')}`"


def table_size(spark: SparkSession, path: str) -> tuple[int, int]:
    """Bytes and files of the newest version of a Delta table: its folder holds older ones too."""
    row = spark.sql(f"DESCRIBE DETAIL {table_name(path)}").select("sizeInBytes", "numFiles").collect()[0]
    return int(row["sizeInBytes"]), int(row["numFiles"])


def rows_at(spark: SparkSession, path: str, version: int) -> int:
    """Rows of a version of a Delta table."""
    return spark.read.format("delta").option("versionAsOf", version).load(storage.spark_path(path)).count()


@contextmanager
def commits_marked(spark: SparkSession, config: Config, fingerprint: str) -> Iterator[None]:
    """Inside, every commit to a Delta table says which removal made it."""
    with commits_saying(spark, delta_log.mark_for(config.work_dir, fingerprint)):
        yield


@contextmanager
def commits_saying(spark: SparkSession, metadata: str) -> Iterator[None]:
    """Inside, every commit to a Delta table has this `userMetadata`."""
    before = spark.conf.get(_USER_METADATA, None)
    spark.conf.set(_USER_METADATA, metadata)
    try:
        yield
    finally:
        if before is None:
            spark.conf.unset(_USER_METADATA)
        else:
            spark.conf.set(_USER_METADATA, before)


@contextmanager
def errors_in_one_line(path: str) -> Iterator[None]:
    """Turn what Delta says of a refused or interrupted write into one line; it has changed nothing then.

    Raises:
        TableError: with Delta's words and a remedy.
    """
    try:
        yield
    except Exception as error:  # of Spark, Spark Connect or Py4J
        text = str(error)
        names = re.findall(r"\[(DELTA_\w+|UNRESOLVED_COLUMN)", text)
        remedy = next(
            (words for key, words in _REMEDIES.items() if any(map(methodcaller("startswith", key), names))), None
        )
        if remedy is None:
            raise
        said = " ".join(text[text.index(f"[{names[0]}") :].partition(" SQLSTATE")[0].split())[:300].rstrip(".")
        raise TableError(f"{path}: {said}. {remedy} Nothing was changed.") from None


def find_commit(config: Config, path: str, after: int, fingerprint: str) -> delta_log.Commit:
    """The newest commit of a removal of this work_dir.

    Raises:
        TableError: there is none.
    """
    options = config.input.storage_options if config.deletes else config.output.storage_options
    for commit in delta_log.commits_since(path, after, options):
        if commit.mark(config.work_dir) == fingerprint:
            return commit
    raise TableError(
        f"{path}: its log names no commit of this run after version {after}. Look at it: "
        f"DESCRIBE HISTORY {table_name(path)}"
    )
