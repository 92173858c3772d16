"""Columns that users name: json fields beside the images, and ids of any type."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from spark_imgdedup.config.values import JsonType
from spark_imgdedup.errors import SchemaError
from spark_imgdedup.files.tars.sidecar import JsonValue

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType, StructType

log = logging.getLogger("spark_imgdedup")

_ARROW_TYPES = {"string": pa.string(), "double": pa.float64(), "bigint": pa.int64(), "boolean": pa.bool_()}
# Binary is text to the tools that write it without saying so.
# Columns of a table that an error names.
_NAMED = 30
_ID_TYPES = ("string", "char", "varchar", "tinyint", "smallint", "int", "bigint", "binary")


def quoted(name: str) -> str:
    """A column's name as Spark's functions take it: without quotes a dot would lead into a struct."""
    return f"`{name.replace('`', '``')}`"


def free_name(wanted: str, names: Iterable[str]) -> str:
    """A name for a column on the way that none of these columns has, whatever their case."""
    taken = {name.lower() for name in names}
    while wanted.lower() in taken:
        wanted += "_"
    return wanted


def column_path(schema: StructType, name: str) -> tuple[list[str], DataType] | None:
    """Where the column of a name lies, and its type: one of that very name, else one within structs, as in image.bytes.

    Args:
        schema: Of a table.
        name: As users write it: without quotes, whatever it holds.

    Returns:
        The names on the way to it; None where there is none.
    """
    from pyspark.sql.types import StructType

    kinds = {field.name: field.dataType for field in schema}
    if name in kinds:
        return [name], kinds[name]
    for place in (at for at, character in enumerate(name) if character == "."):
        kind = kinds.get(name[:place])
        inner = column_path(kind, name[place + 1 :]) if isinstance(kind, StructType) else None
        if inner is not None:
            return [name[:place], *inner[0]], inner[1]
    return None


def column_at(path: Sequence[str]) -> Column:
    """The column that `column_path` has found."""
    from pyspark.sql import functions as F

    column = F.col(quoted(path[0]))
    for name in path[1:]:
        column = column.getField(name)
    return column


def in_words(schema: StructType) -> str:
    """The columns of a table for an error: image struct<bytes:binary,path:string>, label bigint."""
    shown = [f"{field.name} {field.dataType.simpleString()}" for field in list(schema)[:_NAMED]]
    return ", ".join(shown) + (f" and {len(schema) - _NAMED} more" if len(schema) > _NAMED else "")


def nearest_column(schema: StructType, name: str) -> str | None:
    """A column that a mistaken name may have meant: its like in another case, within a struct, or in spelling."""
    from pyspark.sql.types import StructType

    names = [field.name for field in schema]
    for field in schema:
        if isinstance(field.dataType, StructType):
            names += [f"{field.name}.{inner.name}" for inner in field.dataType]
    by_lower = {each.lower(): each for each in names} | {each.rpartition(".")[2].lower(): each for each in names}
    by_lower |= {each.lower(): each for each in names}
    found = difflib.get_close_matches(name.lower(), by_lower, 1)
    return by_lower[found[0]] if found else None


def without_clashes(names: Iterable[str], ours: Iterable[str], *, silent: Sequence[str] = ()) -> list[str]:
    """The columns of a user's table that may stand beside ours; Spark takes no notice of case. The others are named.

    Args:
        names: The user's.
        ours: What a table of ours has.
        silent: Those of `names` that need no word, since ours are made of them.
    """
    taken = {name.lower() for name in ours}
    names = list(names)
    if lost := [name for name in names if name.lower() in taken and name not in silent]:
        log.info("columns of the table that are left out, since the run has its own: %s", ", ".join(lost))
    return [name for name in names if name.lower() not in taken]


def field_columns(fields: Mapping[str, JsonType]) -> str:
    """The columns of json fields, to add to a schema."""
    return "".join(f", {quoted(name)} {kind}" for name, kind in fields.items())


def field_arrays(values: Sequence[tuple[JsonValue, ...]], fields: Mapping[str, JsonType]) -> dict[str, pa.Array]:
    """The json fields of some rows as Arrow columns; a row without any, such as a damaged shard's, has nulls."""
    return {
        name: pa.array([row[place] if row else None for row in values], _ARROW_TYPES[kind])
        for place, (name, kind) in enumerate(fields.items())
    }


def no_id_column(names: Iterable[str], wanted: str, setting: str, near: str | None = None) -> SchemaError:
    """What is said of a table without the column of ids that a setting names."""
    hint = f" Did you mean {setting.rpartition(' ')[2]}={near}?" if near else ""
    return SchemaError(
        f"{setting}: the table has no column '{wanted}', it has {', '.join(names)}.{hint} Name the column that holds "
        "the ids, one within a struct with a dot (image.path); nothing was removed."
    )


def id_as_text(df: DataFrame, name: str, setting: str) -> Column:
    """A column of ids as strings, so that ids of different types can be compared.

    Args:
        df: Where the column is.
        name: Of text or whole numbers; within a struct with dots.
        setting: What named the column, for the error.

    Raises:
        SchemaError: there is no such column, or it holds something else: as text, the double 1 is "1.0".
    """
    found = column_path(df.schema, name)
    if found is None:
        raise no_id_column(df.columns, name, setting, nearest_column(df.schema, name))
    path, kind = found[0], found[1].simpleString()
    if kind.partition("(")[0] not in _ID_TYPES and not (kind.startswith("decimal") and kind.endswith(",0)")):
        raise SchemaError(
            f"{setting}: column '{name}' is {kind}, and ids are text or whole numbers: as text, 1.0 is not 1. "
            "Cast the column to string or bigint, or name another one; nothing was removed."
        )
    return column_at(path).cast("string")
