"""dataset, ids -> its Parquet files without their rows: a task a file, and no image travels."""

from __future__ import annotations

import logging
import posixpath
import re
import urllib.parse
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from spark_imgdedup.config import Config
from spark_imgdedup.files import storage, writing
from spark_imgdedup.files.copying.parquet_rows import copy_rows
from spark_imgdedup.files.delta_log import is_delta
from spark_imgdedup.files.parquet_files import require_data
from spark_imgdedup.stages.columns import id_as_text
from spark_imgdedup.stages.local_rows import local_rows
from spark_imgdedup.stages.read import MAX_TASKS
from spark_imgdedup.stages.tasks import EachAlone, map_batches
from spark_imgdedup.stages.user_input.user_tables import FILE, PLACES, ROW, open_table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger("spark_imgdedup")

_COPIED = "name string, temporary string, n_rows bigint, bytes bigint"
_SCHEME = re.compile(r"^[A-Za-z][\w+.-]*:(//)?")


@dataclass(frozen=True)
class CopiedFile:
    """A file that waits for its name below the output."""

    name: str
    temporary: str
    n_rows: int
    n_bytes: int


def copy_table_files(removed: DataFrame, config: Config, folder: str) -> list[CopiedFile] | None:
    """Write each Parquet file of the input without its rows in `removed` into `folder`.

    Names, division into files and row groups, types and what files say of themselves stay as they are.

    Args:
        removed: The samples that leave: image_id.
        config: `input` is a table; `output` says where to, and by which options.
        folder: Of the temporary files; made here, for a task that Spark has given up must not bring it back.

    Returns:
        None where this cannot be done: the input is Delta, or Spark does not say which file a row is of.

    Raises:
        ConfigError: nothing is found at input.path.
        SchemaError: a file has changed since it was read.
    """
    paths, options, spark = config.input.paths, config.input.storage_options, removed.sparkSession
    if any(is_delta(path, options) for path in paths):
        return None
    urls = sorted({file.url for path in paths for file in require_data(path, options).data})
    placed = _placed(spark, removed, config)
    numbers = None if placed is None else _numbers(placed, urls)
    if placed is None or numbers is None:
        log.info("remove: Spark does not say which file a row is of, so the rows are written into new files")
        return None
    writing.make_folder(folder, config.output.storage_options)
    rows = map_batches(_work(placed, numbers, len(urls)), _Copier(urls, config, folder), _COPIED).collect()
    return [CopiedFile(row["name"], row["temporary"], row["n_rows"], row["bytes"]) for row in rows]


def _placed(spark: SparkSession, removed: DataFrame, config: Config) -> DataFrame | None:
    """The rows that leave: FILE and ROW."""
    paths, options = config.input.paths, config.input.storage_options
    if PLACES.intersection(name.lower() for name in open_table(spark, paths, options).columns):
        return None
    table = open_table(spark, paths, options, with_places=True)
    ids = id_as_text(table, config.input.id_field or "image_id", "input.id_field")
    placed = table.select(ids.alias("image_id"), FILE, ROW)
    return placed.join(removed.select("image_id"), "image_id", "left_semi").drop("image_id")


def _numbers(placed: DataFrame, urls: Sequence[str]) -> dict[str, int] | None:
    """Places in `urls` by the names that Spark has for the files; None where it has one that is none of them."""
    by_path = {_bare(storage.spark_path(url)): number for number, url in enumerate(urls)}
    said = [row[FILE] for row in placed.select(FILE).distinct().collect()]
    numbers = {name: by_path.get(_bare(urllib.parse.unquote(name))) for name in said}
    if len(by_path) < len(urls) or None in numbers.values():
        return None
    return {name: number for name, number in numbers.items() if number is not None}


def _bare(url: str) -> str:
    """A path without its scheme, which Spark and we spell in different ways (file:///a, /a)."""
    return _SCHEME.sub("", url)


def _work(placed: DataFrame, numbers: dict[str, int], n_files: int) -> DataFrame:
    """(number of a file, positions of its rows that leave), a row for each file and a partition for each task."""
    from pyspark.sql import functions as F

    spark = placed.sparkSession
    by_file = placed.groupBy(FILE).agg(F.collect_list(ROW).alias("gone"))
    names = {number: name for name, number in numbers.items()}
    files = local_rows(spark, [(number, names.get(number)) for number in range(n_files)], f"task int, {FILE} string")
    work = files.join(by_file, FILE, "left").select("task", "gone")
    # Ranges of distinct numbers give each task its partition; hashing would put two on one core and none on another.
    return work.repartitionByRange(min(n_files, MAX_TASKS), "task")


class _Copier:
    """What a task does with its files."""

    def __init__(self, urls: Sequence[str], config: Config, folder: str) -> None:
        root = _root(urls, config)
        self._files = EachAlone((url, url[len(root) :].lstrip("/")) for url in urls)
        self._options = (config.input.storage_options, config.output.storage_options)
        self._folder = folder

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number, gone in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                url, name = self._files[number]
                temporary = storage.join(self._folder, f"{uuid.uuid4().hex}.parquet")
                written = copy_rows(url, temporary, gone or [], self._options)
                values = (name, temporary, written.n_rows, written.n_bytes)
                names = ("name", "temporary", "n_rows", "bytes")
                yield pa.RecordBatch.from_pydict({key: [value] for key, value in zip(names, values, strict=True)})


def _root(urls: Sequence[str], config: Config) -> str:
    """The folder below which files keep their names: input.root, the one folder that is given, or the nearest one."""
    if config.input.root is not None:
        return storage.canonical(config.input.root)
    only = storage.canonical(config.input.paths[0])
    if len(config.input.paths) == 1 and all(storage.is_within(url, only) and url != only for url in urls):
        return only
    folders = [posixpath.dirname(url) for url in urls]
    return folders[0] if len(set(folders)) == 1 else posixpath.commonpath(folders)
