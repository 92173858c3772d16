"""A Parquet file without some of its rows: the same columns and types, what it says of itself, its row groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from spark_imgdedup.errors import SchemaError
from spark_imgdedup.files import storage, writing

# A row group in memory: one that the input has larger becomes several.
MOST_BYTES = 128 * 2**20
# Rows are read so many bytes at a time, by what a row of their group takes on average.
_BATCH_BYTES = 16 * 2**20
_READ_BUFFER = 2**20
_ARROW_SCHEMA = b"ARROW:schema"
# pyarrow writes the raw form under this name; it cannot write LZO.
_CODECS = {"UNCOMPRESSED": "NONE", "LZ4_RAW": "LZ4", "LZO": "SNAPPY"}


@dataclass(frozen=True)
class WrittenRows:
    """What was written: rows, and the bytes of the file."""

    n_rows: int
    n_bytes: int


def copy_rows(
    source: str,
    target: str,
    gone: Sequence[int] | npt.NDArray[np.int64],
    options: tuple[storage.Options | None, storage.Options | None] = (None, None),
) -> WrittenRows:
    """Write the rows of `source` but for those at the positions `gone` to `target`.

    Columns keep their names, types and codecs, row groups their rows but for those that leave, and the file keeps what
    it says of itself, such as a dataset's features (`huggingface`). Sorting marks and bloom filters are not kept.

    Args:
        source: A Parquet file.
        target: Another one, in a folder that is there; a file of that name is replaced.
        gone: Positions from 0 on, each once, in any order.
        options: Of the storage of `source` and of `target`.

    Raises:
        SchemaError: a position is beyond the end of the file, which has changed since it was read.
    """
    positions = np.sort(np.asarray(gone, np.int64))
    with storage.open_random(source, options[0]) as stream:
        file = pq.ParquetFile(stream, buffer_size=_READ_BUFFER, pre_buffer=False)
        if len(positions) and (positions[0] < 0 or positions[-1] >= file.metadata.num_rows):
            raise SchemaError(
                f"{source}: row {positions[-1]} is to leave, and the file has {file.metadata.num_rows} rows. It has "
                "changed since it was read: run again."
            )
        sink = writing.open_write(target, options[1], in_folder=True)
        try:
            n_rows = _write(file, sink, positions)
            writing.finish(sink)
        except BaseException:
            writing.discard(sink)
            raise
    expected = file.metadata.num_rows - len(positions)
    if n_rows != expected:
        raise SchemaError(
            f"{source}: {expected} rows were to stay and {n_rows} were read. The file is damaged, or has changed: run "
            "again."
        )
    return WrittenRows(n_rows, storage.size(target, options[1]))


def _write(file: pq.ParquetFile, sink: object, gone: npt.NDArray[np.int64]) -> int:
    n_rows = 0
    with pq.ParquetWriter(sink, file.schema_arrow, **_as_written(file)) as writer:
        for group in _groups(file, gone):
            writer.write_table(group, row_group_size=max(1, group.num_rows))
            n_rows += group.num_rows
    return n_rows


def _as_written(file: pq.ParquetFile) -> dict[str, object]:
    """How the file was written, for a writer that is to write alike."""
    about = file.metadata
    columns = [about.schema.column(place) for place in range(about.num_columns)]
    codecs = {column.path: "SNAPPY" for column in columns}
    if about.num_row_groups:
        group = about.row_group(0)
        chunks = [group.column(place) for place in range(group.num_columns)]
        codecs = {chunk.path_in_schema: _CODECS.get(chunk.compression, chunk.compression) for chunk in chunks}
    paths = [column.path for column in columns]
    return {
        "compression": codecs,
        # Spark writes moments as INT96, and reads no nanoseconds of another type.
        "use_deprecated_int96_timestamps": any(column.physical_type == "INT96" for column in columns),
        "store_schema": _ARROW_SCHEMA in (about.metadata or {}),
        "use_compliant_nested_type": not any(".list.item" in path for path in paths),
    }


def _groups(file: pq.ParquetFile, gone: npt.NDArray[np.int64]) -> Iterator[pa.Table]:
    """The rows that stay, in tables of a row group each."""
    start = 0
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        held: list[pa.RecordBatch] = []
        n_bytes = 0
        n_rows = max(1, min(group.num_rows, _BATCH_BYTES * group.num_rows // max(1, group.total_byte_size)))
        for batch in file.iter_batches(batch_size=n_rows, row_groups=[number]):
            kept = _without(batch, gone, start)
            start += batch.num_rows
            if kept.num_rows:
                held.append(kept)
                n_bytes += kept.nbytes
            if n_bytes >= MOST_BYTES:
                yield pa.Table.from_batches(held, file.schema_arrow)
                held, n_bytes = [], 0
        if held:
            yield pa.Table.from_batches(held, file.schema_arrow)


def _without(batch: pa.RecordBatch, gone: npt.NDArray[np.int64], start: int) -> pa.RecordBatch:
    first, last = np.searchsorted(gone, [start, start + batch.num_rows])
    if first == last:
        return batch
    stays = np.ones(batch.num_rows, bool)
    stays[gone[first:last] - start] = False
    return batch.filter(pa.array(stays))
