"""Vectors from .npy files, read by the tasks past the JVM, with the ids from the files beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from spark_imgdedup.config import Config
from spark_imgdedup.errors import SchemaError
from spark_imgdedup.files import storage
from spark_imgdedup.files.id_lists import kind_of, read_ids
from spark_imgdedup.files.npy import NpyFile, read_header, read_rows, require_rows, vector_files
from spark_imgdedup.stages.gpu_tasks import gpu_profile
from spark_imgdedup.stages.tasks import map_tasks
from spark_imgdedup.stages.vectors.vector_column import VectorColumn
from spark_imgdedup.stages.vectors.vector_files import SAME_TYPES, TASK_BYTES
from spark_imgdedup.stages.vectors.vector_parts import BATCH_ROWS
from spark_imgdedup.stages.vectors.vector_source import VectorSource, Widths, Work, vector_source

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType


@dataclass(frozen=True)
class _Part:
    """Rows start to stop (exclusive) of a file of vectors, and where their ids are."""

    file: NpyFile
    ids: str
    start: int
    stop: int


@dataclass(frozen=True)
class NpyTable:
    """The rows of .npy files.

    Attributes:
        parts: What each task reads.
        columns: The id column and others that the settings name, of the files beside; their types.
        config: The settings.
    """

    parts: tuple[_Part, ...]
    columns: pa.Schema
    config: Config

    def ids(self, spark: SparkSession) -> DataFrame:
        """The columns without the vectors, which are not read."""
        return self._rows(spark, with_vectors=False)

    def rows(self, spark: SparkSession) -> DataFrame:
        """The columns, and the vectors as array<float> under the name that the settings give them."""
        return self._rows(spark, with_vectors=True)

    def batches(self, part: _Part, *, with_vectors: bool = True) -> Iterator[pa.RecordBatch]:
        """The rows of a part: the columns, the vectors after the first of them."""
        options = self.config.storage_options
        names = ["id", *(["embedding"] if with_vectors else []), *(f"_kept_{n}" for n in range(len(self.columns) - 1))]
        row = part.start
        for first, *others in _columns_beside(part, self.columns, options):
            stop = row + len(first)
            vectors = [VectorColumn("array").encode(read_rows(part.file, row, stop, options))] if with_vectors else []
            yield pa.RecordBatch.from_arrays([first, *vectors, *others], names=names)
            row = stop

    def _rows(self, spark: SparkSession, *, with_vectors: bool) -> DataFrame:
        def read(numbers: Iterator[int]) -> Iterator[pa.RecordBatch]:
            return (
                batch for number in numbers for batch in self.batches(self.parts[number], with_vectors=with_vectors)
            )

        own = [(field.name, SAME_TYPES[field.type]) for field in self.columns]
        if with_vectors:
            own.insert(1, (self.config.cluster.embedding_field, "array<float>"))
        plain = ["id", *(["embedding"] if with_vectors else []), *(f"_kept_{n}" for n in range(len(self.columns) - 1))]
        schema = ", ".join(f"{name} {kind}" for name, (_, kind) in zip(plain, own, strict=True))
        return map_tasks(spark, len(self.parts), read, schema).toDF(*(name for name, _ in own))


@dataclass(frozen=True)
class NpySource(VectorSource):
    """The same rows, read by the tasks themselves."""

    table: NpyTable

    def widths(self) -> Widths:
        """As `VectorSource.widths`, from the headers."""
        found: Widths = Counter()
        for part in self.table.parts:
            found[part.file.dim] += part.stop - part.start
        return found

    def map(self, work: Work, schema: StructType | str) -> DataFrame:
        """As `VectorSource.map`, a task for each part."""
        table = self.table

        def run(numbers: Iterator[int]) -> Iterator[pa.RecordBatch]:
            return work(batch for number in numbers for batch in table.batches(table.parts[number]))

        return map_tasks(self.spark, len(table.parts), run, schema, gpu_profile(self.spark, self.config))


def npy_source(df: DataFrame, table: NpyTable, config: Config) -> NpySource:
    """The rows of `table`, of which `df` is `table.rows`."""
    source = vector_source(df, config)
    return NpySource(source.rows, source.column, source.id_type, source.fields, config, table)


def npy_table(path: str, config: Config) -> NpyTable | None:
    """The vectors of the .npy files at a path; None where there are none. Only headers are read.

    Raises:
        ConfigError: nothing says whose the vectors of a file are.
        SchemaError: a file is no matrix of floats, or what is beside it lacks a column or a row.
    """
    options = config.storage_options
    scores = (f"{each.name}_score" for each in config.score.scorers if each.scorer is None)
    names = list(dict.fromkeys((config.cluster.id_field, *config.searched_columns, *scores)))
    parts: list[_Part] = []
    kinds: list[dict[str, pa.DataType]] = []
    for url, ids in vector_files(path, options):
        file = read_header(url, options)
        n_ids, found = _look_beside(ids, names, options)
        require_rows(file, ids, n_ids)
        kinds.append(found)
        step = max(1, TASK_BYTES // max(1, file.row_bytes))
        parts += [_Part(file, ids, row, min(row + step, n_ids)) for row in range(0, n_ids, step)]
    if not kinds:
        return None
    fields = [(name, _common([found[name] for found in kinds], name, path)) for name in names]
    return NpyTable(tuple(parts), pa.schema(fields), config)


def _look_beside(url: str, names: list[str], options: storage.Options | None) -> tuple[int, dict[str, pa.DataType]]:
    """How many rows a file has, and the types of its columns."""
    if kind_of(url) is not None:
        n_rows, found = sum(1 for _ in read_ids(url, names[0], options)), {names[0]: pa.string()}
    else:
        with storage.open_random(url, options) as stream:
            try:
                metadata = pq.read_metadata(stream)
            except pa.ArrowException as error:
                raise SchemaError(f"{url}: this file cannot be read as Parquet ({error}). Write it again.") from None
        schema = metadata.schema.to_arrow_schema()
        n_rows, found = metadata.num_rows, {field.name: _plain(field.type) for field in schema}
    for name in names:
        if name not in found:
            raise SchemaError(
                f"{url}: no column '{name}', it has {', '.join(found)}. Name the column of ids in cluster.id_field, or "
                "leave out what is to be ranked or filtered by."
            )
        if found[name] not in SAME_TYPES:
            raise SchemaError(f"{url}: column '{name}' is {found[name]}. Write it as text or numbers.")
    return n_rows, found


def _plain(kind: pa.DataType) -> pa.DataType:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.string() if pa.types.is_large_string(kind) else kind


def _common(kinds: list[pa.DataType], name: str, path: str) -> pa.DataType:
    different = list(dict.fromkeys(kinds))
    if len(different) == 1:
        return different[0]
    if all(pa.types.is_integer(kind) or pa.types.is_string(kind) for kind in different):
        return pa.string() if pa.string() in different else pa.int64()
    if all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in different):
        return pa.float64()
    raise SchemaError(
        f"{path}: column '{name}' is {' and '.join(map(str, different))} in the files beside the vectors. Write them "
        "alike."
    )


def _columns_beside(part: _Part, columns: pa.Schema, options: storage.Options | None) -> Iterator[list[pa.Array]]:
    """The columns of the rows of a part, some thousand rows at a time."""
    if kind_of(part.ids) is not None:
        ids = islice(read_ids(part.ids, columns.names[0], options), part.start, part.stop)
        while some := list(islice(ids, BATCH_ROWS)):
            yield [pa.array(some, pa.string())]
        return
    with storage.open_random(part.ids, options) as stream:
        file = pq.ParquetFile(stream)
        row = 0
        for batch in file.iter_batches(BATCH_ROWS, columns=columns.names, use_threads=False):
            low, high = max(part.start - row, 0), min(part.stop - row, batch.num_rows)
            row += batch.num_rows
            if low < high:
                yield [batch[field.name].slice(low, high - low).cast(field.type) for field in columns]
            if row >= part.stop:
                return
