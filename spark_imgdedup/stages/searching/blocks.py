"""embeddings -> blocks: the vectors with their clusters, as files that the tasks of the search read by themselves.

Vectors go from file to file and through no JVM: tasks assign clusters, sort what they hold and write it. Spark gets a
row for each file, so that a task that it ran twice counts once.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_imgdedup.config import Config
from spark_imgdedup.files import artifacts, storage, writing
from spark_imgdedup.files.blocks import BlockIndex, Rows, rows_per_file, to_column, to_vectors, write_new_block
from spark_imgdedup.kernels.ranking import hash_ids
from spark_imgdedup.stages.centroids import Population
from spark_imgdedup.stages.cluster import Assigned, assigned
from spark_imgdedup.stages.kept_columns import kept_fields, plain_names
from spark_imgdedup.stages.object_stores import jvm_path
from spark_imgdedup.stages.vectors.vector_parts import BATCH_ROWS
from spark_imgdedup.stages.vectors.vector_source import VectorSource

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import DataType, StructField, StructType

# Rows kept aside, by a hash of their ids, to measure what a search finds.
SAMPLE_ROWS = 4096
_SAMPLE_SEED = 7
_THIN = ("id", "cluster_id", "cosine_dist_to_cent", "rejected_because")
_WRITTEN = "name string, counts binary, rejected string, sample binary"


@dataclass(frozen=True)
class Blocks:
    """The blocks of a run, and what the tables call their columns.

    Attributes:
        spark: The session.
        config: The settings.
        id_type: Spark's type of the id.
        fields: The kept columns.
        index: Of the files.
        centroids: (K, D), as stored.
    """

    spark: SparkSession
    config: Config
    id_type: DataType
    fields: tuple[StructField, ...]
    index: BlockIndex
    centroids: artifacts.Artifact

    @classmethod
    def of(cls, clusters: DataFrame, index: BlockIndex, centroids: artifacts.Artifact, config: Config) -> Blocks:
        """The blocks that `clusters` is the thin side of.

        Raises:
            SchemaError: it lacks a kept column, or that is to be ranked by and has no order.
        """
        fields = kept_fields(clusters, config.kept_columns, config, stage="pairwise")
        id_type = clusters.schema[config.id_column].dataType
        return cls(clusters.sparkSession, config, id_type, tuple(fields), index, centroids)


@dataclass(frozen=True)
class Sample:
    """Rows drawn by a hash of their ids, in its order.

    Attributes:
        ids: N ids.
        clusters: (N,) their homes.
        vectors: (N, D) as stored.
    """

    ids: pa.Array
    clusters: npt.NDArray[np.int64]
    vectors: npt.NDArray[np.floating]

    def __len__(self) -> int:
        return len(self.clusters)

    def first(self, n: int) -> Sample:
        """The first n rows."""
        return Sample(self.ids.slice(0, n), self.clusters[:n], self.vectors[:n])

    def to_bytes(self) -> bytes:
        """The sample as it travels and is stored: an Arrow stream."""
        columns = {"id": self.ids, "cluster_id": self.clusters, "embedding": to_column(self.vectors)}
        table, sink = pa.table(columns), pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
        return bytes(sink.getvalue())

    @classmethod
    def of_bytes(cls, parts: Iterable[bytes], dtype: str) -> Sample:
        """The rows of one or more such streams."""
        table = pa.concat_tables(pa.ipc.open_stream(part).read_all() for part in parts)
        vectors = to_vectors(table["embedding"].combine_chunks(), dtype)
        return cls(table["id"].combine_chunks(), table["cluster_id"].to_numpy(), vectors)


@dataclass(frozen=True)
class Written:
    """What `write_blocks` wrote.

    Attributes:
        index: Of the files.
        rejected: Rows without a cluster, by reason.
        sample: Of the rows with one.
    """

    index: BlockIndex
    rejected: Mapping[str, int]
    sample: Sample


def write_blocks(source: VectorSource, centroids: artifacts.Artifact, population: Population, folder: str) -> Written:
    """Assign every row of `source` to its nearest centroid and write all of them below `folder`; one Spark job.

    Args:
        source: The embeddings.
        centroids: (K, D), stored where every worker reaches them.
        population: What `measure` said of the embeddings.
        folder: A URL that every worker reaches.
    """
    stored, options = source.column, source.config.storage_options
    device = source.config.cluster.device
    n_clusters, dim = artifacts.load(centroids).shape
    dim = max(1, dim)  # without any centroid the vectors have no length, and files no column of no bytes
    dtype = "<f2" if stored.in_table("float32").kind == "float16" else "<f4"
    share = min(SAMPLE_ROWS / max(1, population.n_rows), 1.0)

    def write(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        pile = _Pile(folder, (n_clusters, dim), dtype, share, options)
        for _, found in assigned(batches, centroids, stored, device):
            pile.add(found)
            if pile.is_full:
                yield pile.write()
        if pile.n_rows:
            yield pile.write()

    writing.make_folder(folder, options)
    rows = source.map(write, _WRITTEN).collect()
    index = BlockIndex.of(folder, {row["name"]: row["counts"] for row in rows}, n_clusters, dim, dtype)
    rejected: Counter[str] = Counter()
    for row in rows:
        rejected.update(json.loads(row["rejected"]))
    sample = _in_hash_order([row["sample"] for row in rows], dtype, dim)
    return Written(index, dict(sorted(rejected.items())), sample)


class _Pile:
    """Rows that wait to become a file.

    Their vectors are copied into one matrix that stays for all files of a task: new memory costs more than the copy.
    """

    def __init__(self, folder: str, shape: tuple[int, int], dtype: str, share: float, options: storage.Options) -> None:
        self._folder, self._share, self._options = folder, share, options
        self._n_clusters, self._dim = shape
        self._most = rows_per_file(self._dim, dtype)
        # What is not touched takes no memory: a file's worth, and the batch that fills it, are asked for at once.
        self._vectors = np.empty((self._most + BATCH_ROWS, self._dim), dtype)
        self._clusters = np.empty(len(self._vectors), np.int64)
        self._thin: list[pa.Table] = []
        self._rejected: Counter[str] = Counter()
        self.n_rows = 0

    @property
    def is_full(self) -> bool:
        """Whether the rows make a file."""
        return self.n_rows >= self._most

    def add(self, found: Assigned) -> None:
        n = len(found.ids)
        part = slice(self.n_rows, self.n_rows + n)
        if part.stop > len(self._clusters):
            self._grow(part.stop)
        self._clusters[part] = np.where(found.usable, found.cluster_ids, self._n_clusters)
        if found.fits.all():
            self._vectors[part] = found.vectors
        else:
            self._vectors[part] = 0
            self._vectors[part][found.fits] = found.vectors
        self._rejected.update(reason for reason in found.reasons if reason is not None)
        self._thin.append(pa.Table.from_arrays(found.thin(), names=thin_names(len(found.kept))))
        self.n_rows += n

    def _grow(self, n_rows: int) -> None:
        """Make room for a batch of Spark's that is larger than those of files."""
        vectors, clusters = self._vectors[: self.n_rows], self._clusters[: self.n_rows]
        self._vectors, self._clusters = np.empty((n_rows, self._dim), vectors.dtype), np.empty(n_rows, np.int64)
        self._vectors[: self.n_rows], self._clusters[: self.n_rows] = vectors, clusters

    def write(self) -> pa.RecordBatch:
        """Write them, and give the row that Spark gets."""
        thin = pa.concat_tables(self._thin).combine_chunks()
        rows = Rows(thin, self._vectors[: self.n_rows], self._clusters[: self.n_rows])
        name, counts = write_new_block(self._folder, rows, self._n_clusters, self._options)
        rejected, drawn = json.dumps(self._rejected), _drawn(rows, self._n_clusters, self._share)
        self._thin, self._rejected, self.n_rows = [], Counter(), 0
        values = [name, counts, rejected, drawn]
        return pa.RecordBatch.from_arrays(
            [pa.array([value]) for value in values], names=["name", "counts", "rejected", "sample"]
        )


def _drawn(rows: Rows, n_clusters: int, share: float) -> bytes:
    """The rows of the sample, as an Arrow stream."""
    ids = rows.thin["id"].combine_chunks()
    places = np.flatnonzero((rows.clusters < n_clusters) & (_hashes(ids) <= np.uint64(share * (2**64 - 2**11))))
    return Sample(ids.take(pa.array(places)), rows.clusters[places], rows.vectors[places]).to_bytes()


def _in_hash_order(parts: list[bytes], dtype: str, dim: int) -> Sample:
    if not parts:
        return Sample(pa.array([], pa.string()), np.zeros(0, np.int64), np.zeros((0, dim), dtype))
    drawn = Sample.of_bytes(parts, dtype)
    order = np.lexsort((drawn.ids.to_numpy(zero_copy_only=False), _hashes(drawn.ids)))
    return Sample(drawn.ids.take(pa.array(order)), drawn.clusters[order], drawn.vectors[order])


def _hashes(ids: pa.Array) -> npt.NDArray[np.uint64]:
    return hash_ids(ids.to_pylist(), _SAMPLE_SEED)


def thin_names(n_kept: int) -> list[str]:
    """The columns of a block beside its vectors."""
    return [*_THIN, *(f"_kept_{place}" for place in range(n_kept))]


def read_clusters(source: VectorSource, index: BlockIndex) -> DataFrame:
    """The table `clusters` of these blocks: what they hold beside the vectors, under the names of the tables."""
    from pyspark.sql import functions as F

    config, spark = source.config, source.spark
    kept = plain_names(config.kept_columns)
    schema = _schema(source.id_type, dict(zip(kept.values(), source.fields, strict=False)))
    urls = [jvm_path(spark, index.url(file), config.storage_options) for file in range(len(index.names))]
    rows = spark.read.schema(schema).parquet(*urls) if urls else spark.createDataFrame([], schema)
    others = (F.col(plain).alias(name) for name, plain in kept.items())
    return rows.select(F.col("id").alias(config.id_column), *_THIN[1:], *others)


def _schema(id_type: DataType, kept: Mapping[str, StructField]) -> StructType:
    from pyspark.sql import types as T

    return T.StructType(
        [
            T.StructField("id", id_type),
            T.StructField("cluster_id", T.IntegerType()),
            T.StructField("cosine_dist_to_cent", T.DoubleType()),
            T.StructField("rejected_because", T.StringType()),
            *(T.StructField(plain, each.dataType) for plain, each in kept.items()),
        ]
    )
