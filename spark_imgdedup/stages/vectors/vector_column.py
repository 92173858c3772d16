"""Embedding columns as matrices, and back.

A column of bytes says how it is stored in its own column metadata, so that a DataFrame needs nothing beside it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from spark_imgdedup.errors import SchemaError
from spark_imgdedup.kernels.vectors import invalid_rows
from spark_imgdedup.stages.columns import quoted
from spark_imgdedup.stages.tasks import map_batches

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pyspark.sql import Column, DataFrame

DTYPE_KEY = "embedding_type"

# What tables are written in.
EmbeddingType = Literal["float16", "float32", "array"]
# Lists of Parquet's FLOAT16, which is no type of Spark's: `open_table` reads each number as its two bytes.
HALVES = "float16_list"
VectorKind = EmbeddingType | Literal["float16_list"]
_SPARK_TYPES = {"array": "array<float>", HALVES: "array<binary>"}
_NAN = b"\x00\x7e"  # float16, little-endian
Matrix = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class VectorColumn:
    """How the vectors of one column are stored."""

    kind: VectorKind

    @property
    def spark_type(self) -> str:
        """The column's type in a Spark schema string."""
        return _SPARK_TYPES.get(self.kind, "binary")

    def in_table(self, wanted: EmbeddingType) -> VectorColumn:
        """How these vectors are written to a table of ours: as stored, lists as bytes unless lists are wanted."""
        if not self._is_list:
            return self
        return VectorColumn("array" if wanted == "array" else "float16" if self.kind == HALVES else "float32")

    @property
    def metadata(self) -> dict[str, str]:
        """What the column carries so that it can be read again."""
        return {DTYPE_KEY: self.kind}

    def width(self, dim: int) -> int:
        """Length of a stored vector of `dim` numbers, as `vector_lengths` and `lengths` count it."""
        return dim * self._item_bytes

    def dim(self, width: int) -> int:
        """Numbers in a stored vector of that length."""
        return width // self._item_bytes

    def lengths(self, name: str) -> Column:
        """The Spark expression for the length of each stored vector in column `name`."""
        from pyspark.sql import functions as F

        return F.size(name) if self._is_list else F.length(name)

    def encode(self, matrix: Matrix, present: Mask | None = None) -> pa.Array:
        """(N, D) floats as an Arrow array of N vectors.

        Args:
            matrix: One row for each vector.
            present: (M,) with N times True: the result has M places, null where False.

        Raises:
            ValueError: the column is of a kind that is read only.
        """
        if self.kind == HALVES:
            raise ValueError(f"vectors are not written as {self.kind}; use in_table.")
        n, dim = matrix.shape
        if self.kind == "array":
            offsets = pa.array(np.arange(n + 1, dtype=np.int32) * dim)
            vectors = pa.ListArray.from_arrays(offsets, pa.array(matrix.astype(np.float32, copy=False).ravel()))
        else:
            stored = np.ascontiguousarray(matrix.astype(self._dtype, copy=False))
            vectors = pa.array([row.tobytes() for row in stored], pa.binary())
        if present is None or present.all():
            return vectors
        return vectors.take(pa.array(np.cumsum(present) - 1, mask=~present))

    def decode(self, column: pa.Array | pa.ChunkedArray) -> Matrix:
        """The vectors as an (N, D) float32 matrix, exactly as stored (not normalised); NaN for a null within one.

        Raises:
            SchemaError: a vector is null, or their lengths differ.
        """
        chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
        chunks = [chunk for chunk in chunks if len(chunk)]
        if not chunks:
            return np.zeros((0, 0), np.float32)
        lengths = {length for chunk in chunks for length in pc.unique(vector_lengths(chunk)).to_pylist()}
        if len(lengths) != 1 or not (length := lengths.pop()):
            raise SchemaError(
                f"Every embedding must have the same length, found lengths {sorted(map(str, lengths))} (None: no "
                "embedding). Keep one model per table, and leave out rows that have rejected_because set."
            )
        if self.kind == "array" or (self.kind == HALVES and pa.types.is_float16(chunks[0].type.value_type)):
            rows = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in chunks]
        elif self.kind == HALVES:
            rows = [_bytes_of(chunk.flatten().fill_null(_NAN)).view("<f2") for chunk in chunks]
        else:
            rows = [_bytes_of(chunk).view(self._dtype) for chunk in chunks]
        return np.concatenate(rows).astype(np.float32, copy=False).reshape(-1, self.dim(length))

    @property
    def _is_list(self) -> bool:
        return self.kind in _SPARK_TYPES

    @property
    def _dtype(self) -> np.dtype[Any]:
        return np.dtype("<f2" if self.kind == "float16" else "<f4")

    @property
    def _item_bytes(self) -> int:
        # A list's length counts numbers, not bytes.
        return 1 if self._is_list else self._dtype.itemsize


def vector_lengths(column: pa.Array) -> pa.Array:
    """Length of each vector: bytes of a binary one, numbers of a list; null for no vector."""
    is_binary = pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)
    return pc.binary_length(column) if is_binary else pc.list_value_length(column)


def vector_column(df: DataFrame, name: str, *, stage: str) -> VectorColumn:
    """How `df` stores the vectors of column `name`.

    Raises:
        SchemaError: there is no such column, or it does not hold vectors.
    """
    field = next((field for field in df.schema if field.name == name), None)
    kind = field.dataType.simpleString() if field else "nothing"
    mark = field.metadata.get(DTYPE_KEY) if field else None
    if kind in ("array<float>", "array<double>", "vector"):
        return VectorColumn("array")
    if (kind == "binary" and mark in ("float16", "float32")) or (kind == "array<binary>" and mark == HALVES):
        return VectorColumn(mark)
    raise SchemaError(
        f"Stage '{stage}' needs embeddings in column '{name}', found {kind} among {', '.join(df.columns)}. Use "
        "array<float>, array<double>, a Parquet list of float16, Spark ML's vector, or the binary embeddings that this "
        "package writes (their column metadata says float16 or float32)."
    )


def vector_values(df: DataFrame, name: str, column: VectorColumn) -> Column:
    """Column `name` of `df` as the type that `column.spark_type` says."""
    from pyspark.sql import functions as F

    values = F.col(quoted(name))
    if df.schema[name].dataType.simpleString() == "vector":
        from pyspark.ml.functions import vector_to_array

        return F.when(values.isNotNull(), vector_to_array(values, "float32"))  # which refuses null
    return values.cast("array<float>") if column.kind == "array" else values


def without_vector_type(df: DataFrame, name: str) -> DataFrame:
    """`df` with Spark ML's vectors of column `name` as array<float>, which travel to Python; unchanged without any."""
    if dict(df.dtypes).get(name) != "vector":
        return df
    return df.withColumn(name, vector_values(df, name, VectorColumn("array")))


def require_id_type(df: DataFrame, name: str) -> None:
    """Fail on the driver if column `name` cannot hold ids.

    Raises:
        SchemaError: it is neither text nor of whole numbers.
    """
    kind = dict(df.dtypes)[name]
    # uint64 comes from Parquet as decimal(20,0).
    is_whole = kind in ("int", "bigint", "smallint", "tinyint") or re.fullmatch(r"decimal\(\d+,0\)", kind)
    if kind != "string" and not is_whole:
        raise SchemaError(f"cluster.id_field: column '{name}' is {kind}. Cast it to string or an integer type.")


def mark_vectors(df: DataFrame, name: str, column: VectorColumn) -> DataFrame:
    """`df` whose column `name` says how its vectors are stored."""
    return df.withMetadata(name, column.metadata)


def widen_halves(df: DataFrame) -> DataFrame:
    """`df` with lists of float16 as array<float>, which Spark can write; unchanged where it has none."""
    from pyspark.sql.types import ArrayType, FloatType, StructField, StructType

    names = [field.name for field in df.schema if field.metadata.get(DTYPE_KEY) == HALVES]
    if not names:
        return df
    floats = ArrayType(FloatType())
    schema = StructType([StructField(f.name, floats if f.name in names else f.dataType) for f in df.schema])

    def widen(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            columns = dict(zip(batch.schema.names, batch.columns, strict=True))
            yield pa.RecordBatch.from_pydict(columns | {name: _widened(columns[name]) for name in names})

    return map_batches(df, widen, schema)


def _widened(column: pa.Array) -> pa.Array:
    values = column.flatten()
    halves = _bytes_of(values.fill_null(_NAN)).view("<f2").astype(np.float32)
    numbers = pa.array(halves, mask=np.asarray(values.is_null()))
    lengths = pc.fill_null(pc.list_value_length(column), 0)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    return pa.ListArray.from_arrays(offsets, numbers, mask=column.is_null())


def _bytes_of(chunk: pa.Array) -> npt.NDArray[np.uint8]:
    # Straight from Arrow's buffers: to_pylist would make a Python object for each row.
    wide = pa.types.is_large_binary(chunk.type)
    _, offsets_buffer, data = chunk.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64 if wide else np.int32)[
        chunk.offset : chunk.offset + len(chunk) + 1
    ]
    return np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]]


def are_plain(vectors: Matrix) -> bool:
    """Whether float32 tells already that every vector has a length: half the time of `invalid_rows`."""
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("ij,ij->i", vectors, vectors)
    return bool(np.all((squares > 1e-20) & (squares < 1e20)))


def is_usable(vectors: Matrix) -> Mask:
    """(N,) whether each vector has a direction."""
    return (
        np.ones(len(vectors), bool)
        if are_plain(vectors)
        else np.array([reason is None for reason in invalid_rows(vectors)], bool)
    )
