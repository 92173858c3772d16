"""Row groups of the Parquet files that vectors lie in, and the rows of them that take part, as one task reads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from spark_imgdedup.errors import SchemaError
from spark_imgdedup.files import storage
from spark_imgdedup.stages.vectors.collapsed import GONE, Counts, Marks, counts_of

# Rows of a batch read from a file: about 16 MB at 512 numbers. Whole row groups take four times as long, for their
# memory is new each time (measured: 0.22 s and 0.9 s for 128 MB).
BATCH_ROWS = 8192
READ_BYTES = 8 * 2**20
# The kept column that says how many copies a row stands for.
DUP_COUNT = "dup_count"


@dataclass(frozen=True)
class Part:
    """A row group of a file."""

    url: str
    row_group: int
    first_row: int  # of the file
    n_bytes: int  # of its vectors, as they are stored
    marks: Marks  # of the file


@dataclass(frozen=True)
class Rows:
    """Which rows and columns tasks take.

    Attributes:
        names: The columns of a batch, in order: an id, a vector and kept ones.
        rejects: Whether the files have `rejected_because`, which must be null.
        collapses: Whether copies are left out, and DUP_COUNT is told by marks and not by the files.
    """

    names: tuple[str, ...]
    rejects: bool
    collapses: bool

    @property
    def stored(self) -> list[str]:
        """The columns that the files have."""
        stored = [name for name in self.names if not (self.collapses and name == DUP_COUNT)]
        return [*stored, "rejected_because"] if self.rejects else stored

    def of(self, batch: pa.RecordBatch, dup_counts: Counts) -> pa.RecordBatch:
        """A batch (id, embedding, _kept_0, …) of the rows that take part."""
        # By name: a file may have them in another order.
        columns = {name: batch[name] for name in batch.schema.names}
        takes_part = pa.array(dup_counts != GONE)
        if self.rejects:
            takes_part = pc.and_(takes_part, batch["rejected_because"].is_null())
        if self.collapses:
            columns[DUP_COUNT] = pa.array(dup_counts)
        arrays = [columns[name] for name in self.names]
        if not pc.all(takes_part).as_py():
            arrays = [array.filter(takes_part) for array in arrays]
        names = ["id", "embedding", *(f"_kept_{place}" for place in range(len(arrays) - 2))]
        return pa.RecordBatch.from_arrays(arrays, names=names)


def parts_of(url: str, footer: Any, embedding: str, marks: Marks) -> Iterator[Part]:
    """The row groups of a file that hold rows.

    Args:
        url: Of the file.
        footer: Its metadata.
        embedding: The column of the vectors.
        marks: Those of the file.
    """
    first = 0
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        if group.num_rows:
            columns = (group.column(place) for place in range(group.num_columns))
            sizes = (each.total_uncompressed_size for each in columns if root_of(each.path_in_schema) == embedding)
            yield Part(url, number, first, sum(sizes), marks)
        first += group.num_rows


def root_of(path: str) -> str:
    """The column that a leaf of a Parquet schema is of."""
    # A name may hold dots: what follows it in the path of a list is fixed.
    for suffix in (".list.element", ".list.item", ".bag.array_element", ".list.array"):
        if path.endswith(suffix):
            return path.removesuffix(suffix)
    return path


def read_part(part: Part, rows: Rows, options: storage.Options) -> Iterator[pa.RecordBatch]:
    """Its batches of rows that take part; none without a row.

    Raises:
        SchemaError: the file is damaged.
    """
    marks, first = part.marks.read(options), part.first_row
    try:
        with storage.open_random(part.url, options) as stream:
            file, columns = pq.ParquetFile(stream, buffer_size=READ_BYTES), rows.stored
            groups = [part.row_group]
            for batch in file.iter_batches(BATCH_ROWS, row_groups=groups, columns=columns, use_threads=False):
                taking_part = rows.of(batch, counts_of(marks, first, batch.num_rows))
                first += batch.num_rows
                if taking_part.num_rows:
                    yield taking_part
    except (pa.ArrowException, OSError) as error:
        raise SchemaError(f"{part.url}: this file cannot be read any further ({error}). Write it again.") from None
