"""A crowd of 300,000 near-identical rows, no two equal, among 1,000,000: does the search finish, and balanced?

Runs cluster, pairwise and identify (by `greedy`; `--set identify.rule=components` for the other rule) with an event
log, and reads from it how long the tasks of the longest stage of pairwise, groups and identify took: the longest over
the median says whether the crowd fell to one task. Every row of the crowd but the one that ranks first resembles an
earlier one, so what is found is known. The peak is that of the largest Python worker, as the kernel counted it.

With `n_clusters: auto` k-means itself splits the crowd, in which three tenths of its first centroids lie, so that no
cluster is large. With few clusters some are far larger than a task should hold.

    python benchmarks/skew.py [--rows 1000000] [--dim 256] [--n-clusters auto 8] [--cache DIR] [--set KEY=VALUE …]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from steps import machine, read_table, run_steps, sgemm_rate, write_result
from vectors import CROWD_NOISE, CROWD_SHARE, EMBEDDINGS, Recipe, make

GROUPS = ("pairwise", "groups", "identify")  # steps; "spark-imgdedup <step>" is the job group of each


def events_in(folder):
    """The events of a log, whether Spark wrote one file or a folder of them."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and "appstatus" not in path.name):
        with path.open() as file:
            yield from map(json.loads, file)


def task_seconds(folder, group):
    """{stage: seconds of each task that succeeded} of the jobs of a group."""
    stages, tasks = set(), defaultdict(list)
    for event in events_in(folder):
        if event["Event"] == "SparkListenerJobStart" and event["Properties"].get("spark.jobGroup.id") == group:
            stages.update(event["Stage IDs"])
        elif event["Event"] == "SparkListenerTaskEnd" and event["Task End Reason"]["Reason"] == "Success":
            info = event["Task Info"]
            tasks[event["Stage ID"]].append((info["Finish Time"] - info["Launch Time"]) / 1000)
    return {stage: sorted(seconds) for stage, seconds in tasks.items() if stage in stages}


def balance(tasks):
    """Of the stage that took the most seconds in all: its tasks, the longest, the median, and their ratio."""
    if not tasks:
        return None
    seconds = max(tasks.values(), key=sum)
    median = statistics.median(seconds)
    return {
        "tasks": len(seconds),
        "longest": seconds[-1],
        "median": median,
        "longest_over_median": round(seconds[-1] / max(median, 1e-3), 2),
        "seconds_of_each": seconds if len(seconds) <= 200 else seconds[:: len(seconds) // 200],
    }


def measure(n_clusters, vectors, scratch, given):
    """What a run with that many clusters took and found."""
    log, work = scratch / f"events-{n_clusters}", scratch / f"work-{n_clusters}"
    log.mkdir()
    settings = [f"cluster.n_clusters={n_clusters}", "identify.eps=0.01", f"spark.master=local[{given.cores}]"]
    logged = ["spark.eventLog.enabled=true", f"spark.eventLog.dir={log.as_uri()}", "spark.eventLog.compress=false"]
    rate = sgemm_rate(given.dim, given.cores)
    run = run_steps(vectors, work, [*settings, *logged, *given.set])
    similarities = read_table(work, "similarities", ["cluster_id", "cosine_sim_score"])
    sizes = np.bincount(similarities["cluster_id"].to_numpy())
    duplicates = pc.sum(pc.greater_equal(similarities["cosine_sim_score"], 0.99)).as_py()
    return {
        "n_clusters": n_clusters,
        "clusters": int(np.count_nonzero(sizes)),
        "largest_clusters": sorted(map(int, sizes), reverse=True)[:8],
        "duplicates": duplicates,
        "removed": run["counts"]["identify"]["duplicates"],
        "uncovered": run["counts"]["identify"]["uncovered"],
        "share_of_crowd_found": round(duplicates / (given.rows * CROWD_SHARE - 1), 6),
        **{f"{name}_tasks": balance(task_seconds(log, f"spark-imgdedup {name}")) for name in GROUPS},
        "sgemm_gflops": round(rate / 1e9, 1),
        **run,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--n-clusters", nargs="+", default=["auto", "8"])
    parser.add_argument("--noise", type=float, default=CROWD_NOISE, help="two of the crowd have a cosine of 1 - noise²")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--cache", type=Path, help="keep the vectors here")
    parser.add_argument("--name", default="skew", help="of the file in results/")
    given = parser.parse_args()
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        made = (given.cache or Path(folder)) / f"skewed-{given.rows}x{given.dim}-{given.noise}"
        make(made, Recipe(given.rows, given.dim, kind="skewed", noise=given.noise))
        for n_clusters in given.n_clusters:
            runs.append(measure(n_clusters, made / EMBEDDINGS, Path(folder), given))
            print(json.dumps(runs[-1]), flush=True)
    settings = {key: getattr(given, key) for key in ("rows", "dim", "noise", "cores", "set")}
    write_result(given.name, {**settings, "runs": runs, "machine": machine()})


if __name__ == "__main__":
    main()
