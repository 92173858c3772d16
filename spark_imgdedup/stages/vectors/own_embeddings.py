"""Vectors that users bring: tables, clip-retrieval's .npy files, and lines of JSON."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from spark_imgdedup.config import Config
from spark_imgdedup.errors import ConfigError, SchemaError
from spark_imgdedup.files import storage
from spark_imgdedup.files.delta_log import is_delta
from spark_imgdedup.files.id_lists import kind_of
from spark_imgdedup.files.parquet_files import read_footers, table_files
from spark_imgdedup.stages.columns import quoted
from spark_imgdedup.stages.object_stores import read_path
from spark_imgdedup.stages.user_input.user_tables import open_table
from spark_imgdedup.stages.vectors.npy_source import NpyTable, npy_source, npy_table
from spark_imgdedup.stages.vectors.vector_files import file_source
from spark_imgdedup.stages.vectors.vector_source import VectorSource, vector_source

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# What Spark reads of JSON by itself.
_SPARK_OPENS = (".jsonl", ".ndjson", ".json", ".gz", ".bz2")
_BAD = "_corrupt_record"


def open_embeddings(spark: SparkSession, path: str, config: Config) -> tuple[DataFrame, DataFrame]:
    """The rows of the user's vectors, and the same rows to look at their ids, which may be much cheaper to read.

    Raises:
        ConfigError: there is nothing that is read at the path.
        SchemaError: a file is damaged, or what it holds are no vectors with ids.
    """
    if (table := _npy(path, config)) is not None:
        return table.rows(spark), table.ids(spark)
    lines = _json_files(path, config)
    rows = _read_json(spark, lines, config) if lines else open_table(spark, (path,), config.storage_options)
    return rows, rows


def own_source(rows: DataFrame, path: str, config: Config) -> VectorSource:
    """The vectors of `open_embeddings`, of which `rows` are the rows: past the JVM where their files allow it."""
    if (table := _npy(path, config)) is not None:
        return npy_source(rows, table, config)
    if is_delta(path, config.storage_options) or _json_files(path, config):
        return vector_source(rows, config)
    return file_source(rows, path, config)


def _npy(path: str, config: Config) -> NpyTable | None:
    options = config.storage_options
    if is_delta(path, options) or not _exists(path, config):
        return None
    tables = table_files(path, options).data
    if tables and config.cluster.embedding_field in read_footers(tables[:1], options)[0].schema.names:
        return None  # a table of vectors: what lies beside it is something else
    return npy_table(path, config)


def _json_files(path: str, config: Config) -> list[str]:
    """The files of JSON lines at a path where there is no table."""
    options = config.storage_options
    if is_delta(path, options) or not _exists(path, config):
        return []
    files = table_files(path, options)
    kinds = {file.url: kind_of(file.url) for file in files.others}
    if files.data or files.empty or not any(kinds.values()):
        return []
    found = [url for url, kind in kinds.items() if kind == "json"]
    if len(found) < len([kind for kind in kinds.values() if kind]) or not all(map(_is_open, found)):
        wrong = next(url for url, kind in kinds.items() if kind and (kind != "json" or not _is_open(url)))
        raise ConfigError(
            f"{wrong}: vectors are read from Parquet, Delta, .npy files, and lines of JSON (.jsonl, .jsonl.gz, "
            ".jsonl.bz2). Write them as one of these."
        )
    return found


def _is_open(url: str) -> bool:
    return posixpath.splitext(url.lower())[1] in _SPARK_OPENS


def _exists(path: str, config: Config) -> bool:
    return storage.is_glob(path) or storage.exists(path, config.storage_options)


def _read_json(spark: SparkSession, files: list[str], config: Config) -> DataFrame:
    from pyspark.errors import AnalysisException
    from pyspark.sql import functions as F

    places = [read_path(spark, url, config.storage_options) for url in files]
    try:
        rows = spark.read.json(places)
        names = rows.columns
    except AnalysisException as error:
        reason = str(error).splitlines()[0]
        raise SchemaError(f"{files[0]}: Spark cannot read these lines of JSON ({reason}).") from None
    embedding = config.cluster.embedding_field
    if _BAD in names:
        where, what = files[0], "none of them is"
        if others := [quoted(name) for name in names if name != _BAD]:  # which Spark wants beside it
            bad = rows.select(F.input_file_name().alias("_file"), _BAD, *others).where(F.col(_BAD).isNotNull()).first()
            where, what = (bad["_file"], repr(bad[_BAD][:80])) if bad else (where, what)
        raise SchemaError(f"{where}: a line is no JSON object ({what}). Write an object with id and vector in each.")
    if dict(rows.dtypes).get(embedding) == "array<bigint>":  # whole numbers alone
        rows = rows.withColumn(embedding, F.col(quoted(embedding)).cast("array<double>"))
    return rows
