"""The kernels on a GPU, by CuPy, and whether they give the same bits as on the CPU."""

from __future__ import annotations

import statistics
import time
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np

from spark_imgdedup.kernels.arrays import is_on_host, to_host
from spark_imgdedup.kernels.assignment import CentroidIndex, nearest_centroid
from spark_imgdedup.kernels.kmeans import train_centroids
from spark_imgdedup.kernels.pairwise import best_earlier
from spark_imgdedup.kernels.vectors import UnitRows


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    dim: int = 768
    cluster: int = 8000
    n_clusters: int = 10  # of `cluster` rows, compared at once
    n_assigned: int = 200_000
    n_centroids: int = 1000
    n_trained: int = 64_000
    n_checked: int = 2000  # rows whose bits are compared with the CPU's
    batch_size: int = 8192
    rounds: int = 3


SMOKE = Sizes(16, 40, 3, 200, 8, 200, 60, 64, 1)


class Kernels:
    """One device, and a clock for it."""

    def __init__(self, device, sizes):
        self.device, self.sizes = device, sizes
        self.random = np.random.default_rng(0)

    def put(self, array):
        """The array on the device."""
        if self.device == "cpu":
            return array
        import cupy

        return cupy.asarray(array)

    def seconds(self, work):
        """Of one call, the median."""

        def synchronize():
            if self.device != "cpu":
                import cupy

                cupy.cuda.Device().synchronize()

        work()
        found = []
        for _ in range(self.sizes.rounds):
            synchronize()
            start = time.perf_counter()
            work()
            synchronize()
            found.append(time.perf_counter() - start)
        return statistics.median(found)

    def some(self, n, dtype=np.float32):
        """Rows that nobody has seen before."""
        return self.random.standard_normal((n, self.sizes.dim), dtype=np.float32).astype(dtype)

    def sgemm(self):
        """Flop per second of products of rows in float32."""
        n = self.sizes.batch_size
        left, right = self.put(self.some(n)), self.put(self.some(n))
        return 2 * n * n * self.sizes.dim / self.seconds(lambda: left @ right.T)

    def pairs(self):
        """Rows per second of comparing clusters: of rows that lie on the device, and from float16 of the host."""
        sizes = self.sizes
        n = sizes.cluster * sizes.n_clusters
        starts = np.arange(n) // sizes.cluster * sizes.cluster
        stored = self.some(n, np.float16)
        resident = UnitRows.normalized(self.put(stored))

        def from_host():
            return best_earlier(UnitRows.normalized(self.put(stored)), starts, batch_size=sizes.batch_size)

        there = self.seconds(lambda: best_earlier(resident, starts, batch_size=sizes.batch_size))
        return {
            "cluster": sizes.cluster,
            "dim": sizes.dim,
            "resident_rows_per_s": n / there,
            "host_rows_per_s": n / self.seconds(from_host),
            "resident_tflops": 1e-12 * n * sizes.cluster * sizes.dim / there,
        }

    def assignment(self):
        """Rows per second of finding the nearest centroid."""
        sizes = self.sizes
        rows = UnitRows.normalized(self.put(self.some(sizes.n_assigned)))
        index = CentroidIndex.of(rows.vectors[: sizes.n_centroids])
        took = self.seconds(lambda: nearest_centroid(rows, index, batch_size=sizes.batch_size))
        flop = 2 * sizes.n_assigned * sizes.n_centroids * sizes.dim
        return {"rows_per_s": sizes.n_assigned / took, "tflops": 1e-12 * flop / took}

    def training(self):
        """Seconds of ten iterations of k-means."""
        sizes = self.sizes
        sample = UnitRows.normalized(self.some(sizes.n_trained)).vectors
        settings = {"n_clusters": sizes.n_centroids, "random_state": 0, "max_iter": 10, "device": self.device}
        return {"seconds": self.seconds(lambda: train_centroids(sample, **settings)), "rows": sizes.n_trained}

    def same_bits(self):
        """Which results equal those of the CPU, bit for bit."""
        raw = self.some(self.sizes.n_checked)
        raw[1::7] = raw[::7][: len(raw[1::7])]  # exact copies
        found = [self._results(array) for array in (self.put(raw), raw)]
        return {
            name: all(np.array_equal(to_host(a), b) for a, b in zip(there, here, strict=True))
            for name, there, here in zip(found[0], found[0].values(), found[1].values(), strict=True)
        }

    def _results(self, raw):
        rows = UnitRows.normalized(raw)
        index = CentroidIndex.of(rows.vectors[: self.sizes.n_centroids])
        where = "cpu" if is_on_host(raw) else self.device
        trained = train_centroids(to_host(rows.vectors), n_clusters=8, random_state=0, device=where)
        return {
            "normalised rows": [rows.vectors],
            "assignment": nearest_centroid(rows, index),
            "pairs": best_earlier(rows),
            "centroids": [trained],
        }


def measure(device, sizes, report):
    """Tell `report` of each figure as it is there."""
    made = Kernels(device, sizes)
    with on(device):
        report("same_bits_as_the_cpu", made.same_bits())
        report("sgemm_tflops", 1e-12 * made.sgemm())
        report("pairs", made.pairs())
        report("assignment", made.assignment())
        report("kmeans", made.training())


def on(device):
    """Make it CuPy's current device."""
    if device == "cpu":
        return nullcontext()
    import cupy

    return cupy.cuda.Device(int(device.partition(":")[2] or 0))
