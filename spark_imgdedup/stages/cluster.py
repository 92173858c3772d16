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
from spark_imgdedup.errors import ConfigError, SchemaError
from spark_imgdedup.files import artifacts
from spark_imgdedup.gpu import task_device, to_device, to_host
from spark_imgdedup.kernels.kmeans import auto_n_clusters, nearest_centroid, sample_rows_for, train_centroids
from spark_imgdedup.kernels.vectors import invalid_rows, l2_normalize
from spark_imgdedup.stages._vectors import VectorColumn, mark_vectors, vector_column, vector_lengths

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

log = logging.getLogger(__name__)

Centroids = npt.NDArray[np.float32]

# A closure over more is refused by Spark Connect (limit 128 MiB): such centroids travel as an artifact.
MAX_CLOSURE_BYTES = 100 * 2**20


@dataclass(frozen=True)
class Population:
    """What there is to cluster."""

    n_rows: int
    dim: int
    width: int  # of a stored vector: bytes of a binary one, numbers of a list


def select_embeddings(df: DataFrame, config: Config) -> DataFrame:
    """(id, embedding) of the rows that have one, with the id under the name that every later table uses.

    Raises:
        SchemaError: a column is missing, or does not hold ids or vectors.
    """
    from pyspark.sql import functions as F

    embedding = config.cluster.embedding_field if config.own_embeddings else "embedding"
    schemas.require(df, {config.id_column: None, embedding: None}, stage="cluster")
    id_type = dict(df.dtypes)[config.id_column]
    if id_type not in ("string", "int", "bigint", "smallint", "tinyint"):
        raise SchemaError(
            f"cluster.id_field: column '{config.id_column}' is {id_type}. Cast it to string or an integer type."
        )
    if "rejected_because" in df.columns:
        df = df.where(F.col("rejected_because").isNull())
    column = vector_column(df, embedding, stage="cluster")
    values = F.col(embedding).cast("array<float>") if column.kind == "array" else F.col(embedding)
    return mark_vectors(df.select(config.id_column, values.alias("embedding")), "embedding", column)


def fit_centroids(df: DataFrame, config: Config) -> Centroids:
    """The (K, D) float32 unit centroids of spherical k-means on a sample of `df`.

    The sample is drawn and ordered by a hash of the id and trained on in one task with a fixed number of threads, so
    the same rows give the same centroids on any number of partitions. The one stage that runs Spark jobs.
    """
    embeddings = select_embeddings(df, config)
    column = vector_column(embeddings, "embedding", stage="cluster")
    population = _measure(embeddings)
    if population.n_rows == 0:
        log.warning("cluster: there is no usable embedding, so there are no clusters")
        return np.zeros((0, 0), np.float32)
    n_clusters = _number_of_clusters(population, column, config)
    n_sample = config.cluster.sample_rows or sample_rows_for(population.n_rows, n_clusters, _dim(population, column))
    if n_sample < n_clusters:
        raise ConfigError(
            f"cluster.sample_rows is {n_sample}, below cluster.n_clusters {n_clusters}. Give at least 39 per cluster."
        )
    sample = _draw(embeddings, config, population, n_sample)
    log.info(
        "cluster: training %d centroids on %d of %d rows",
        n_clusters,
        min(n_sample, population.n_rows),
        population.n_rows,
    )
    settings = config.cluster

    def train(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        vectors = [column.decode(batch.column(0)) for batch in batches if batch.num_rows]
        if not vectors:
            return
        matrix = np.concatenate(vectors)[:n_sample]
        matrix = l2_normalize(matrix[[not reason for reason in invalid_rows(matrix)]])
        if not len(matrix):
            return
        centroids = train_centroids(
            matrix,
            n_clusters=min(n_clusters, len(matrix)),
            random_state=settings.random_state,
            max_iter=settings.max_iter,
            n_threads=settings.train_threads,
        )
        yield pa.RecordBatch.from_pydict(
            {
                "cluster_id": pa.array(range(len(centroids)), pa.int32()),
                "centroid": VectorColumn("float32").encode(centroids),
            }
        )

    rows = sorted(sample.mapInArrow(train, schemas.CENTROIDS).collect())
    return np.stack([np.frombuffer(row.centroid, "<f4") for row in rows]) if rows else np.zeros((0, 0), np.float32)


def assign_clusters(df: DataFrame, centroids: Centroids | artifacts.Artifact, config: Config) -> DataFrame:
    """Each row with its nearest centroid: id, cluster_id, embedding, cosine_dist_to_cent, rejected_because.

    A vector that cannot be compared (zero, NaN, null, of another length) keeps its row, with a reason and no cluster.

    Args:
        df: The embeddings, as for `fit_centroids`.
        centroids: What `fit_centroids` returned, or where it was stored.
        config: Names the id and embedding columns.

    Raises:
        ConfigError: the centroids are too large to travel with the task; store them with `artifacts.save`.
    """
    if isinstance(centroids, np.ndarray) and centroids.nbytes > MAX_CLOSURE_BYTES:
        raise ConfigError(
            f"centroids: {centroids.nbytes} bytes are too many for a closure. Pass artifacts.save(url, centroids)."
        )
    embeddings = select_embeddings(df, config)
    stored = vector_column(embeddings, "embedding", stage="cluster")
    written = stored if stored.kind != "array" or config.table.embedding_type == "array" else VectorColumn("float32")
    id_type = embeddings.schema[config.id_column].dataType.simpleString()

    def assign(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        matrix = centroids if isinstance(centroids, np.ndarray) else artifacts.load(centroids)
        return (_assign(batch, matrix, stored, written) for batch in batches if batch.num_rows)

    schema = schemas.CLUSTERS.format(id=f"`{config.id_column}` {id_type}", embedding=written.spark_type)
    return mark_vectors(embeddings.mapInArrow(assign, schema), "embedding", written)


def _assign(batch: pa.RecordBatch, centroids: Centroids, stored: VectorColumn, written: VectorColumn) -> pa.RecordBatch:
    ids, vectors = batch.column(0), batch.column(1)
    n, dim = batch.num_rows, centroids.shape[1]
    width = dim if stored.kind == "array" else dim * (2 if stored.kind == "float16" else 4)
    reasons = np.full(n, "wrong_length", dtype=object)
    lengths = vector_lengths(vectors)
    reasons[np.asarray(pc.is_null(lengths))] = "no_embedding"
    fits = np.asarray(pc.fill_null(pc.equal(lengths, width), False)) if dim else np.zeros(n, bool)
    cluster_ids, distances = np.zeros(n, np.int32), np.zeros(n)
    encoded = vectors
    if fits.any():
        raw = stored.decode(vectors.filter(pa.array(fits)))
        reasons[fits] = [reason or None for reason in invalid_rows(raw)]
        usable = np.flatnonzero(fits)[[reason is None for reason in reasons[fits]]]
        device = task_device("auto")
        unit = l2_normalize(raw[np.isin(np.flatnonzero(fits), usable)])
        found, dist = nearest_centroid(to_device(unit, device), to_device(centroids, device))
        cluster_ids[usable], distances[usable] = to_host(found), to_host(dist)
        encoded = _reencode(vectors, raw, fits, written) if written != stored else vectors
    rejected = np.array([reason is not None for reason in reasons])
    return pa.RecordBatch.from_arrays(
        [
            ids,
            pa.array(cluster_ids, pa.int32(), mask=rejected),
            encoded,
            pa.array(distances, pa.float64(), mask=rejected),
            pa.array(reasons, pa.string()),
        ],
        names=[batch.schema.names[0], "cluster_id", "embedding", "cosine_dist_to_cent", "rejected_because"],
    )


def _reencode(vectors: pa.Array, raw: Centroids, fits: npt.NDArray[np.bool_], written: VectorColumn) -> pa.Array:
    place = np.cumsum(fits) - 1
    return written.encode(raw).take(
        pa.array([int(p) if fit else None for p, fit in zip(place, fits, strict=True)], pa.int64())
    )


def _measure(embeddings: DataFrame) -> Population:
    from pyspark.sql import functions as F

    is_array = embeddings.schema["embedding"].dataType.typeName() == "array"
    width = F.size("embedding") if is_array else F.length("embedding")
    rows = embeddings.where(F.col("embedding").isNotNull()).groupBy(width.alias("width")).count().collect()
    if not rows:
        return Population(0, 0, 0)
    most = max(rows, key=lambda row: (row["count"], row["width"]))  # the others are marked wrong_length
    return Population(int(most["count"]), int(most["width"]), int(most["width"]))


def _dim(population: Population, column: VectorColumn) -> int:
    return population.width // {"array": 1, "float16": 2, "float32": 4}[column.kind]


def _number_of_clusters(population: Population, column: VectorColumn, config: Config) -> int:
    wanted = config.cluster.n_clusters
    if wanted == "auto":
        return auto_n_clusters(population.n_rows, _dim(population, column))
    if wanted > population.n_rows:
        log.warning(
            "cluster: n_clusters %d is more than the %d rows there are; using %d",
            wanted,
            population.n_rows,
            population.n_rows,
        )
    return min(wanted, population.n_rows)


def _draw(embeddings: DataFrame, config: Config, population: Population, n_sample: int) -> DataFrame:
    from pyspark.sql import functions as F

    is_array = embeddings.schema["embedding"].dataType.typeName() == "array"
    width = F.size("embedding") if is_array else F.length("embedding")
    rows = embeddings.where(width == population.width)
    hashed = rows.withColumn("_hash", F.xxhash64(F.col(config.id_column), F.lit(config.cluster.random_state)))
    # A threshold on the hash keeps the sort small; six standard deviations more than needed, to never fall short.
    share = (n_sample + 6 * np.sqrt(n_sample) + 10) / population.n_rows
    if share < 1:
        limit = int(-(2**63) + share * 2**64)
        hashed = hashed.where(F.col("_hash") < F.lit(limit))
    return hashed.repartition(1).sortWithinPartitions("_hash", config.id_column).select("embedding")
