"""The same kernels on a GPU, by CuPy, and whether they give the same bits as on the CPU.

python benchmarks/gpu/kernels.py [--device 0] [--dim 768]

Nobody has run this for the figures in this repository: there was no GPU. Times are medians of three, ratios to one
product of 8,192 rows with as many on the same device.
"""

from __future__ import annotations

import argparse
import statistics
import time

import cupy
import numpy as np

from spark_imgdedup.kernels.arrays import to_host
from spark_imgdedup.kernels.assignment import CentroidIndex, nearest_centroid
from spark_imgdedup.kernels.kmeans import train_centroids
from spark_imgdedup.kernels.pairwise import best_earlier
from spark_imgdedup.kernels.vectors import UnitRows

BATCH = 8192


def seconds(work):
    work()
    found = []
    for _ in range(3):
        cupy.cuda.Device().synchronize()
        start = time.perf_counter()
        work()
        cupy.cuda.Device().synchronize()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def report(name, flop, work, reference):
    rate = 1e-9 * flop / seconds(work)
    print(f"{name:40} {rate:10.0f} gflop/s  {rate / reference:.3f} of sgemm", flush=True)


def same(name, on_gpu, on_host):
    pairs = zip(on_gpu, on_host, strict=True)
    print(f"{name:40} {'the same bits' if all(np.array_equal(to_host(a), b) for a, b in pairs) else 'DIFFERENT'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", type=int, default=0)
    parser.add_argument("--dim", type=int, default=768)
    arguments = parser.parse_args()
    dim, random = arguments.dim, np.random.default_rng(0)
    with cupy.cuda.Device(arguments.device):
        vectors = random.standard_normal((100_000, dim), dtype=np.float32)
        on_host = UnitRows.normalized(vectors)
        rows = UnitRows.normalized(cupy.asarray(vectors))
        same("normalised rows", [rows.vectors], [on_host.vectors])
        left, right = rows.vectors[:BATCH], rows.vectors[BATCH : 2 * BATCH]
        reference = 2e-9 * BATCH * BATCH * dim / seconds(lambda: left @ right.T)
        print(f"{'sgemm':40} {reference:10.0f} gflop/s")
        index, index_on_host = (CentroidIndex.of(each.vectors[:1000]) for each in (rows, on_host))
        flop = 2 * len(rows) * 1000 * dim
        report("assign 100,000 to 1,000", flop, lambda: nearest_centroid(rows, index, batch_size=BATCH), reference)
        some, some_on_host = rows[20_000:22_000], on_host[20_000:22_000]
        same("assignment", nearest_centroid(some, index), nearest_centroid(some_on_host, index_on_host))
        pairs = rows[:40_000]
        flop = len(pairs) ** 2 * dim
        report("pairs of 40,000", flop, lambda: best_earlier(pairs, batch_size=BATCH), reference)
        starts = np.arange(len(pairs)) // 50 * 50
        report("pairs of 800 groups of 50", len(pairs) * 50 * dim, lambda: best_earlier(pairs, starts), reference)
        same("pairs", best_earlier(some), best_earlier(some_on_host))
        sample = vectors[:64_000] / np.linalg.norm(vectors[:64_000], axis=1, keepdims=True)
        settings = {"n_clusters": 1000, "random_state": 0, "max_iter": 10, "device": f"cuda:{arguments.device}"}
        flop = 2 * len(sample) * 1000 * dim * 10
        report("10 iterations of 1,000-means", flop, lambda: train_centroids(sample, **settings), reference)


if __name__ == "__main__":
    main()
