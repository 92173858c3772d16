"""Tables that users bring: Parquet or Delta, with what other tools write and Spark cannot read by itself.

A folder may hold files that are no Parquet, and Parquet files of different columns and types: rows have all columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spark_imgdedup.errors import ConfigError
from spark_imgdedup.files import storage
from spark_imgdedup.files.delta_log import is_delta
from spark_imgdedup.files.parquet_files import Footer, read_footers, require_data
from spark_imgdedup.stages.object_stores import jvm_path, read_path
from spark_imgdedup.stages.user_input.common_types import unite_tables
from spark_imgdedup.stages.user_input.odd_types import restore, schema_for_spark

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


# Where a row is, and what Spark tells that by: a table with columns of these names cannot be asked.
FILE, ROW = "_spark_imgdedup_file", "_spark_imgdedup_row"
PLACES = frozenset({FILE, ROW, "_metadata"})


def open_table(
    spark: SparkSession,
    paths: tuple[str, ...],
    options: Mapping[str, Any] | None = None,
    *,
    version: int | None = None,
    with_places: bool = False,
) -> DataFrame:
    """Parquet or Delta (told by its log, and at a version of it) at one or more paths.

    `options` are the storage options by which they are opened. `with_places` adds to rows of Parquet the file that each
    is of, as Spark spells it (FILE), and its position there from 0 on (ROW).

    Rows have the columns of all files. Parquet's UUIDs and times of day are text, and lists of its float16
    array<binary>, which `vector_column` reads: Spark knows none of these.

    Raises:
        ConfigError: there is nothing at a path, or it is Delta and the session has no Delta.
        SchemaError: a file is damaged, or a column is of a type that Spark cannot read, or of types that have nothing
            in common, or has a twin that differs in case only.
    """
    for path in paths:
        if not storage.is_glob(path) and not storage.exists(path, options):
            raise ConfigError(f"{path}: no such table. Name a Parquet file, a folder of them, or a Delta table.")
    deltas = [is_delta(path, options) for path in paths]
    if all(deltas) and len(paths) == 1:
        return _open_delta(spark, paths[0], options, version)
    if any(deltas):
        raise ConfigError(f"{', '.join(paths)}: several paths must all be Parquet; give one Delta table at a time.")
    tables = [each for path in paths for each in _open_parquet(spark, path, options, with_places)]
    if len(tables) == 1:
        return tables[0][1]
    return unite_tables([(footer.url, _without_type(table, footer)) for footer, table in tables])


def _open_parquet(
    spark: SparkSession, path: str, options: storage.Options | None, with_places: bool
) -> list[tuple[Footer, DataFrame]]:
    """The rows of a path: a DataFrame for the files of each schema, with the footer of the first of them."""
    files = require_data(path, options)
    groups: dict[Any, list[Footer]] = {}
    for footer in read_footers(files.data, options):
        groups.setdefault(footer.form, []).append(footer)
    is_pattern = storage.is_glob(path) and not storage.exists(path, options)
    is_whole = len(groups) == 1 and not (files.others or files.empty or is_pattern)
    has_partitions = any("=" in name for name in storage.folder_names(path, options))
    tables = []
    for footers in groups.values():
        # Spark searches folders or reads columns from their names (year=2024), never both.
        reader = spark.read.option("recursiveFileLookup", str(not has_partitions).lower())
        if has_partitions and not is_whole:
            reader = reader.option("basePath", jvm_path(spark, path, options))
        if (schema := schema_for_spark(footers[0], spark.version)) is not None:
            reader = reader.schema(schema)
        places = [path] if is_whole else [footer.url for footer in footers]
        table = reader.parquet(*(read_path(spark, place, options) for place in places))
        if with_places:
            table = table.selectExpr("*", f"_metadata.file_path AS {FILE}", f"_metadata.row_index AS {ROW}")
        tables.append((footers[0], restore(table)))
    return tables


def _without_type(table: DataFrame, footer: Footer) -> DataFrame:
    """`table`, in which columns that pandas wrote without a type, since all their values are None, have none."""
    from pyspark.sql import functions as F

    untyped = {leaf.path for leaf in footer.leaves if leaf.logical == "Null"}.intersection(table.columns)
    return table.withColumns({name: F.lit(None) for name in untyped}) if untyped else table


def _open_delta(spark: SparkSession, path: str, options: storage.Options | None, version: int | None) -> DataFrame:
    reader = spark.read.format("delta")
    reader = reader if version is None else reader.option("versionAsOf", version)
    try:
        table = reader.load(jvm_path(spark, path, options))
        _ = table.schema  # Spark Connect looks for the format only when it is asked for something
        return table
    except Exception as error:
        if "DATA_SOURCE_NOT_FOUND" not in str(error):
            raise
        raise ConfigError(
            f"{path} is a Delta table, and this Spark session cannot read Delta. Start it with Delta's jar and "
            "extension, or name a Parquet table."
        ) from None
