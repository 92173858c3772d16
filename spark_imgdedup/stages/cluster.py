"""embeddings, centroids -> clusters: group similar images, so that only images of one group need comparing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from spark_imgdedup import schemas
from spark_imgdedup.config import Config
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.files import artifacts
from spark_imgdedup.gpu import task_device, to_device, to_host
from spark_imgdedup.kernels.assignment import CentroidIndex, nearest_centroid
from spark_imgdedup.kernels.vectors import UnitRows, invalid_rows
from spark_imgdedup.stages.centroids import Centroids
from spark_imgdedup.stages.columns import quoted
from spark_imgdedup.stages.kept_columns import with_fields
from spark_imgdedup.stages.vectors.vector_column import VectorColumn, are_plain, mark_vectors, vector_lengths
from spark_imgdedup.stages.vectors.vector_source import vector_source

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

DeviceSetting = Literal["auto", "cpu", "gpu"]
Reasons = npt.NDArray[np.object_]  # None: nothing speaks against the row

# A closure over more is refused by Spark Connect (limit 128 MiB): such centroids travel as an artifact.
MAX_CLOSURE_BYTES = 100 * 2**20


@dataclass(frozen=True)
class Assigned:
    """A batch with the clusters of its rows; a row that cannot be compared has a reason and no cluster.

    Attributes:
        ids: N ids.
        cluster_ids: (N,) int32, 0 where there is a reason.
        distances: (N,) cosine_dist_to_cent, 0 where there is a reason.
        reasons: (N,).
        fits: (N,) whether the row has a vector of the right length.
        vectors: As stored, one for each row that fits.
        kept: The kept columns.
    """

    ids: pa.Array
    cluster_ids: npt.NDArray[np.int32]
    distances: npt.NDArray[np.float64]
    reasons: Reasons
    fits: npt.NDArray[np.bool_]
    vectors: npt.NDArray[np.float32]
    kept: list[pa.Array]

    @cached_property
    def usable(self) -> npt.NDArray[np.bool_]:
        """(N,) whether the row has a cluster."""
        return ~_is_rejected(self.reasons)

    def thin(self) -> list[pa.Array]:
        """id, cluster_id, cosine_dist_to_cent, rejected_because and the kept columns."""
        unusable = ~self.usable
        return [
            self.ids,
            pa.array(self.cluster_ids, mask=unusable),
            pa.array(self.distances, mask=unusable),
            pa.array(self.reasons, pa.string()),
            *self.kept,
        ]


def assign_clusters(df: DataFrame, centroids: Centroids | artifacts.Artifact, config: Config) -> DataFrame:
    """Each row with its nearest centroid: id, cluster_id, embedding, cosine_dist_to_cent, rejected_because.

    The columns of `config.kept_columns` follow, as they are. A run writes the same rows as blocks, see
    `stages.searching.blocks`.

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
    source = vector_source(df, config)
    stored = source.column
    written = stored.in_table(config.table.embedding_type)
    columns = schemas.CLUSTERS.format(
        id=f"{quoted(config.id_column)} {source.id_type.simpleString()}", embedding=written.spark_type
    )
    schema = with_fields(df, columns, list(source.fields))
    names = schema.names

    def assign(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch, found in assigned(batches, centroids, stored, config.cluster.device):
            vectors = batch.column(1) if written == stored else written.encode(found.vectors, found.fits)
            first, second, *others = found.thin()
            yield pa.RecordBatch.from_arrays([first, second, vectors, *others], names=names)

    return mark_vectors(source.map(assign, schema), "embedding", written)


def assigned(
    batches: Iterable[pa.RecordBatch],
    centroids: Centroids | artifacts.Artifact,
    stored: VectorColumn,
    setting: DeviceSetting,
) -> Iterator[tuple[pa.RecordBatch, Assigned]]:
    """The batches of a `VectorSource` that hold rows, each with the clusters of its rows; what a task does.

    `setting` is `cluster.device`.
    """
    matrix = centroids if isinstance(centroids, np.ndarray) else artifacts.load(centroids)
    device = task_device(setting)
    index = CentroidIndex.of(to_device(matrix, device)) if len(matrix) else None
    for batch in batches:
        if batch.num_rows:
            yield batch, _assign(batch, index, matrix.shape[1], stored, device)


def _assign(
    batch: pa.RecordBatch, centroids: CentroidIndex | None, dim: int, stored: VectorColumn, device: str
) -> Assigned:
    ids, vectors, *kept = batch.columns
    no_length = -1  # without any centroid no vector fits, not even an empty one
    reasons = _why_unusable(ids, vectors, stored.width(dim) or no_length)
    fits = ~_is_rejected(reasons)
    raw = stored.decode(vectors if fits.all() else vectors.filter(pa.array(fits)))
    if not are_plain(raw):
        reasons[fits] = invalid_rows(raw)
    usable = ~_is_rejected(reasons)
    cluster_ids, distances = np.zeros(len(ids), np.int32), np.zeros(len(ids))
    if usable.any() and centroids is not None:
        chosen = raw if usable.all() else raw[usable[fits]]
        rows = UnitRows.normalized(to_device(chosen, device))
        cluster_ids[usable], distances[usable] = map(to_host, nearest_centroid(rows, centroids))
    return Assigned(ids, cluster_ids, distances, reasons, fits, raw, kept)


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
