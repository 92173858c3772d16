"""Spherical k-means: how many clusters, their centroids, and the home cluster of each embedding.

N embeddings, K clusters, D dimensions, n training rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spark_imgdedup.kernels.arrays import Array, namespace, to_host
from spark_imgdedup.kernels.assignment import CentroidIndex, nearest_centroid
from spark_imgdedup.kernels.vectors import UnitRows, invalid_rows, l2_normalize

__all__ = ["CentroidIndex", "auto_n_clusters", "nearest_centroid", "sample_rows_for", "train_centroids"]

MAX_ROWS_PER_CENTROID = 256
MIN_ROWS_PER_CENTROID = 64
DEFAULT_TASK_BYTES = 8 * 2**30
# Up to here all pairs are compared: at D = 1280 that is 6e10 multiply-adds, seconds of one core, and nothing is lost at
# borders (measured: 12.5 % of the pairs of 3,000 images lay across the borders of the 7 clusters that cost the least).
ONE_CLUSTER_ROWS = 10_000
# Below this, copying to the GPU and its start-up cost more than the training.
_GPU_TRAINING_ROWS = 50_000


def auto_n_clusters(n_rows: int, dim: int, *, max_task_bytes: int = DEFAULT_TASK_BYTES) -> int:
    """The K that costs least to train, assign and compare, among those one task's memory can train.

    Up to ONE_CLUSTER_ROWS rows it is 1. A mean cluster should fit in one task too. Where both bounds cannot hold,
    training's wins: a cluster that is too large is compared in tiles, a training sample that is too large ends the run.

    Raises:
        ValueError: n_rows, dim or max_task_bytes is below 1.

    Cost: what is minimised is 2·256·K²·D·25 flop (training) + 2·N·K·D (assignment) + N²·D/K (pairs).
    """
    _require_positive(n_rows=n_rows, dim=dim, max_task_bytes=max_task_bytes)
    row_bytes = 4 * dim
    if n_rows <= ONE_CLUSTER_ROWS and n_rows * row_bytes <= max_task_bytes:
        return 1
    most = max(1, min(n_rows, max_task_bytes // (MIN_ROWS_PER_CENTROID * row_bytes)))
    least = min(most, max(1, -(-n_rows * row_bytes // max_task_bytes)))
    low, high = least, most
    while low < high:  # the cost is convex in K: go downhill
        middle = (low + high) // 2
        if _cost(n_rows, middle) <= _cost(n_rows, middle + 1):
            high = middle
        else:
            low = middle + 1
    return low


def sample_rows_for(n_rows: int, n_clusters: int, dim: int, max_task_bytes: int = DEFAULT_TASK_BYTES) -> int:
    """How many rows to train on: 256 a centroid, fewer if memory demands, never below 64 a centroid nor above N.

    Raises:
        ValueError: an argument is below 1.
    """
    _require_positive(n_rows=n_rows, n_clusters=n_clusters, dim=dim, max_task_bytes=max_task_bytes)
    affordable = max(MIN_ROWS_PER_CENTROID * n_clusters, max_task_bytes // (4 * dim))
    return min(n_rows, MAX_ROWS_PER_CENTROID * n_clusters, affordable)


def train_centroids(  # noqa: PLR0913  # each is a setting of its own
    sample: Array | UnitRows,
    *,
    n_clusters: int,
    random_state: int,
    max_iter: int = 25,
    n_threads: int = 1,
    device: str = "cpu",
) -> Array:
    """Centroids (K, D), float32 of unit length, of spherical k-means on the sample.

    The same sample in the same order gives the same centroids for the same n_threads and FAISS build.

    Args:
        sample: (n, D) float32, rows of unit length; all of them are used.
        n_clusters: K, at most n.
        random_state: Seed of the first centroids.
        max_iter: Lloyd iterations.
        n_threads: CPU threads for BLAS and OpenMP while training; what was set before is restored.
        device: "cpu", or the GPU to train on: "cuda:0", …

    Raises:
        ValueError: the sample is not float32 rows of unit length or smaller than K, or a count is below 1.
        ModuleNotFoundError: FAISS is not installed (K = 1 does without).

    Cost: 2·n·K·D flop an iteration. A GPU is used if FAISS sees one and the sample has at least 50,000 rows.
    """
    _require_positive(n_clusters=n_clusters, max_iter=max_iter, n_threads=n_threads)
    sample = UnitRows.of(sample, "sample").vectors
    xp = namespace(sample)
    if sample.shape[0] < n_clusters:
        raise ValueError(
            f"{n_clusters} clusters need at least as many training rows, got {sample.shape[0]}. "
            "Lower cluster.n_clusters, or train on more rows."
        )
    rows = np.ascontiguousarray(to_host(sample))
    if n_clusters == 1:
        centroids = l2_normalize(rows.mean(axis=0, dtype=np.float64)[None, :])
    else:
        with _threads(n_threads):
            centroids = l2_normalize(_faiss_centroids(rows, n_clusters, random_state, max_iter))
    # Rows that cancel out leave a centroid without a direction: a training row takes its place.
    lost = np.flatnonzero(invalid_rows(centroids) != None)  # noqa: E711 (elementwise)
    centroids[lost] = rows[lost]
    return xp.asarray(centroids)


def _faiss_centroids(rows: NDArray[np.float32], n_clusters: int, random_state: int, max_iter: int) -> NDArray[Any]:
    faiss = _import_faiss()
    kmeans = faiss.Kmeans(
        rows.shape[1],
        n_clusters,
        niter=max_iter,
        seed=random_state,
        spherical=True,
        min_points_per_centroid=1,  # FAISS warns on stderr below it
        max_points_per_centroid=max(MAX_ROWS_PER_CENTROID, -(-len(rows) // n_clusters)),  # it drops rows above it
        gpu=len(rows) >= _GPU_TRAINING_ROWS and hasattr(faiss, "get_num_gpus") and faiss.get_num_gpus() > 0,
    )
    kmeans.train(rows)
    return np.asarray(kmeans.centroids).reshape(n_clusters, rows.shape[1])


@contextmanager
def _threads(n_threads: int) -> Iterator[None]:
    """Hold BLAS and OpenMP, FAISS's own included, to n_threads."""
    from threadpoolctl import threadpool_limits

    faiss = _import_faiss()
    before = faiss.omp_get_max_threads()
    with threadpool_limits(limits=n_threads):
        faiss.omp_set_num_threads(n_threads)
        try:
            yield
        finally:
            faiss.omp_set_num_threads(before)


def _import_faiss() -> Any:
    try:
        import faiss
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Training more than one cluster needs FAISS, which is not installed: pip install faiss-cpu "
            "(or faiss-gpu-cu12 in its place on a CUDA machine)."
        ) from error
    return faiss


def _cost(n_rows: int, n_clusters: int) -> float:
    """Multiply-adds a dimension of training, assignment and comparison, times two."""
    k = float(n_clusters)
    return 2 * MAX_ROWS_PER_CENTROID * k * k * 25 + 2.0 * n_rows * k + float(n_rows) ** 2 / k


def _require_positive(**counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
