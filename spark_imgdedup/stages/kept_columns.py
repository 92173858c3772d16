"""Columns that stay with the rows from embeddings to duplicates: present, of exact types, and fit to rank by."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_imgdedup.config import Config
from spark_imgdedup.config.ranking import DISTANCE
from spark_imgdedup.errors import SchemaError
from spark_imgdedup.kernels.ranking import RankKey
from spark_imgdedup.kernels.vectors import DECIMALS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import StructField, StructType


def plain_names(names: Iterable[str]) -> dict[str, str]:
    """What kept columns are called on their way through Python, where Spark takes no dot in a name.

    Args:
        names: `config.searched_columns`, or `config.kept_columns`, which are the first of these.
    """
    return {name: f"_kept_{place}" for place, name in enumerate(names)}


def kept_fields(df: DataFrame, names: Iterable[str], config: Config, *, stage: str) -> list[StructField]:
    """The fields of these columns in `df`, in that order.

    Raises:
        SchemaError: one is missing, or is to be ranked by and has no order.
    """
    present = {field.name: field for field in df.schema}
    names = list(names)
    if missing := [name for name in names if name not in present]:
        raise SchemaError(
            f"Stage '{stage}' needs {', '.join(missing)}, but its input has {', '.join(present)}. Correct "
            "cluster.metadata_columns or pairwise.which_to_keep, or add the column to the table."
        )
    for name, _ in config.rank_keys:
        if name in names and not _has_order(present[name]):
            raise SchemaError(
                f"pairwise.metadata_columns: column '{name}' is {present[name].dataType.simpleString()}, which cannot "
                "be ranked by. Use a column of numbers, text, booleans, dates or timestamps."
            )
    return [present[name] for name in names]


def with_fields(df: DataFrame, columns: str, fields: list[StructField]) -> StructType:
    """A schema of our own columns, and of fields whose types a schema string would not keep exactly.

    Args:
        df: Any DataFrame of the session.
        columns: As in `schemas`.
        fields: What follows them.
    """
    from pyspark.sql.types import StructType

    return StructType([*df.sparkSession.createDataFrame([], columns).schema.fields, *fields])


def rank_keys(cluster: pa.Table, distances: npt.NDArray[np.float64], config: Config) -> list[RankKey]:
    """What `rank_order` needs for which_to_keep metadata; nothing for the other strategies."""
    plain = plain_names(config.kept_columns)

    def values(name: str) -> Any:
        return np.round(distances, DECIMALS) if name == DISTANCE else _values(cluster[plain.get(name, name)])

    return [RankKey(name, values(name), ascending) for name, ascending in config.rank_keys]


def matrix(column: pa.Array, width: int) -> npt.NDArray[np.uint8]:
    """Bytes (N, width) of a binary column; zeros where it is null or shorter."""
    rows = np.zeros((len(column), width), np.uint8)
    for place, value in enumerate(column.to_pylist()):
        if value:
            rows[place, : len(value)] = np.frombuffer(value, np.uint8)
    return rows


def in_utc(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column with its timestamps, nested ones too, in UTC: the same moments.

    Spark hands them out in the session's time zone, and from `applyInArrow` it takes back none but UTC.
    """
    kind = _utc_type(column.type)
    return column if kind == column.type else column.cast(kind)


def _utc_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return pa.timestamp(kind.unit, "UTC")
    if pa.types.is_list(kind):
        return pa.list_(_utc_field(kind.value_field))
    if pa.types.is_map(kind):
        return pa.map_(_utc_field(kind.key_field), _utc_field(kind.item_field))
    if pa.types.is_struct(kind):
        return pa.struct([_utc_field(field) for field in kind])
    return kind


def _utc_field(field: pa.Field) -> pa.Field:
    return field.with_type(_utc_type(field.type))


def _values(column: pa.ChunkedArray) -> list[Any]:
    if pa.types.is_temporal(column.type):
        # As counts of their unit: as Python's own they end at the year 9999.
        column = column.cast(pa.int32() if column.type.bit_width == 32 else pa.int64())
    return list(column.to_pylist())


def _has_order(field: StructField) -> bool:
    from pyspark.sql import types as T

    ordered = (T.NumericType, T.StringType, T.BooleanType, T.DateType, T.TimestampType, T.TimestampNTZType)
    return isinstance(field.dataType, ordered)
