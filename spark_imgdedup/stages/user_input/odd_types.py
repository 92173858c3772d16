"""Columns of Parquet that Spark cannot read by itself: a schema by which it does, and what they become.

Spark 4 refuses files that hold a FLOAT16 (pyarrow, Hugging Face datasets), a UUID (DuckDB), a TIMESTAMP of nanoseconds
(pandas) or a TIME anywhere. It reads them as bytes and whole numbers when a schema asks for that. Spark 3.5 reads no
file with a FLOAT16, whatever it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from spark_imgdedup.errors import SchemaError
from spark_imgdedup.files.parquet_files import Footer, Leaf
from spark_imgdedup.stages.columns import quoted
from spark_imgdedup.stages.vectors.vector_column import DTYPE_KEY, HALVES

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType, StructField, StructType

_KEY = "parquet_type"
_UUID_DIGITS = "^(.{8})(.{4})(.{4})(.{4})(.{12})$"


def schema_for_spark(footer: Footer, spark_version: str) -> StructType | None:
    """A schema by which Spark reads such a file; None where it needs none. `restore` makes of the rows what was meant.

    Raises:
        SchemaError: there is a column that no schema helps with, named in the error; or Spark is 3.5.
    """
    from pyspark.sql.types import StructType

    odd = {leaf.path: leaf for leaf in footer.leaves if _is_refused(leaf)}
    if not odd:
        return None
    if spark_version.startswith("3.") and any(leaf.logical == "Float16" for leaf in odd.values()):
        raise SchemaError(
            f"{footer.url}: Spark {spark_version} cannot read Parquet with float16 numbers in it. Use Spark 4 or "
            "newer, or write that column as float32."
        )
    return StructType([_field(field, odd, footer.url) for field in footer.schema])


def restore(df: DataFrame) -> DataFrame:
    """`df` with what `schema_for_spark` had read as bytes and numbers as it was meant.

    UUIDs are text (123e4567-e89b-12d3-a456-426614174000), times of day too (23:59:59.000000). A timestamp keeps its
    microseconds, which is all that Spark has.
    """
    from pyspark.sql import functions as F

    columns = []
    for field in df.schema:
        column, mark = F.col(quoted(field.name)), field.metadata.get(_KEY)
        columns.append(column if mark is None else _restored(column, mark).alias(field.name))
    return df.select(*columns) if any(_KEY in field.metadata for field in df.schema) else df


def _restored(column: Column, mark: str) -> Column:
    from pyspark.sql import functions as F

    kind, _, unit = mark.partition(" ")
    if kind == "UUID":
        return F.regexp_replace(F.lower(F.hex(column)), _UUID_DIGITS, "$1-$2-$3-$4-$5")
    if unit == "milliseconds":
        micros = column.cast("bigint") * 1000
    else:  # floor: division would round moments before 1970 up
        micros = column if unit == "microseconds" else F.floor(column / F.lit(1000).cast("decimal(4,0)")).cast("bigint")
    if kind == "MOMENT":
        return F.timestamp_micros(micros)
    seconds = micros.cast("decimal(20,0)") / F.lit(1_000_000).cast("decimal(7,0)")
    zero = F.lit(0)
    clock = F.lit("1970-01-01 00:00:00").cast("timestamp_ntz") + F.make_dt_interval(zero, zero, zero, seconds)
    return F.date_format(clock, "HH:mm:ss.SSSSSS") if kind == "TIME" else clock


def _is_refused(leaf: Leaf) -> bool:
    in_nanoseconds = leaf.logical == "Timestamp" and leaf.unit == "nanoseconds"
    return in_nanoseconds or leaf.logical in ("Float16", "UUID", "Time")


def _field(field: pa.Field, odd: dict[str, Leaf], url: str) -> StructField:
    from pyspark.sql.types import ArrayType, BinaryType, IntegerType, LongType, StructField

    leaf = odd.get(field.name)
    if leaf is not None and leaf.logical == "UUID":
        return StructField(field.name, BinaryType(), metadata={_KEY: "UUID"})
    if leaf is not None and leaf.logical in ("Time", "Timestamp"):
        kind = "TIME" if leaf.logical == "Time" else "MOMENT" if leaf.in_utc else "CLOCK"
        stored = IntegerType() if leaf.physical == "INT32" else LongType()
        return StructField(field.name, stored, metadata={_KEY: f"{kind} {leaf.unit}"})
    if _is_list(field.type) and pa.types.is_float16(field.type.value_type):
        return StructField(field.name, ArrayType(BinaryType()), metadata={DTYPE_KEY: HALVES})
    if leaf is not None or any(path.startswith(f"{field.name}.") for path in odd):
        raise _cannot_read(field, url)
    return StructField(field.name, _spark_type(field, url))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _spark_type(field: pa.Field, url: str) -> DataType:
    """The type that Spark itself gives such a column of Parquet."""
    from pyspark.errors import PySparkTypeError
    from pyspark.sql.pandas.types import from_arrow_type
    from pyspark.sql.types import DateType, DecimalType, IntegerType, LongType, ShortType

    own: dict[pa.DataType, DataType] = {
        pa.uint8(): ShortType(),
        pa.uint16(): IntegerType(),
        pa.uint32(): LongType(),
        pa.uint64(): DecimalType(20, 0),
        pa.null(): IntegerType(),
        pa.date64(): DateType(),
    }
    if pa.types.is_duration(field.type):
        return LongType()
    try:
        return own.get(field.type) or from_arrow_type(field.type, prefer_timestamp_ntz=True)
    except PySparkTypeError:
        raise _cannot_read(field, url) from None


def _cannot_read(field: pa.Field, url: str) -> SchemaError:
    return SchemaError(
        f"{url}: Spark cannot read column '{field.name}' ({field.type}). Write the table without it, or cast it."
    )
