"""How the steps cluster, pairwise and identify grow with the rows, n_clusters auto; and with the workers of a cluster.

For each size: seconds by step, the seconds that its matrix products alone take at the rate of sgemm measured beside it
(training on one thread, assignment and comparing on all cores), and what is left for each image; the same of seconds of
the processor, which mean more on a shared machine. A line over all sizes says by which power of the rows each step
grows, and what each further image costs outside the products.

With `--workers` the middle size runs on standalone clusters of that many workers of one core each as well. On a machine
with fewer cores than workers that shows only that nothing breaks or serialises: no speed-up can be read from it.

    python benchmarks/growth.py [--rows 10000 100000 1000000] [--dim 256] [--workers 1 2 4] [--cache DIR]
        [--rounds 3] [--set KEY=VALUE …]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from steps import ROOT, STEPS, machine, read_table, run_steps, sgemm_rate, write_result
from vectors import EMBEDDINGS, Recipe, make

MAX_ROWS_PER_CENTROID = 256
MAX_ITER = 25  # the default of cluster.max_iter
LONG_ROWS = 500_000  # from here on one round has to do


def comparisons_of(run, work):
    """The pairs that were compared: as counted, or all within clusters for a version that does not count."""
    counted = run["counts"]["pairwise"].get("comparisons")
    if counted is not None:
        return counted
    sizes = np.bincount(read_table(work, "similarities", ["cluster_id"])["cluster_id"].to_numpy()).astype(np.int64)
    return int((sizes * (sizes - 1) // 2).sum())


def product_flops(clusters, rows, dim, comparisons):
    """Flop of the matrix products of training, assignment and comparing."""
    train = 2 * min(rows, MAX_ROWS_PER_CENTROID * clusters) * clusters * dim * MAX_ITER if clusters > 1 else 0
    return train, 2 * rows * clusters * dim, comparisons * 2 * dim


def steps_of(vectors, work, settings, n_rounds):
    """Medians over rounds of a run of the steps: seconds by step, and the rest of the last round."""
    runs = []
    for _ in range(n_rounds):
        shutil.rmtree(work, ignore_errors=True)
        runs.append(run_steps(vectors, work, settings))
    return runs[-1] | {
        "seconds": {step: statistics.median(run["seconds"][step] for run in runs) for step in STEPS},
        "cpu_seconds": statistics.median(run["cpu_seconds"] for run in runs),
        "load_before": [run["load_before"] for run in runs],
    }


def grow(given, cache, work):
    """A line for each size."""
    for rows in given.rows:
        vectors = made_for(rows, given.dim, cache) / EMBEDDINGS
        one, every = sgemm_rate(given.dim, 1), sgemm_rate(given.dim, given.cores)
        of_core = sgemm_rate(given.dim, given.cores, time.process_time)
        settings = [f"spark.master=local[{given.cores}]", "identify.eps=0.01", *given.set]
        run = steps_of(vectors, work, settings, 1 if rows >= LONG_ROWS else given.rounds)
        comparisons = comparisons_of(run, work)
        clusters = run["counts"]["cluster"]["clusters"]
        train, assign, compare = product_flops(clusters, rows, given.dim, comparisons)
        products = {"cluster": train / one + assign / every, "pairwise": compare / every, "identify": 0.0}
        cpu_outside = run["cpu_seconds"] - (train + assign + compare) / of_core
        outside = {step: run["seconds"][step] - products[step] for step in STEPS}
        line = {
            "rows": rows,
            "clusters": clusters,
            "comparisons": comparisons,
            "seconds": run["seconds"],
            "product_seconds": {step: round(seconds, 2) for step, seconds in products.items()},
            "microseconds_outside_products_per_image": round(sum(outside.values()) / rows * 1e6, 1),
            "cpu_microseconds_outside_products_per_image": round(cpu_outside / rows * 1e6, 1),
            "outside": {step: round(seconds, 2) for step, seconds in outside.items()},
            "cpu_seconds": run["cpu_seconds"],
            "cpu_outside": round(cpu_outside, 1),
            "peak_worker_bytes": run["peak_worker_bytes"],
            "sgemm_gflops": {
                "one_thread": round(one / 1e9, 1),
                "all_cores": round(every / 1e9, 1),
                "of_a_core_second": round(of_core / 1e9, 1),
            },
            "load_before": run["load_before"],
        }
        print(json.dumps(line), flush=True)
        yield line


def made_for(rows, dim, cache):
    """The folder of that many vectors, made unless it is there."""
    folder = cache / f"topics-{rows}x{dim}"
    make(folder, Recipe(rows, dim))
    return folder


def exponents(lines):
    """By which power of the rows the seconds of each step grow: the slope of their logarithms."""
    rows = np.log([line["rows"] for line in lines])
    return {step: round(np.polyfit(rows, np.log([line["seconds"][step] for line in lines]), 1)[0], 2) for step in STEPS}


def each_further(lines):
    """Microseconds outside the products for each image more, from one size to the next: what the fixed cost hides."""
    rows = np.diff([line["rows"] for line in lines])
    outside = {
        "wall": [sum(line["outside"].values()) for line in lines],
        "cpu": [line["cpu_outside"] for line in lines],
    }
    return {name: [round(float(cost), 1) for cost in np.diff(of) / rows * 1e6] for name, of in outside.items()}


def with_workers(given, cache, work):
    """A line for each number of workers of a standalone cluster."""
    rows = sorted(given.rows)[len(given.rows) // 2]
    vectors = made_for(rows, given.dim, cache) / EMBEDDINGS
    script = str(ROOT / "scripts" / "local_cluster.sh")
    for n_workers in given.workers:
        folder = work.parent / f"cluster-{n_workers}"
        environment = {**os.environ, "N_WORKERS": str(n_workers), "PYTHON": sys.executable, "WORKER_MEMORY": "2g"}
        try:
            started = subprocess.run(
                [script, "start", folder], env=environment, check=True, capture_output=True, text=True
            )
            url = started.stdout.split()[-1]
            settings = [
                f"spark.master={url}",
                "spark.executor.memory=1500m",
                "spark.scheduler.minRegisteredResourcesRatio=1.0",
                f"spark.executorEnv.PYTHONPATH={ROOT}",
                f"spark.sql.shuffle.partitions={2 * n_workers}",
            ]
            run = steps_of(vectors, work, [*settings, "identify.eps=0.01", *given.set], given.rounds)
        finally:
            subprocess.run([script, "stop", folder], env=environment, check=False, capture_output=True)
        line = {"workers": n_workers, "rows": rows, "seconds": run["seconds"], "load_before": run["load_before"]}
        print(json.dumps(line), flush=True)
        yield line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2, 4], help="none: no standalone cluster")
    parser.add_argument("--rounds", type=int, default=3, help="of sizes below half a million")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--cache", type=Path, help="keep the vectors here")
    parser.add_argument("--name", default="growth", help="of the file in results/")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cache, work = given.cache or Path(folder), Path(folder) / "work"
        lines = list(grow(given, cache, work))
        workers = list(with_workers(given, cache, work))
    result = {
        "dim": given.dim,
        "cores": given.cores,
        "set": given.set,
        "sizes": lines,
        "exponents": exponents(lines) if len(lines) > 1 else None,
        "microseconds_outside_products_per_further_image": each_further(lines),
        "workers": workers,
        "machine": machine(),
    }
    print(json.dumps({key: result[key] for key in ("exponents", "microseconds_outside_products_per_further_image")}))
    write_result(given.name, result)


if __name__ == "__main__":
    main()
