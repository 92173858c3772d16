"""Which column of a table holds the images: bytes, or Hugging Face's struct of bytes and a path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spark_imgdedup.config import InputConfig
from spark_imgdedup.errors import SchemaError
from spark_imgdedup.stages.columns import column_at, column_path, in_words, nearest_column

if TYPE_CHECKING:
    from pyspark.sql import Column
    from pyspark.sql.types import DataType, StructType

_BYTES, _PATH = "bytes", "path"
_DEFAULT: str = InputConfig.model_fields["image_column"].default


@dataclass(frozen=True)
class ImageColumn:
    """Where the images of a table are.

    Attributes:
        path: The names on the way to the bytes: of a column, and of fields within structs.
    """

    path: tuple[str, ...]

    @property
    def name(self) -> str:
        """The column of the table that the bytes are, or are in."""
        return self.path[0]

    @property
    def column(self) -> Column:
        """The bytes."""
        return column_at(self.path)


def find_image_column(schema: StructType, wanted: str) -> ImageColumn:
    """The column that `input.image_column` names, or the one image struct of a table that has no column of the default.

    Args:
        schema: Of the table.
        wanted: The setting: a binary column or an image struct, at any depth of structs (image.bytes).

    Raises:
        SchemaError: there is none, several could be meant, or it holds no bytes; with what to set instead.
    """
    found = column_path(schema, wanted)
    if found is None and wanted == _DEFAULT:
        structs = [field.name for field in schema if _is_image(field.dataType)]
        if len(structs) == 1:
            found = column_path(schema, structs[0])
    if found is None:
        raise _missing(schema, wanted)
    path, kind = found
    if kind.typeName() == "binary":
        return ImageColumn(tuple(path))
    if _has_bytes(kind):
        return ImageColumn((*path, _BYTES))
    raise _no_bytes(schema, wanted, kind)


def _has_bytes(kind: DataType) -> bool:
    from pyspark.sql.types import BinaryType, StructType

    return isinstance(kind, StructType) and any(
        field.name == _BYTES and isinstance(field.dataType, BinaryType) for field in kind
    )


def _holds_bytes(kind: DataType) -> bool:
    return _has_bytes(kind) or kind.typeName() == "binary"


def _is_image(kind: DataType) -> bool:
    return _has_bytes(kind) and _PATH in {field.name for field in kind}  # type: ignore[attr-defined]  # a struct


def _missing(schema: StructType, wanted: str) -> SchemaError:
    could_be = [field.name for field in schema if _holds_bytes(field.dataType)]
    near = nearest_column(schema, wanted)
    found = None if near is None else column_path(schema, near)
    if near is not None and found is not None and _holds_bytes(found[1]):
        could_be = list(dict.fromkeys([near, *could_be]))
    remedy = " or ".join(f"input.image_column={name}" for name in could_be[:3])
    return SchemaError(
        f"input.image_column: the table has no column '{wanted}', it has {in_words(schema)}. "
        + (f"Set {remedy}." if remedy else "None of them holds bytes: name a table with encoded images in it.")
    )


def _no_bytes(schema: StructType, wanted: str, kind: DataType) -> SchemaError:
    from pyspark.sql.types import BinaryType, StructType

    said = f"input.image_column: found {wanted} {kind.simpleString()}"
    if isinstance(kind, StructType):
        inner = [f"{wanted}.{field.name}" for field in kind if isinstance(field.dataType, BinaryType)]
        if inner:
            return SchemaError(f"{said}: set input.image_column={inner[0]}")
    elsewhere = [field.name for field in schema if _holds_bytes(field.dataType)]
    remedy = f"Set input.image_column={elsewhere[0]}, or name" if elsewhere else "Name"
    return SchemaError(
        f"{said}, which holds no bytes. {remedy} a binary column of encoded images (JPEG, PNG, …); of paths or URLs, "
        "make tars or loose files of the images first."
    )
