"""One table from files whose columns are of different types: the type that holds the values of all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING

from spark_imgdedup.errors import SchemaError
from spark_imgdedup.stages.columns import quoted
from spark_imgdedup.stages.vectors.vector_column import DTYPE_KEY, HALVES, widen_halves

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import DataType, StructField


def unite_tables(parts: Sequence[tuple[str, DataFrame]]) -> DataFrame:
    """The rows of all tables, by column names without regard to case; null where a table has no such column.

    Whole numbers become the widest of them, and text beside text; numbers of any kind double beside floating ones.

    Args:
        parts: Tables, each with what the error calls it, such as a file; at least one.

    Raises:
        SchemaError: the types of a column have nothing in common.
    """
    fields: dict[str, list[tuple[str, StructField]]] = {}
    for place, df in parts:
        for field in df.schema:
            fields.setdefault(field.name.lower(), []).append((place, field))
    mixed = {key for key, found in fields.items() if any(_is_half(field) for _, field in found)}
    mixed = {key for key in mixed if not all(_is_half(field) for _, field in fields[key])}
    if mixed:
        has_mixed = [bool(mixed & {field.name.lower() for field in df.schema if _is_half(field)}) for _, df in parts]
        return unite_tables(
            [(place, widen_halves(df) if has else df) for (place, df), has in zip(parts, has_mixed, strict=True)]
        )
    kinds = {key: _common(found) for key, found in fields.items()}
    return reduce(
        lambda one, other: one.unionByName(other, allowMissingColumns=True),
        (_cast(df, {key: (fields[key][0][1], kind) for key, kind in kinds.items()}) for _, df in parts),
    )


def _cast(df: DataFrame, wanted: Mapping[str, tuple[StructField, DataType]]) -> DataFrame:
    from pyspark.sql import functions as F

    columns = []
    for field in df.schema:
        first, kind = wanted[field.name.lower()]
        column = F.col(quoted(field.name))
        if field.dataType != kind:
            column = column.cast(kind)
        columns.append(column.alias(first.name, metadata=field.metadata))
    return df.select(*columns)


def _common(found: Sequence[tuple[str, StructField]]) -> DataType:
    from pyspark.sql.types import BinaryType, IntegerType, NullType

    (place, field), *others = found
    kind = field.dataType
    for other, each in others:
        both = _widest(kind, each.dataType)
        marks = [each_field.metadata.get(DTYPE_KEY) for each_field in (field, each)]
        if both is None or (isinstance(both, BinaryType) and marks[0] != marks[1]):  # bytes of other numbers
            what = ((kind, marks[0]), (each.dataType, marks[1]))
            one, two = (f"{each_kind.simpleString()} {mark or ''}".strip() for each_kind, mark in what)
            raise SchemaError(
                f"column '{field.name}' is {one} in {place} and {two} in {other}, which have nothing in common. Write "
                "one of them again, or the table without that column."
            )
        if isinstance(kind, NullType):
            place = other
        kind = both
    return IntegerType() if isinstance(kind, NullType) else kind  # as Spark reads a column without a type


def _widest(one: DataType, other: DataType) -> DataType | None:
    from pyspark.sql.types import ArrayType, DoubleType, FloatType, NullType, StringType

    if one == other or isinstance(other, NullType):
        return one
    if isinstance(one, NullType):
        return other
    if isinstance(one, ArrayType) and isinstance(other, ArrayType):
        inner = _widest(one.elementType, other.elementType)
        return None if inner is None else ArrayType(inner)
    digits = [_digits(kind) for kind in (one, other)]
    if None not in digits:
        return _whole(max(each for each in digits if each is not None))
    is_text = [isinstance(kind, StringType) for kind in (one, other)]
    if any(is_text):
        return StringType() if all(text or n is not None for text, n in zip(is_text, digits, strict=True)) else None
    floats = (FloatType, DoubleType)
    is_number = all(n or isinstance(kind, floats) for kind, n in zip((one, other), digits, strict=True))
    return DoubleType() if is_number else None


def _digits(kind: DataType) -> int | None:
    """Decimal digits that whole numbers of a type may have; None of other types."""
    from pyspark.sql.types import ByteType, DecimalType, IntegerType, LongType, ShortType

    if isinstance(kind, DecimalType):
        return kind.precision if kind.scale == 0 else None
    digits: dict[type[DataType], int] = {ByteType: 3, ShortType: 5, IntegerType: 10, LongType: 19}
    return digits.get(type(kind))


def _whole(digits: int) -> DataType:
    from pyspark.sql.types import ByteType, DecimalType, IntegerType, LongType, ShortType

    by_digits: dict[int, DataType] = {3: ByteType(), 5: ShortType(), 10: IntegerType(), 19: LongType()}
    return by_digits.get(digits) or DecimalType(max(digits, 20), 0)


def _is_half(field: StructField) -> bool:
    return field.metadata.get(DTYPE_KEY) == HALVES
