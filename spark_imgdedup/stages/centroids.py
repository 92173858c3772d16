"""embeddings -> centroids: k-means on a sample of them, in one task."""

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
from spark_imgdedup.gpu import array_device, machine_cores
from spark_imgdedup.kernels.kmeans import (
    MIN_ROWS_PER_CENTROID,
    auto_n_clusters,
    sample_rows_for,
    train_centroids,
)
from spark_imgdedup.kernels.ranking import hash_ids
from spark_imgdedup.kernels.vectors import l2_normalize
from spark_imgdedup.stages.gpu_tasks import gpu_profile
from spark_imgdedup.stages.kept_columns import with_fields
from spark_imgdedup.stages.tasks import map_batches
from spark_imgdedup.stages.vectors.vector_column import VectorColumn, is_usable, vector_lengths
from spark_imgdedup.stages.vectors.vector_source import VectorSource, vector_source

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

log = logging.getLogger(__name__)

Centroids = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Population:
    """What there is to cluster: the vectors of the most common length."""

    n_rows: int
    width: int  # of a stored vector, see VectorColumn.width
    dim: int  # numbers in a vector


def fit_centroids(df: DataFrame, config: Config) -> Centroids:
    """The (K, D) float32 unit centroids of spherical k-means on a sample of `df`; (0, D) where no row is usable.

    The sample is drawn and ordered by a hash of the id and trained on in one task, so the same rows give the same
    centroids on any number of partitions. Runs Spark jobs.

    Raises:
        ConfigError: cluster.sample_rows is below the number of clusters.
        SchemaError: a column is missing, or does not hold ids or vectors.
    """
    source = vector_source(df, config)
    return fit_source(source, measure(source))


def fit_source(source: VectorSource, population: Population) -> Centroids:
    """As `fit_centroids`, for vectors from anywhere and what `measure` said of them."""
    config = source.config
    if population.n_rows == 0:
        log.warning("cluster: there is no embedding, so there are no clusters")
        return np.zeros((0, 0), np.float32)
    n_clusters = _number_of_clusters(population, config)
    n_sample = _size_of_sample(population, n_clusters, config)
    log.info("cluster: training %d centroids on %d of %d rows", n_clusters, n_sample, population.n_rows)
    drawn = source.column.in_table("float32")
    sample = _draw(source, drawn, population, n_sample, config)
    column, settings = VectorColumn("float32"), config.cluster

    def train(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        unit = unit_sample(batches, drawn, n_sample, population.dim)
        if len(unit):
            centroids = train_centroids(
                unit,
                n_clusters=min(n_clusters, len(unit)),
                random_state=settings.random_state,
                max_iter=settings.max_iter,
                n_threads=machine_cores() if settings.train_threads == "auto" else settings.train_threads,
                device=array_device(settings.device),
            )
            numbers = pa.array(range(len(centroids)), pa.int32())
            yield pa.RecordBatch.from_arrays([numbers, column.encode(centroids)], names=["cluster_id", "centroid"])

    profile = gpu_profile(source.spark, config)
    rows = sorted(map_batches(sample, train, schemas.CENTROIDS, profile).collect())
    return np.frombuffer(b"".join(row.centroid for row in rows), "<f4").reshape(-1, population.dim)


def measure(source: VectorSource) -> Population:
    """What there is to cluster; looks at the length of every vector, if nothing tells it otherwise."""
    # Rows of another length are marked when clusters are assigned.
    width, n_rows = max(source.widths().items(), key=lambda item: (item[1], item[0]), default=(0, 0))
    return Population(n_rows, width, source.column.dim(width))


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


def _draw(
    source: VectorSource, written: VectorColumn, population: Population, n_sample: int, config: Config
) -> DataFrame:
    """One partition of embeddings in the order of a hash of their ids; the first n_sample are the sample."""
    # A threshold on the hash keeps the sort small; six standard deviations more than needed, to never fall short.
    share = (n_sample + 6 * np.sqrt(n_sample) + 10) / population.n_rows
    limit = np.uint64(min(share * 2.0**64, 2**64 - 1)) if share < 1 else None
    width, seed, stored = population.width, config.cluster.random_state, source.column

    def draw(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            ids, vectors, *_ = batch.columns
            fits = np.asarray(pc.equal(vector_lengths(vectors), width).fill_null(False)) & ids.is_valid().to_numpy(
                False
            )
            hashes = hash_ids(ids.to_numpy(zero_copy_only=False), seed)
            chosen = pa.array(fits if limit is None else fits & (hashes < limit))
            places = hashes[np.asarray(chosen)] ^ np.uint64(2**63)  # signed numbers in the order of the unsigned
            drawn = vectors.filter(chosen)
            drawn = drawn if written == stored else written.encode(stored.decode(drawn))
            columns = [pa.array(places.view(np.int64)), ids.filter(chosen), drawn]
            yield pa.RecordBatch.from_arrays(columns, names=["place", "id", "embedding"])

    schema = with_fields(source.rows, "place bigint", [])
    schema = schema.add("id", source.id_type).add("embedding", written.spark_type)
    return source.map(draw, schema).repartition(1).sortWithinPartitions("place", "id").select("embedding")


def unit_sample(batches: Iterable[pa.RecordBatch], column: VectorColumn, n_sample: int, dim: int) -> Centroids:
    """The usable ones of the first n_sample vectors, of unit length, in one matrix: no second copy is held."""
    sample, n_seen, n_taken = np.empty((n_sample, dim), np.float32), 0, 0
    for batch in batches:
        rows = column.decode(batch.column(0).slice(0, n_sample - n_seen))
        n_seen += len(rows)
        if len(rows):
            rows = rows[is_usable(rows)]
            sample[n_taken : n_taken + len(rows)] = l2_normalize(rows)
            n_taken += len(rows)
    return sample[:n_taken]
