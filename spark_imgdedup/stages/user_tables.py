"""Tables that users bring: Parquet or Delta, with what other tools write and Spark cannot read by itself.

Spark 4 refuses Parquet files that hold a FLOAT16 (pyarrow, Hugging Face datasets) or a UUID (DuckDB) anywhere. It reads
both as bytes when a schema asks for that. Spark 3.5 reads no file with a FLOAT16, whatever it is asked for.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from functools import reduce
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from spark_imgdedup.errors import ConfigError, SchemaError
from spark_imgdedup.files import storage
from spark_imgdedup.files.delta_log import is_delta
from spark_imgdedup.stages.object_stores import jvm_path
from spark_imgdedup.stages.vector_column import DTYPE_KEY, HALVES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import DataType, StructType

_REFUSED = {"FLOAT16", "UUID"}
_UUID_KEY = "is_uuid"
_UUID_DIGITS = "^(.{8})(.{4})(.{4})(.{4})(.{12})$"


def open_table(
    spark: SparkSession,
    paths: tuple[str, ...],
    options: Mapping[str, Any] | None = None,
    *,
    version: int | None = None,
) -> DataFrame:
    """Parquet or Delta (told by its log, and at a version of it) at one or more paths.

    `options` are the storage options by which they are opened.

    Parquet's UUIDs are text, and lists of its float16 array<binary>, which `_vectors` reads: Spark knows neither.

    Raises:
        ConfigError: there is nothing at a path, or it is Delta and the session has no Delta.
        SchemaError: a column is of a type that Spark cannot read.
    """
    for path in paths:
        if not storage.is_glob(path) and not storage.exists(path, options):
            raise ConfigError(f"{path}: no such table. Name a Parquet file, a folder of them, or a Delta table.")
    deltas = [is_delta(path, options) for path in paths]
    if all(deltas) and len(paths) == 1:
        return _open_delta(spark, paths[0], options, version)
    if any(deltas):
        raise ConfigError(f"{', '.join(paths)}: several paths must all be Parquet; give one Delta table at a time.")
    tables = [_open_parquet(spark, path, options) for path in paths]
    return reduce(lambda one, other: one.unionByName(other, allowMissingColumns=True), tables)


def _open_parquet(spark: SparkSession, path: str, options: storage.Options | None) -> DataFrame:
    if next(_data_files(path, options), None) is None:
        raise ConfigError(f"{path}: no files there. Name a Parquet file, a folder of them, or a Delta table.")
    # Spark searches folders or reads columns from their names (year=2024), never both.
    has_partitions = any("=" in name for name in storage.folder_names(path, options))
    reader = spark.read.option("recursiveFileLookup", str(not has_partitions).lower())
    if (schema := _schema_for_spark(spark, path, options)) is not None:
        reader = reader.schema(schema)
    return _spell_uuids(reader.parquet(jvm_path(spark, path, options)))


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


def _schema_for_spark(spark: SparkSession, path: str, options: storage.Options | None) -> StructType | None:
    """A schema by which Spark reads the Parquet files of a folder, glob or file; None where it needs none.

    Looks at the footer of the first file, on the driver.

    Raises:
        SchemaError: beside such a column there is one that no schema helps with, named in the error; or Spark is 3.5.
    """
    from pyspark.sql.types import ArrayType, BinaryType, StructField, StructType

    metadata = _first_footer(path, options)
    if metadata is None:
        return None
    leaves = [metadata.schema.column(place) for place in range(metadata.num_columns)]
    logical = {leaf.path: leaf.logical_type.type for leaf in leaves}
    if not _REFUSED.intersection(logical.values()):
        return None
    if "FLOAT16" in logical.values() and spark.version.startswith("3."):
        raise SchemaError(
            f"{path}: Spark {spark.version} cannot read Parquet with float16 numbers in it. Use Spark 4 or newer, or "
            "write that column as float32."
        )
    fields = []
    for field in metadata.schema.to_arrow_schema():
        if logical.get(field.name) == "UUID":
            fields.append(StructField(field.name, BinaryType(), metadata={_UUID_KEY: True}))
        elif _is_list(field.type) and pa.types.is_float16(field.type.value_type):
            fields.append(StructField(field.name, ArrayType(BinaryType()), metadata={DTYPE_KEY: HALVES}))
        else:
            fields.append(StructField(field.name, _spark_type(field, path)))
    return StructType(fields)


def _spell_uuids(df: DataFrame) -> DataFrame:
    """`df` with the UUIDs of `_schema_for_spark` as text: 123e4567-e89b-12d3-a456-426614174000."""
    from pyspark.sql import functions as F

    for field in df.schema:
        if field.metadata.get(_UUID_KEY):
            digits = F.lower(F.hex(df[field.name]))
            df = df.withColumn(field.name, F.regexp_replace(digits, _UUID_DIGITS, "$1-$2-$3-$4-$5"))
    return df


def _first_footer(path: str, options: storage.Options | None) -> Any:
    first = next(_data_files(path, options), None)  # if it is no Parquet file, Spark says so itself
    if first is None:
        return None
    try:
        with storage.open_read(first.url, options) as file:
            return pq.read_metadata(file)
    except pa.ArrowInvalid:
        return None


def _data_files(path: str, options: storage.Options | None) -> Iterator[storage.FileInfo]:
    # Spark passes over these names.
    return (file for file in storage.list_files(path, "", options) if not posixpath.basename(file.url).startswith("_"))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _spark_type(field: pa.Field, path: str) -> DataType:
    from pyspark.errors import PySparkTypeError
    from pyspark.sql.pandas.types import from_arrow_type
    from pyspark.sql.types import DecimalType, IntegerType, LongType, ShortType

    unsigned: dict[pa.DataType, DataType] = {
        pa.uint8(): ShortType(),
        pa.uint16(): IntegerType(),
        pa.uint32(): LongType(),
        pa.uint64(): DecimalType(20, 0),
    }
    try:
        return unsigned.get(field.type) or from_arrow_type(field.type)
    except PySparkTypeError:
        raise SchemaError(
            f"{path}: Spark cannot read column '{field.name}' ({field.type}). Write the table without it, or cast it."
        ) from None
