"""Vectors straight from their Parquet files, past the JVM, where pyarrow and Spark read the same there.

Through a DataFrame a vector is a row of the JVM's on its way; from files it is not, which is several times faster.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from spark_imgdedup.config import Config
from spark_imgdedup.files import storage
from spark_imgdedup.files.blocks import FILE_BYTES
from spark_imgdedup.files.parquet_files import table_files
from spark_imgdedup.stages.gpu_tasks import gpu_profile
from spark_imgdedup.stages.partitions import shuffle_partitions
from spark_imgdedup.stages.tasks import map_tasks
from spark_imgdedup.stages.vectors.collapsed import Marks, MarksByFile
from spark_imgdedup.stages.vectors.vector_column import HALVES, VectorColumn, vector_lengths
from spark_imgdedup.stages.vectors.vector_parts import Part, Rows, parts_of, read_part, root_of
from spark_imgdedup.stages.vectors.vector_source import VectorSource, Widths, Work, vector_source

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import StructType

# Vectors that a task reads, about: what it writes is a file.
TASK_BYTES = FILE_BYTES
# Footers read at a time by the driver.
_THREADS = 16
# Names that Spark spells as they are.
_PLAIN_NAME = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True)
class FileSource(VectorSource):
    """The same rows, read by the tasks themselves.

    Attributes:
        parts: What each task reads.
        taken: Which rows and columns of the files.
        known: `widths`, where the files' footers tell; None where a pass must.
    """

    parts: tuple[tuple[Part, ...], ...]
    taken: Rows
    known: Widths | None

    def widths(self) -> Widths:
        """As `VectorSource.widths`, from the footers where they tell."""
        if self.known is not None:
            return self.known
        if self.taken.rejects and not self.config.own_embeddings:  # one encoder made its vectors
            n_rows, first = self.rows.select("id").count(), self.rows.first()
            return Counter({len(first["embedding"]): n_rows} if first else {})

        def measure(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            found: Widths = Counter()
            for batch in batches:
                counts = pc.value_counts(vector_lengths(batch.column(1)).drop_null())
                for each in counts.to_pylist():
                    found[int(each["values"])] += each["counts"]
            widths, counts = pa.array(list(found), pa.int64()), pa.array(list(found.values()), pa.int64())
            yield pa.RecordBatch.from_arrays([widths, counts], names=["width", "n"])

        total: Widths = Counter()
        for row in self.map(measure, "width bigint, n bigint").collect():
            if row["width"] > 0:
                total[row["width"]] += row["n"]
        return total

    def map(self, work: Work, schema: StructType | str) -> DataFrame:
        """As `VectorSource.map`, a task for each part."""
        parts, taken, options = self.parts, self.taken, self.config.storage_options

        def run(numbers: Iterator[int]) -> Iterator[pa.RecordBatch]:
            mine = (part for number in numbers for part in parts[number])
            return work(batch for part in mine for batch in read_part(part, taken, options))

        spark = self.spark
        return map_tasks(spark, len(parts), run, schema, gpu_profile(spark, self.config))


def file_source(
    df: DataFrame, path: str, config: Config, mark: Callable[[], MarksByFile] | None = None
) -> VectorSource:
    """The rows of the Parquet files at `path`, of which `df` is what Spark reads there.

    Read by the tasks where pyarrow and Spark mean the same by every column that is needed, else through `df`.

    Args:
        df: What Spark reads there, without exact copies where `mark` tells them.
        path: A URL that every worker reaches.
        config: The settings.
        mark: Asked, where tasks read, for the rows that copies are; see `collapsed`. None leaves out none.

    Raises:
        SchemaError: as `vector_source`.
    """
    source = vector_source(df, config)
    options = config.storage_options
    if any("=" in name for name in storage.folder_names(path, options)):
        return source  # Spark has columns from such names
    embedding = config.cluster.embedding_field if config.own_embeddings else "embedding"
    names = (config.id_column, embedding, *config.searched_columns)
    taken = Rows(names, rejects="rejected_because" in df.columns, collapses=mark is not None)
    files = table_files(path, options).data
    with ThreadPoolExecutor(_THREADS) as pool:
        footers = list(pool.map(lambda file: _footer(file.url, options), files))
    if not files or not all(_is_plain(footer, df, taken.stored, embedding) for footer in footers):
        return source
    file_names = [storage.base_name(file.url) for file in files]
    if mark is not None and not _tells_places(df, file_names):
        return source
    marked = {} if mark is None else mark()
    return FileSource(
        *(source.rows, source.column, source.id_type, source.fields, config),
        parts=_shared_out(
            [
                part
                for file, name, footer in zip(files, file_names, footers, strict=True)
                for part in parts_of(file.url, footer, embedding, marked.get(name, Marks()))
            ],
            2 * shuffle_partitions(df),
        ),
        taken=taken,
        known=_widths_of(footers, embedding, source.column, taken),
    )


def _tells_places(df: DataFrame, file_names: list[str]) -> bool:
    """Whether Spark says of a row in which of these files it is, and where, by `_metadata` and under the same names."""
    is_hidden = all(name.lower() != "_metadata" for name in df.columns)
    is_plain = all(_PLAIN_NAME.fullmatch(name) for name in file_names)
    return is_hidden and is_plain and len(set(file_names)) == len(file_names)


def _shared_out(parts: list[Part], n_tasks: int) -> tuple[tuple[Part, ...], ...]:
    """Neighbouring parts in about n_tasks tasks; in more, where a task would have more than TASK_BYTES."""
    most = min(TASK_BYTES, sum(part.n_bytes for part in parts) / n_tasks)
    tasks: list[list[Part]] = []
    n_bytes = 0
    for part in parts:
        if not tasks or n_bytes + part.n_bytes / 2 > most:
            tasks.append([])
            n_bytes = 0
        tasks[-1].append(part)
        n_bytes += part.n_bytes
    return tuple(map(tuple, tasks))


def _footer(url: str, options: storage.Options) -> Any:
    """The metadata of a Parquet file; None of another."""
    try:
        with storage.open_random(url, options) as file:
            return pq.read_metadata(file)
    except pa.ArrowInvalid:
        return None


def _is_plain(footer: Any, df: DataFrame, names: Iterable[str], embedding: str) -> bool:
    """Whether pyarrow reads these columns of a file as Spark does."""
    if footer is None:
        return False
    schema = footer.schema.to_arrow_schema()
    if any(schema.names.count(name) != 1 for name in names):
        return False
    kinds = {field.name: field.dataType.simpleString() for field in df.schema}
    return all(
        _is_vector(schema.field(name).type, kinds[name])
        if name == embedding
        else SAME_TYPES.get(schema.field(name).type) == kinds[name]
        for name in names
    )


# What Spark and pyarrow read alike from Parquet. Times and decimals are left to Spark.
SAME_TYPES = {
    pa.string(): "string",
    pa.large_string(): "string",
    pa.int8(): "tinyint",
    pa.int16(): "smallint",
    pa.int32(): "int",
    pa.int64(): "bigint",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.bool_(): "boolean",
    pa.binary(): "binary",
}


def _is_vector(kind: pa.DataType, spark_kind: str) -> bool:
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return spark_kind == "binary"
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    return bool(is_list and pa.types.is_floating(kind.value_type))


def _widths_of(footers: list[Any], embedding: str, column: VectorColumn, taken: Rows) -> Widths | None:
    """The length of all vectors and their number, where every row group has as many numbers as rows of one length."""
    if taken.rejects or taken.collapses or column.kind not in ("array", HALVES):
        return None
    found: Widths = Counter()
    for footer in footers:
        paths = [footer.schema.column(place).path for place in range(footer.num_columns)]
        leaves = [place for place, path in enumerate(paths) if root_of(path) == embedding]
        for number in range(footer.num_row_groups):
            group = footer.row_group(number)
            n_values, n_rows = group.column(leaves[0]).num_values, group.num_rows
            if n_rows and (n_values % n_rows or n_values == n_rows):
                return None
            if n_rows:
                found[n_values // n_rows] += n_rows
    return found if len(found) == 1 else None
