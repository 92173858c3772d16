"""Rows of blocks, read by cluster, by file or by place. No Spark."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from spark_imgdedup.files import storage
from spark_imgdedup.files.blocks import EMBEDDING, POSITION, BlockIndex, to_vectors

# A task that reads a cluster reads a piece of every file: of 440 million rows there are thousands, and a system lets a
# process open 1,024 files or so. Each holds its footer in memory too, of some hundred KB.
MOST_OPEN = 256


class BlockReader:
    """Reads rows of blocks; the MOST_OPEN files that were read last stay open between calls.

    Args:
        index: What there is.
        options: Of the storage.
    """

    def __init__(self, index: BlockIndex, options: storage.Options) -> None:
        self.index, self._options = index, options
        self._open: dict[int, pq.ParquetFile] = {}

    def read(self, places: Iterable[tuple[int, int, int]]) -> list[tuple[pa.Table, NDArray[Any]]]:
        """For each (file, row, rows) the thin columns and the vectors (rows, D) as stored.

        A thin column `position` numbers the rows of all blocks; in copies of rows it is that of the row itself.
        """
        return [self._read(*place) for place in places]

    def read_thin(self, file: int, row: int, n_rows: int) -> pa.Table:
        """The thin columns of some rows of a file."""
        groups, offset = self.index.row_groups(file, row, n_rows)
        names = [name for name in self._file(file).schema_arrow.names if name != EMBEDDING]
        table = self._file(file).read_row_groups(groups, columns=names, use_threads=False)
        return self._placed(table.slice(offset, n_rows).combine_chunks(), file, row)

    def bands(self, file: int) -> Iterator[tuple[pa.Table, NDArray[Any]]]:
        """The rows of a file that have a cluster, row group by row group."""
        edges = np.unique(self.index.first_rows[file, self.index.band_edges]).tolist()
        return (self._read(file, start, end - start) for start, end in pairwise(edges))

    def thin(self, file: int, columns: Sequence[str]) -> pa.Table:
        """These columns of the rows of a file that have a cluster, and their positions."""
        n_rows = int(self.index.offsets[file + 1] - self.index.offsets[file])
        return self._placed(self._file(file).read(list(columns), use_threads=False).slice(0, n_rows), file, 0)

    def _read(self, file: int, row: int, n_rows: int) -> tuple[pa.Table, NDArray[Any]]:
        groups, offset = self.index.row_groups(file, row, n_rows)
        table = self._file(file).read_row_groups(groups, use_threads=False).slice(offset, n_rows).combine_chunks()
        vectors = to_vectors(table[EMBEDDING].combine_chunks(), self.index.dtype)
        return self._placed(table.drop_columns([EMBEDDING]), file, row), vectors

    def _placed(self, thin: pa.Table, file: int, row: int) -> pa.Table:
        if POSITION in thin.column_names:
            return thin
        start = int(self.index.offsets[file]) + row
        return thin.append_column(POSITION, pa.array(np.arange(start, start + len(thin))))

    def _file(self, file: int) -> pq.ParquetFile:
        found = self._open.pop(file, None)
        if found is None:
            if len(self._open) >= MOST_OPEN:
                self._open.pop(next(iter(self._open))).close(force=True)
            found = pq.ParquetFile(storage.open_random(self.index.url(file), self._options))
        self._open[file] = found  # last of them: the first is the one that was not read for the longest
        return found

    def close(self) -> None:
        """Close the files."""
        for file in self._open.values():
            file.close(force=True)
        self._open.clear()

    def __enter__(self) -> BlockReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
