"""Embedding columns as matrices, and back.

A binary column says how it is stored in its own column metadata, so that a DataFrame needs nothing beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from spark_imgdedup.errors import SchemaError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

DTYPE_KEY = "embedding_type"

EmbeddingType = Literal["float16", "float32", "array"]
Matrix = npt.NDArray[np.float32]


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

    def encode(self, matrix: Matrix) -> pa.Array:
        """(N, D) floats as an Arrow array of N vectors."""
        n, dim = matrix.shape
        if self.kind == "array":
            offsets = np.arange(0, (n + 1) * dim, dim, dtype=np.int32) if dim else np.zeros(n + 1, np.int32)
            return pa.ListArray.from_arrays(pa.array(offsets), pa.array(matrix.astype(np.float32, copy=False).ravel()))
        stored = np.ascontiguousarray(matrix.astype("<f2" if self.kind == "float16" else "<f4", copy=False))
        return pa.array([row.tobytes() for row in stored], pa.binary())

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
            rows = [chunk.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False) for chunk in chunks]
            return np.concatenate(rows).reshape(-1, length)
        dtype = np.dtype("<f2" if self.kind == "float16" else "<f4")
        return np.concatenate([_bytes_of(chunk).view(dtype).astype(np.float32) for chunk in chunks]).reshape(
            -1, length // dtype.itemsize
        )


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
