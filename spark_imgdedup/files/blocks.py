"""Vectors in blocks: Parquet files, sorted by cluster, that the tasks of the search read by themselves. No Spark.

A file has a column `embedding` of fixed-size bytes beside thin ones, and a row group for each band of clusters. What
lies where follows from `BlockIndex.counts` alone: rows stand in the order of their cluster, those without one last.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from spark_imgdedup.files import storage, writing

EMBEDDING = "embedding"
POSITION = "position"
# Row groups of a file: enough to read few clusters alone, few enough for a footer of some hundred KB.
MAX_BANDS = 128
# Bytes of vectors in a file: what a task sorts in memory.
FILE_BYTES = 128 * 2**20

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class BlockIndex:
    """Which rows of which file belong to a cluster.

    Attributes:
        folder: URL of the files and of the index.
        names: M files.
        counts: (M, K) rows of each cluster in each file.
        dim: D, numbers in a vector.
        dtype: "<f2" or "<f4", as the vectors are stored.
    """

    folder: str
    names: tuple[str, ...]
    counts: Counts
    dim: int
    dtype: str

    @classmethod
    def of(cls, folder: str, counts: Mapping[str, bytes], n_clusters: int, dim: int, dtype: str) -> BlockIndex:
        """The index of files that `write_block` wrote: its counts, as bytes of int64, by name."""
        names = tuple(sorted(counts))
        rows = [np.frombuffer(counts[name], "<i8") for name in names]
        table = np.stack(rows) if rows else np.zeros((0, n_clusters), np.int64)
        return cls(folder, names, table, dim, dtype)

    @property
    def n_clusters(self) -> int:
        """K, empty clusters among them."""
        return int(self.counts.shape[1])

    @cached_property
    def sizes(self) -> Counts:
        """(K,) rows of each cluster."""
        return np.asarray(self.counts.sum(axis=0))

    def url(self, file: int) -> str:
        """Where a file is."""
        return storage.join(self.folder, self.names[file])

    @cached_property
    def band_edges(self) -> Counts:
        """(bands + 1,) first cluster of each band."""
        return band_edges(self.n_clusters)

    @cached_property
    def first_rows(self) -> Counts:
        """(M, K + 1) first row of each cluster in each file."""
        return np.concatenate([np.zeros((len(self.names), 1), np.int64), np.cumsum(self.counts, axis=1)], axis=1)

    @cached_property
    def offsets(self) -> Counts:
        """(M + 1,) how many rows with a cluster stand in the files before each: with its row, a row's position."""
        return np.concatenate([[0], np.cumsum(self.counts.sum(axis=1))])

    def slices(self, first: int, last: int, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, int, int]]:
        """(file, row, rows) of the rows start to stop among those of the clusters first to last, last excluded.

        The rows of several clusters are counted through file by file.
        """
        passed = 0
        for file in range(len(self.names)):
            row, n = int(self.first_rows[file, first]), int(self.first_rows[file, last] - self.first_rows[file, first])
            low, high = max(start - passed, 0), n if stop is None else min(stop - passed, n)
            passed += n
            if low < high:
                yield file, row + low, high - low

    def row_groups(self, file: int, row: int, n_rows: int) -> tuple[list[int], int]:
        """The row groups that hold these rows of a file, and how many rows stand before the first of them there."""
        edges = np.unique(self.first_rows[file, self.band_edges])  # bands without rows have no row group
        inside = np.flatnonzero((edges[:-1] < row + n_rows) & (edges[1:] > row))
        return inside.tolist(), row - int(edges[inside[0]])


def band_edges(n_clusters: int) -> Counts:
    """(bands + 1,) the first cluster of each row group, and K."""
    n_bands = max(1, min(n_clusters, MAX_BANDS))
    return np.arange(n_bands + 1) * n_clusters // n_bands


@dataclass(frozen=True)
class Rows:
    """Rows to be written.

    Attributes:
        thin: Their columns beside the vectors.
        vectors: (N, D), float16 or float32, as they are to be stored.
        clusters: (N,) the cluster of each row, K where it has none.
    """

    thin: pa.Table
    vectors: NDArray[Any]
    clusters: Counts

    def __len__(self) -> int:
        return len(self.clusters)

    @classmethod
    def concat(cls, parts: Sequence[Rows]) -> Rows:
        """Several in one."""
        return cls(
            pa.concat_tables(part.thin for part in parts),
            np.concatenate([part.vectors for part in parts]),
            np.concatenate([part.clusters for part in parts]),
        )


def to_column(vectors: NDArray[Any]) -> pa.FixedSizeBinaryArray:
    """Vectors (N, D) as they are stored: N values of D numbers' bytes, in the same memory where it is in one piece."""
    width = vectors.shape[1] * vectors.itemsize
    buffers = [None, pa.py_buffer(np.ascontiguousarray(vectors))]
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(vectors), buffers)


def to_vectors(column: pa.FixedSizeBinaryArray, dtype: str) -> NDArray[Any]:
    """The vectors (N, D) of such a column, which keep its memory."""
    dim = column.type.byte_width // np.dtype(dtype).itemsize
    stored = np.frombuffer(column.buffers()[1], dtype) if len(column) else np.zeros(0, dtype)
    return stored[column.offset * dim : (column.offset + len(column)) * dim].reshape(-1, dim)


def rows_per_file(dim: int, dtype: str) -> int:
    """How many rows make a file of FILE_BYTES."""
    return max(1, FILE_BYTES // max(1, dim * np.dtype(dtype).itemsize))


def write_block(url: str, rows: Rows, n_clusters: int, options: storage.Options, *, in_folder: bool = False) -> Counts:
    """Write one file, on an object store visible only when it is whole, and say how many rows each cluster has (K,)."""
    order = np.argsort(rows.clusters, kind="stable")
    counts = np.bincount(rows.clusters, minlength=n_clusters + 1)
    edges = np.concatenate([[0], np.cumsum(counts)])[[*band_edges(n_clusters), n_clusters + 1]]
    schema = rows.thin.schema.append(pa.field(EMBEDDING, to_column(rows.vectors[:0]).type))
    thin = rows.thin.take(pa.array(order))
    file = writing.open_write(url, options, in_folder=in_folder)
    try:
        # Vectors do not compress, and nobody asks for the least of them.
        with pq.ParquetWriter(file, schema, compression="none", use_dictionary=False, write_statistics=False) as writer:
            for start, end in pairwise(edges.tolist()):
                if start < end:
                    column = to_column(rows.vectors.take(order[start:end], axis=0))
                    part = thin.slice(start, end - start).append_column(schema.field(EMBEDDING), column)
                    writer.write_table(part, row_group_size=end - start)
        writing.finish(file)
    except BaseException:
        writing.discard(file)
        raise
    return counts[:n_clusters]


def write_new_block(folder: str, rows: Rows, n_clusters: int, options: storage.Options) -> tuple[str, bytes]:
    """`write_block` in a folder that is there, under a name that no other attempt has.

    Returns:
        The name, and the counts as `BlockIndex.of` takes them.
    """
    name = f"{uuid.uuid4().hex}.parquet"
    counts = write_block(storage.join(folder, name), rows, n_clusters, options, in_folder=True)
    return name, counts.astype("<i8").tobytes()
