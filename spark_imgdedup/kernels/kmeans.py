"""Spherical k-means: how many clusters, their centroids, and the home cluster of each embedding.

N embeddings, K clusters, D dimensions, n training rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from threadpoolctl import threadpool_limits

from spark_imgdedup.kernels.arrays import Array, namespace, to_host
from spark_imgdedup.kernels.assignment import CentroidIndex, nearest_centroid
from spark_imgdedup.kernels.lloyd import lloyd
from spark_imgdedup.kernels.vectors import UnitRows, checked_lengths

__all__ = ["CentroidIndex", "auto_n_clusters", "nearest_centroid", "sample_rows_for", "train_centroids"]

MAX_ROWS_PER_CENTROID = 256
MIN_ROWS_PER_CENTROID = 64
DEFAULT_TASK_BYTES = 8 * 2**30
# Up to here all pairs are compared: at D = 1280 that is 6e10 multiply-adds, seconds of one core, and nothing is lost at
# borders (measured: 12.5 % of the pairs of 3,000 images lay across the borders of the 7 clusters that cost the least).
ONE_CLUSTER_ROWS = 10_000
# What one more centroid or one more pair costs, measured at D = 512 on one thread: 13 ps for each multiply-add of the
# assignment, 18 of an iteration of the training, with its first centroids and means, and 15 of the pairs.
_ITERATIONS = 25
_TRAINING_WEIGHT = 1.4
_PAIRS_WEIGHT = 1.15
# One task trains while all other cores wait. How many there are must not decide a result, so a core is counted for each
# of so many rows: of 10^8 on 1,600 cores training would take 80 minutes and comparing one (benchmarks/scale.py).
ROWS_OF_A_CORE = 1_000_000


def auto_n_clusters(n_rows: int, dim: int, *, max_task_bytes: int = DEFAULT_TASK_BYTES) -> int:
    """The K that costs least to train, assign and compare, among those one task's memory can train.

    Up to ONE_CLUSTER_ROWS rows it is 1. A mean cluster should fit in one task too. Where both bounds cannot hold,
    training's wins: a cluster that is too large is compared in tiles, a training sample that is too large ends the run.

    Raises:
        ValueError: n_rows, dim or max_task_bytes is below 1.

    Cost: what is minimised is 25·256·K²·D·1.4 (training) + N·K·D (assignment) + N²·D/(2·K)·1.15 (pairs), where the
    factors are what a multiply-add of each was measured to take. Beyond a million rows training counts N / 10⁶ times:
    it is the work of one task.
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

    The same sample in the same order gives the same centroids, for any n_threads. A cluster that loses all of its rows
    starts again from the row that lies farthest from its centroid.

    Args:
        sample: (n, D) float32, rows of unit length; all of them are used.
        n_clusters: K, at most n.
        random_state: Seed of the first centroids.
        max_iter: Lloyd iterations; fewer where no row changes its cluster any more.
        n_threads: CPU threads; what BLAS was set to before is restored.
        device: "cpu", or the one GPU to copy the sample to and train on: "cuda:0", …

    Raises:
        ValueError: the sample is not float32 rows of unit length or smaller than K, a count is below 1, or the device
            has another form.
        ModuleNotFoundError: a GPU is asked for and CuPy is not installed.

    Cost: 2·n·K·D flop an iteration. Memory beside the sample: 20·K·D bytes, 64·K·D while the first centroids are
    chosen, and 10 MB a thread.
    """
    _require_positive(n_clusters=n_clusters, max_iter=max_iter, n_threads=n_threads)
    vectors: Array = sample.vectors if isinstance(sample, UnitRows) else sample
    length = sample.lengths if isinstance(sample, UnitRows) else checked_lengths(sample, "sample")
    if vectors.shape[0] < n_clusters:
        raise ValueError(
            f"{n_clusters} clusters need at least as many training rows, got {vectors.shape[0]}. "
            "Lower cluster.n_clusters, or train on more rows."
        )
    xp = namespace(vectors)
    with _on(device) as to_device, threadpool_limits(limits=1):
        rows = UnitRows(to_device(vectors), to_device(length), to_device(vectors))
        return xp.asarray(to_host(lloyd(rows, n_clusters, random_state, max_iter=max_iter, n_threads=n_threads)))


@contextmanager
def _on(device: str) -> Iterator[Callable[[Array], Array]]:
    """What brings an array to this device, which is the current one as long as the context lasts."""
    if device == "cpu":
        yield lambda array: np.ascontiguousarray(to_host(array))
        return
    kind, _, number = device.partition(":")
    if kind != "cuda" or not number.isdecimal():
        raise ValueError(f"device must be 'cpu' or 'cuda:<number>', got {device!r}.")
    try:
        import cupy
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"Training on {device} needs CuPy, which is not installed: pip install cupy-cuda12x. "
            "Or train on the CPU: device 'cpu'."
        ) from error
    with cupy.cuda.Device(int(number)):
        yield cupy.asarray


def _cost(n_rows: int, n_clusters: int) -> float:
    """Time of training, assignment and comparison, in multiply-adds of the assignment for each dimension."""
    k = float(n_clusters)
    waiting = max(1.0, n_rows / ROWS_OF_A_CORE)
    training = MAX_ROWS_PER_CENTROID * k * k * _ITERATIONS * _TRAINING_WEIGHT * waiting
    return training + n_rows * k + _PAIRS_WEIGHT * n_rows * n_rows / k / 2


def _require_positive(**counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
