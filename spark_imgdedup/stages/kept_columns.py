"""Columns that stay with the rows from embeddings to duplicates: present, of exact types, and fit to rank by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_imgdedup.config import Config
from spark_imgdedup.config.ranking import DISTANCE
from spark_imgdedup.errors import SchemaError
from spark_imgdedup.kernels.ranking import RankKey
from spark_imgdedup.kernels.vectors import DECIMALS
from spark_imgdedup.stages.columns import quoted

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import StructField, StructType


def kept(config: Config) -> list[str]:
    """`config.kept_columns`, quoted for a select."""
    return [quoted(name) for name in config.kept_columns]


def plain_names(config: Config) -> dict[str, str]:
    """What `config.kept_columns` are called on their way through Python, where Spark takes no dot in a name."""
    return {name: f"_kept_{place}" for place, name in enumerate(config.kept_columns)}


def kept_fields(df: DataFrame, config: Config, *, stage: str) -> list[StructField]:
    """The fields of `config.kept_columns` in `df`, in that order.

    Raises:
        SchemaError: one is missing, or is to be ranked by and has no order.
    """
    present = {field.name: field for field in df.schema}
    if missing := [name for name in config.kept_columns if name not in present]:
        raise SchemaError(
            f"Stage '{stage}' needs {', '.join(missing)}, but its input has {', '.join(present)}. Correct "
            "cluster.metadata_columns, or add the column to the table."
        )
    ranked = config.pairwise.metadata_columns if config.pairwise.which_to_keep == "metadata" else ()
    for name in ranked:
        if name in config.kept_columns and not _has_order(present[name]):
            raise SchemaError(
                f"pairwise.metadata_columns: column '{name}' is {present[name].dataType.simpleString()}, which cannot "
                "be ranked by. Use a column of numbers, text, booleans, dates or timestamps."
            )
    return [present[name] for name in config.kept_columns]


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
    pairwise, plain = config.pairwise, plain_names(config)
    if pairwise.which_to_keep != "metadata":
        return []

    def values(name: str) -> Any:
        return np.round(distances, DECIMALS) if name == DISTANCE else _values(cluster[plain.get(name, name)])

    by = zip(pairwise.metadata_columns, pairwise.directions, strict=True)
    return [RankKey(name, values(name), ascending) for name, ascending in by]


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
