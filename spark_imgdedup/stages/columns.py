"""Columns that users name: json fields beside the images, and ids of any type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from spark_imgdedup.config.values import JsonType
from spark_imgdedup.errors import SchemaError
from spark_imgdedup.files.sidecar import JsonValue

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

_ARROW_TYPES = {"string": pa.string(), "double": pa.float64(), "bigint": pa.int64(), "boolean": pa.bool_()}
# Binary is text to the tools that write it without saying so.
_ID_TYPES = ("string", "char", "varchar", "tinyint", "smallint", "int", "bigint", "binary")


def quoted(name: str) -> str:
    """A column's name as Spark's functions take it: without quotes a dot would lead into a struct."""
    return f"`{name.replace('`', '``')}`"


def field_columns(fields: Mapping[str, JsonType]) -> str:
    """The columns of json fields, to add to a schema."""
    return "".join(f", {quoted(name)} {kind}" for name, kind in fields.items())


def field_arrays(values: Sequence[tuple[JsonValue, ...]], fields: Mapping[str, JsonType]) -> dict[str, pa.Array]:
    """The json fields of some rows as Arrow columns; a row without any, such as a damaged shard's, has nulls."""
    return {
        name: pa.array([row[place] if row else None for row in values], _ARROW_TYPES[kind])
        for place, (name, kind) in enumerate(fields.items())
    }


def id_as_text(df: DataFrame, name: str, setting: str) -> Column:
    """A column of ids as strings, so that ids of different types can be compared.

    Args:
        df: Where the column is.
        name: Text or whole numbers.
        setting: What named the column, for the error.

    Raises:
        SchemaError: there is no such column, or it holds something else: as text, the double 1 is "1.0".
    """
    from pyspark.sql import functions as F

    kinds = {field.name: field.dataType.simpleString() for field in df.schema}
    if name not in kinds:
        raise SchemaError(
            f"{setting}: the table has no column '{name}', it has {', '.join(kinds)}. Name the column that holds the "
            "ids; nothing was removed."
        )
    kind = kinds[name]
    if kind.partition("(")[0] not in _ID_TYPES and not (kind.startswith("decimal") and kind.endswith(",0)")):
        raise SchemaError(
            f"{setting}: column '{name}' is {kind}, and ids are text or whole numbers: as text, 1.0 is not 1. "
            "Cast the column to string or bigint, or name another one; nothing was removed."
        )
    return F.col(quoted(name)).cast("string")
