"""Embedding columns as matrices, and back.

A binary column says how it is stored in its own column metadata, so that a DataFrame needs nothing beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from spark_imgdedup.errors import SchemaError

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

DTYPE_KEY = "embedding_type"

EmbeddingType = Literal["float16", "float32", "array"]
Matrix = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class VectorColumn:
    """How the vectors of one column are stored."""

    kind: EmbeddingType

    @property
    def spark_type(self) -> str:
        """The column's type in a Spark schema string."""
        return "array<float>" if self.kind == "array" else "binary"

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

        return F.size(name) if self.kind == "array" else F.length(name)

    def encode(self, matrix: Matrix, present: Mask | None = None) -> pa.Array:
        """(N, D) floats as an Arrow array of N vectors.

        Args:
            matrix: One row for each vector.
            present: (M,) with N times True: the result has M places, null where False.
        """
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
        """The vectors as an (N, D) float32 matrix, exactly as stored (not normalised).

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
        if self.kind == "array":
            rows = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in chunks]
        else:
            rows = [_bytes_of(chunk).view(self._dtype) for chunk in chunks]
        return np.concatenate(rows).astype(np.float32, copy=False).reshape(-1, self.dim(length))

    @property
    def _dtype(self) -> np.dtype[Any]:
        return np.dtype("<f2" if self.kind == "float16" else "<f4")

    @property
    def _item_bytes(self) -> int:
        # A list's length counts numbers, not bytes.
        return 1 if self.kind == "array" else self._dtype.itemsize


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
    if field is not None and kind in ("array<float>", "array<double>"):
        return VectorColumn("array")
    if field is not None and kind == "binary" and field.metadata.get(DTYPE_KEY) in ("float16", "float32"):
        return VectorColumn(field.metadata[DTYPE_KEY])
    raise SchemaError(
        f"Stage '{stage}' needs embeddings in column '{name}', found {kind} among {', '.join(df.columns)}. Use "
        "array<float>, array<double>, or the binary embeddings that this package writes (their column metadata says "
        "float16 or float32)."
    )


def mark_vectors(df: DataFrame, name: str, column: VectorColumn) -> DataFrame:
    """`df` whose column `name` says how its vectors are stored."""
    return df.withMetadata(name, column.metadata)


def _bytes_of(chunk: pa.Array) -> npt.NDArray[np.uint8]:
    # Straight from Arrow's buffers: to_pylist would make a Python object for each row.
    wide = pa.types.is_large_binary(chunk.type)
    _, offsets_buffer, data = chunk.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64 if wide else np.int32)[
        chunk.offset : chunk.offset + len(chunk) + 1
    ]
    return np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]]
