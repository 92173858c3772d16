"""embeddings -> centroids, clusters: group similar images, so that only images of one group need comparing."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from spark_imgdedup import schemas
from spark_imgdedup.config import Config
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.files import artifacts
from spark_imgdedup.gpu import task_device, to_device, to_host
from spark_imgdedup.kernels.kmeans import (
    MIN_ROWS_PER_CENTROID,
    auto_n_clusters,
    nearest_centroid,
    sample_rows_for,
    train_centroids,
)
from spark_imgdedup.kernels.vectors import invalid_rows, l2_normalize
from spark_imgdedup.stages.gpu_tasks import as_option, gpu_profile
from spark_imgdedup.stages.kept_columns import kept, kept_fields, plain_names, with_fields
from spark_imgdedup.stages.vector_column import (
    VectorColumn,
    mark_vectors,
    require_id_type,
    vector_column,
    vector_lengths,
    vector_values,
)

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

log = logging.getLogger(__name__)

Centroids = npt.NDArray[np.float32]
Reasons = npt.NDArray[np.object_]  # None: nothing speaks against the row

# A closure over more is refused by Spark Connect (limit 128 MiB): such centroids travel as an artifact.
MAX_CLOSURE_BYTES = 100 * 2**20


@dataclass(frozen=True)
class Population:
    """What there is to cluster: the vectors of the most common length."""

    column: VectorColumn
    n_rows: int
    width: int  # of a stored vector, see VectorColumn.width

    @property
    def dim(self) -> int:
        """Numbers in a vector."""
        return self.column.dim(self.width)


def select_embeddings(df: DataFrame, config: Config) -> DataFrame:
    """(id, embedding) of the rows that have one, with the id under the name that every later table uses.

    The columns of `config.kept_columns` follow.

    Raises:
        SchemaError: a column is missing, or does not hold ids or vectors, or is to be ranked by and has no order.
    """
    from pyspark.sql import functions as F

    embedding = config.cluster.embedding_field if config.own_embeddings else "embedding"
    schemas.require(df, {config.id_column: None, embedding: None}, stage="cluster")
    kept_fields(df, config, stage="cluster")
    require_id_type(df, config.id_column)
    if "rejected_because" in df.columns:
        df = df.where(F.col("rejected_because").isNull())
    column = vector_column(df, embedding, stage="cluster")
    values = vector_values(df, embedding, column)
    return mark_vectors(df.select(config.id_column, values.alias("embedding"), *kept(config)), "embedding", column)


def fit_centroids(df: DataFrame, config: Config) -> Centroids:
    """The (K, D) float32 unit centroids of spherical k-means on a sample of `df`; (0, D) where no row is usable.

    The sample is drawn and ordered by a hash of the id and trained on in one task with a fixed number of threads, so
    the same rows give the same centroids on any number of partitions. The one stage that runs Spark jobs.

    Raises:
        ConfigError: cluster.sample_rows is below the number of clusters.
        SchemaError: a column is missing, or does not hold ids or vectors.
    """
    embeddings = select_embeddings(df, config).select(config.id_column, "embedding")
    population = _measure(embeddings)
    if population.n_rows == 0:
        log.warning("cluster: there is no embedding, so there are no clusters")
        return np.zeros((0, 0), np.float32)
    n_clusters = _number_of_clusters(population, config)
    n_sample = _size_of_sample(population, n_clusters, config)
    log.info("cluster: training %d centroids on %d of %d rows", n_clusters, n_sample, population.n_rows)
    sample = _draw(embeddings, population, n_sample, config)
    profile = gpu_profile(df.sparkSession, config)
    column, settings = population.column, config.cluster

    def train(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        vectors = [column.decode(batch.column(0)) for batch in batches if batch.num_rows]
        matrix = np.concatenate(vectors)[:n_sample] if vectors else np.zeros((0, 1), np.float32)
        unit = l2_normalize(matrix[~_is_rejected(invalid_rows(matrix))])
        if len(unit):
            centroids = train_centroids(
                unit,
                n_clusters=min(n_clusters, len(unit)),
                random_state=settings.random_state,
                max_iter=settings.max_iter,
                n_threads=settings.train_threads,
            )
            numbers = pa.array(range(len(centroids)), pa.int32())
            yield pa.RecordBatch.from_arrays(
                [numbers, VectorColumn("float32").encode(centroids)], names=["cluster_id", "centroid"]
            )

    rows = sorted(sample.mapInArrow(train, schemas.CENTROIDS, **as_option(profile)).collect())
    return np.frombuffer(b"".join(row.centroid for row in rows), "<f4").reshape(-1, population.dim)


def assign_clusters(df: DataFrame, centroids: Centroids | artifacts.Artifact, config: Config) -> DataFrame:
    """Each row with its nearest centroid: id, cluster_id, embedding, cosine_dist_to_cent, rejected_because.

    The columns of `config.kept_columns` follow, as they are.

    A row that cannot be compared (its vector is zero, NaN, null or of another length, or its id is null) stays, with a
    reason and no cluster.

    Args:
        df: The embeddings, as for `fit_centroids`.
        centroids: What `fit_centroids` returned, or where it was stored.
        config: Names the id and embedding columns.

    Raises:
        ConfigError: the centroids are too large to travel with the task; store them with `artifacts.save`.
        SchemaError: a column is missing, or does not hold ids or vectors.
    """
    if isinstance(centroids, np.ndarray) and centroids.nbytes > MAX_CLOSURE_BYTES:
        raise ConfigError(
            f"centroids: {centroids.nbytes} bytes are too many for a closure. Pass artifacts.save(url, centroids)."
        )
    embeddings = select_embeddings(df, config)
    stored = vector_column(embeddings, "embedding", stage="cluster")
    written = stored.in_table(config.table.embedding_type)
    id_type = embeddings.schema[config.id_column].dataType.simpleString()

    columns = schemas.CLUSTERS.format(id=f"`{config.id_column}` {id_type}", embedding=written.spark_type)
    schema = with_fields(embeddings, columns, kept_fields(embeddings, config, stage="cluster"))
    names = schema.names

    def assign(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        matrix = centroids if isinstance(centroids, np.ndarray) else artifacts.load(centroids)
        made = (_assign(batch, matrix, stored, written) for batch in batches if batch.num_rows)
        return (pa.RecordBatch.from_arrays(arrays, names=names) for arrays in made)

    plain = embeddings.toDF("id", "embedding", *plain_names(config).values())
    return mark_vectors(
        plain.mapInArrow(assign, schema, **as_option(gpu_profile(df.sparkSession, config))), "embedding", written
    )


def _assign(batch: pa.RecordBatch, centroids: Centroids, stored: VectorColumn, written: VectorColumn) -> list[pa.Array]:
    """The columns of `clusters` for a batch of `select_embeddings`."""
    ids, vectors, *others = batch.columns
    no_length = -1  # without any centroid no vector fits, not even an empty one
    reasons = _why_unusable(ids, vectors, stored.width(centroids.shape[1]) or no_length)
    fits = ~_is_rejected(reasons)
    raw = stored.decode(vectors.filter(pa.array(fits)))
    reasons[fits] = invalid_rows(raw) if len(raw) else []
    usable = ~_is_rejected(reasons)
    cluster_ids, distances = np.zeros(len(ids), np.int32), np.zeros(len(ids))
    if usable.any():
        device = task_device("auto")
        unit = l2_normalize(raw[usable[fits]])
        found = nearest_centroid(to_device(unit, device), to_device(centroids, device))
        cluster_ids[usable], distances[usable] = map(to_host, found)
    return [
        ids,
        pa.array(cluster_ids, mask=~usable),
        vectors if written == stored else written.encode(raw, fits),
        pa.array(distances, mask=~usable),
        pa.array(reasons, pa.string()),
        *others,
    ]


def _why_unusable(ids: pa.Array, vectors: pa.Array, width: int) -> Reasons:
    """A reason for each row that lacks an id or a vector of that length; None where the values are to be looked at."""
    lengths = vector_lengths(vectors)
    reasons: Reasons = np.full(len(ids), None, dtype=object)
    reasons[np.asarray(pc.not_equal(lengths, width).fill_null(True))] = "wrong_length"
    reasons[np.asarray(lengths.is_null())] = "no_embedding"
    reasons[np.asarray(ids.is_null())] = "no_id"
    return reasons


def _is_rejected(reasons: Reasons) -> npt.NDArray[np.bool_]:
    return np.array([reason is not None for reason in reasons], bool)


def _measure(embeddings: DataFrame) -> Population:
    from pyspark.sql import functions as F

    column = vector_column(embeddings, "embedding", stage="cluster")
    widths = embeddings.select(column.lengths("embedding").alias("width")).where(F.col("width") > 0)
    rows = widths.groupBy("width").count().collect()
    # Rows of another length are marked when clusters are assigned.
    n_rows, width = max(((row["count"], row["width"]) for row in rows), default=(0, 0))
    return Population(column, n_rows, width)


def _size_of_sample(population: Population, n_clusters: int, config: Config) -> int:
    wanted = config.cluster.sample_rows or sample_rows_for(population.n_rows, n_clusters, population.dim)
    if wanted < n_clusters:
        enough = MIN_ROWS_PER_CENTROID * n_clusters
        raise ConfigError(
            f"cluster.sample_rows is {wanted}, but {n_clusters} clusters are to be trained. Give at least {enough} "
            f"({MIN_ROWS_PER_CENTROID} per cluster), or leave it out."
        )
    return min(wanted, population.n_rows)


def _number_of_clusters(population: Population, config: Config) -> int:
    n_clusters, n_rows = config.cluster.n_clusters, population.n_rows
    if n_clusters == "auto":
        return auto_n_clusters(n_rows, population.dim)
    if n_clusters > n_rows:
        log.warning("cluster: n_clusters %d is more than the %d rows there are; using %d", n_clusters, n_rows, n_rows)
    return min(n_clusters, n_rows)


def _draw(embeddings: DataFrame, population: Population, n_sample: int, config: Config) -> DataFrame:
    """One partition of embeddings in the order of a hash of their ids; the first n_sample are the sample."""
    from pyspark.sql import functions as F

    rows = embeddings.where(population.column.lengths("embedding") == population.width)
    hashed = rows.withColumn("_hash", F.xxhash64(F.col(config.id_column), F.lit(config.cluster.random_state)))
    # A threshold on the hash keeps the sort small; six standard deviations more than needed, to never fall short.
    share = (n_sample + 6 * np.sqrt(n_sample) + 10) / population.n_rows
    if share < 1:
        hashed = hashed.where(F.col("_hash") < F.lit(int(-(2**63) + share * 2**64)))
    return hashed.repartition(1).sortWithinPartitions("_hash", config.id_column).select("embedding")
