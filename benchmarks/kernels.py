"""How near the kernels come to sgemm: their useful flops against those of one large product, in the same minute.

python benchmarks/kernels.py [--rounds 3] [--only assignment,pairwise,groups,across,kmeans]

Each round measures sgemm, the kernel, and sgemm again; the ratio is the kernel's rate to the mean of the two. One
thread, and its processor time, so that waiting for others does not count; what others do to the caches does. The
vectors are random: on them the kernels' second looks are as rare as they get.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from spark_imgdedup.kernels.arrays import slices
from spark_imgdedup.kernels.assignment import CentroidIndex, nearest_centroid
from spark_imgdedup.kernels.kmeans import train_centroids
from spark_imgdedup.kernels.pairwise import best_across, best_earlier, max_similarity_to_earlier
from spark_imgdedup.kernels.vectors import UnitRows

RESULTS = Path(__file__).parent / "results" / "kernels.json"
REFERENCE_ROWS = 2048


def unit_rows(n, dim, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((n, dim), dtype=np.float32)
    return UnitRows.normalized(vectors, out=vectors)


def products(rows, index):
    out = np.empty((2048, len(index.rows)), np.float32)
    for part in slices(len(rows), 2048):
        np.matmul(rows.vectors[part], index.rows.vectors.T, out=out[: part.stop - part.start])


def assignment_cases(dim):
    rows = unit_rows(100_000, dim)
    for n_clusters in (316, 1000):
        index = CentroidIndex.of(unit_rows(n_clusters, dim, seed=1).vectors)
        flop = 2 * len(rows) * n_clusters * dim
        name = f"assign 100,000 to {n_clusters:,}"
        yield f"only the products of 100,000 with {n_clusters:,}", flop, lambda index=index: products(rows, index)
        yield f"{name}, rows measured before", flop, lambda index=index: nearest_centroid(rows, index)
        yield f"{name}, bare arrays", flop, lambda index=index: nearest_centroid(rows.vectors, index)


def pairwise_cases(dim):
    for n in (500, 2000, 8000):
        rows = unit_rows(n, dim)
        repeats = max(1, 20_000 // n)  # short cases: several calls a measurement
        flop = repeats * n * n * dim

        def measured(rows=rows, repeats=repeats):
            for _ in range(repeats):
                best_earlier(rows)

        def bare(rows=rows, repeats=repeats):
            for _ in range(repeats):
                max_similarity_to_earlier(rows.vectors)

        yield f"pairs of {n:,}, rows measured before", flop, measured
        yield f"pairs of {n:,}, bare array", flop, bare


def group_cases(dim):
    for size in (5, 50, 200, 500):
        rows = unit_rows(20_000, dim)
        starts = np.arange(len(rows)) // size * size
        yield (
            f"pairs of {len(rows) // size:,} groups of {size}",
            len(rows) * size * dim,
            lambda r=rows, s=starts: best_earlier(r, s),
        )


def across_cases(dim):
    a, b = unit_rows(8000, dim), unit_rows(6000, dim, seed=1)
    order = np.random.default_rng(2).permutation(len(a) + len(b))
    flop = 2 * len(a) * len(b) * dim
    mixed = np.sort(order[: len(a)]), np.sort(order[len(a) :])
    yield "8,000 across 6,000, ranks mixed", flop, lambda: best_across(a, b, *mixed)
    apart = np.arange(len(a)), np.arange(len(a), len(order))
    yield "8,000 across 6,000, ranks apart", flop, lambda: best_across(a, b, *apart)


def kmeans_cases(dim):
    # As many iterations as take place: 64 rows for each centroid soon stay where they are.
    for n_clusters, n, iterations in ((316, 80_896, 25), (1000, 64_000, 8)):
        sample = unit_rows(n, dim)
        settings = {"n_clusters": n_clusters, "random_state": 0, "max_iter": iterations}
        yield (
            f"{iterations} iterations of {n_clusters:,}-means on {n:,}, first centroids too",
            2 * n * n_clusters * dim * iterations,
            lambda sample=sample, settings=settings: train_centroids(sample, **settings),
        )


CASES = {
    "assignment": assignment_cases,
    "pairwise": pairwise_cases,
    "groups": group_cases,
    "across": across_cases,
    "kmeans": kmeans_cases,
}


def seconds(work):
    start = time.process_time()
    work()
    return time.process_time() - start


def sgemm_rate(dim):
    """GF/s of one product of 2048 rows with 2048 others: the best of three."""
    left, right = (unit_rows(REFERENCE_ROWS, dim, seed).vectors for seed in (3, 4))
    out = np.empty((REFERENCE_ROWS, REFERENCE_ROWS), np.float32)
    return max(2e-9 * out.size * dim / seconds(lambda: np.matmul(left, right.T, out=out)) for _ in range(3))


def measure(flop, work, dim, rounds):
    work()
    found = []
    for _ in range(rounds):
        before, took, after = sgemm_rate(dim), seconds(work), sgemm_rate(dim)
        rate = 1e-9 * flop / took
        found.append(
            {"gflops": round(rate, 1), "sgemm": round((before + after) / 2, 1), "ratio": 2 * rate / (before + after)}
        )
    return found


def cpu_model():
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join(CASES))
    arguments = parser.parse_args()
    rows = []
    with threadpool_limits(limits=1):
        libraries = [
            f"{each['internal_api']} {each['version']} {each.get('architecture', '')}" for each in threadpool_info()
        ]
        for kind in arguments.only.split(","):
            for dim in (512, 768):
                for name, flop, work in CASES[kind](dim):
                    found = measure(flop, work, dim, arguments.rounds)
                    ratios = [each["ratio"] for each in found]
                    middle = sorted(found, key=lambda each: each["ratio"])[len(found) // 2]
                    row = {
                        "case": name,
                        "dim": dim,
                        "ratio": round(statistics.median(ratios), 3),
                        "best": round(max(ratios), 3),
                    }
                    rows.append(row | {"gflops": middle["gflops"], "sgemm_gflops": middle["sgemm"]})
                    print(f"{name:62} d={dim}  {row['ratio']:.3f}  (best {row['best']:.3f})  {middle}", flush=True)
    known = json.loads(RESULTS.read_text())["results"] if RESULTS.exists() else []
    measured = {(row["case"], row["dim"]) for row in rows}
    rows = [row for row in known if (row["case"], row["dim"]) not in measured] + rows
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": cpu_model(),
        "numpy": np.__version__,
        "libraries": libraries,
        "rounds": arguments.rounds,
        "load_of_the_machine": round(os.getloadavg()[1], 1),
        "results": rows,
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
