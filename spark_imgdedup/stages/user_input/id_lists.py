"""Ids to remove, or to keep: tables and lists -> one column of text."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from spark_imgdedup.files import storage
from spark_imgdedup.files.delta_log import is_delta
from spark_imgdedup.files.id_lists import id_files
from spark_imgdedup.files.id_lists import read_ids as read_list
from spark_imgdedup.files.parquet_files import read_footers, table_files
from spark_imgdedup.stages.columns import id_as_text, no_id_column
from spark_imgdedup.stages.tasks import map_tasks
from spark_imgdedup.stages.user_input.user_tables import open_table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# Files are shared out among at most so many tasks.
_MAX_TASKS = 200
_BATCH_ROWS = 10_000
# Lists up to this size are looked through by the driver: a million ids, 0.2 s of text and 3 s of JSON lines.
_SMALL_BYTES = 16 * 2**20


def read_ids(
    spark: SparkSession, paths: Sequence[str], id_field: str, options: Mapping[str, Any] | None = None
) -> DataFrame:
    """The ids of one or more tables and lists as text, in a column `image_id`: a row for each of their rows.

    A path is a Parquet or Delta table, or files of text, CSV or JSON, see `files.id_lists`. Each is opened by itself,
    so that one may have numbers and another text.

    Raises:
        ConfigError: there is no list at a path.
        SchemaError: a list has no column `id_field`, or it holds neither text nor whole numbers; the list is named.
    """
    parts = (_read(spark, path, id_field, options) for path in paths)
    return reduce(lambda one, other: one.unionByName(other), parts)


def require_lists(paths: Sequence[str], id_field: str, options: Mapping[str, Any] | None = None) -> None:
    """Look, without Spark and before any work, whether these lists are there and have the ids: a run ends with them.

    Raises:
        ConfigError: there is no list at a path.
        SchemaError: a file is damaged, or none of a list has `id_field`.
    """
    for path in paths:
        if is_delta(path, options):
            continue
        files = id_files(path, options)
        _look_through(files.lists, id_field, options)
        footers = read_footers(table_files(path, options).data, options) if files.is_table else []
        names = dict.fromkeys(name for footer in footers for name in footer.schema.names)
        within = {leaf.path for footer in footers for leaf in footer.leaves}
        # A column may come from the names of folders, such as year=2024.
        if (
            names
            and id_field not in within.union(names)
            and not any("=" in name for name in storage.folder_names(path, options))
        ):
            raise no_id_column(names, id_field, f"{path}: remove.id_field")


def _read(spark: SparkSession, path: str, id_field: str, options: Mapping[str, Any] | None) -> DataFrame:
    if not is_delta(path, options):
        files = id_files(path, options)
        if not files.is_table:
            return _read_lists(spark, files.lists, id_field, options)
    table = open_table(spark, (path,), options)
    return table.select(id_as_text(table, id_field, f"{path}: remove.id_field").alias("image_id"))


def _read_lists(
    spark: SparkSession, files: Sequence[storage.FileInfo], id_field: str, options: Mapping[str, Any] | None
) -> DataFrame:
    _look_through(files, id_field, options)
    urls = [file.url for file in files]
    groups = [urls[place::_MAX_TASKS] for place in range(min(_MAX_TASKS, len(urls)))]

    def read(numbers: Iterator[int]) -> Iterator[pa.RecordBatch]:
        ids = (one for number in numbers for url in groups[number] for one in read_list(url, id_field, options))
        return (pa.RecordBatch.from_pydict({"image_id": pa.array(some, pa.string())}) for some in _batched(ids))

    return map_tasks(spark, len(groups), read, "image_id string")


def _look_through(files: Sequence[storage.FileInfo], id_field: str, options: Mapping[str, Any] | None) -> None:
    """A list of something else is named on the driver: of small ones every line is read, of others the first id."""
    for file in files:
        ids = read_list(file.url, id_field, options)
        _ = next(ids, None) if file.n_bytes > _SMALL_BYTES else deque(ids, 0)


def _batched(ids: Iterator[str | None]) -> Iterator[list[str | None]]:
    while some := list(islice(ids, _BATCH_ROWS)):
        yield some
