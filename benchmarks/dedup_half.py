"""The dedup half (cluster, pairwise, identify) against a plain script of one process, over the same Parquet.

Both read the files and write files, have the same number of clusters, the same cores and the same eps, and run in
turns, each in a process of its own; medians are reported. The plain script compares home clusters only, so that
`pairwise.probes=home` is the fair comparison; the other plans that `--probes` names show what finding more costs.
Centroids differ, and with them the clusters, so what is found is compared by planted pairs.

Starting the session, and one trivial job of Python workers on every core, is counted apart; the plain script's imports
are not in its seconds either.

    python benchmarks/dedup_half.py [--rows 500000] [--dim 512] [--n-clusters 201] [--cache DIR] [--rounds 3]
        [--probes home auto] [--set KEY=VALUE …] [--semdedup]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
from steps import machine, read_table, run_apart, run_steps, sgemm_rate, write_result
from vectors import EMBEDDINGS, Recipe, make, planted_found

AS_SET = "settings"  # a plan that sets nothing itself


def median(runs, *keys):
    """Of a number at the same place of each run."""
    found = []
    for each in runs:
        for key in keys:
            each = each[key]
        found.append(each)
    return round(statistics.median(found), 2)


def medians(runs):
    """The last run, with the medians of all in place of its seconds."""
    return runs[-1] | {
        "seconds": {step: median(runs, "seconds", step) for step in runs[0]["seconds"]},
        **{key: median(runs, key) for key in ("seconds_in_all", "cpu_seconds", "seconds_of_process")},
        "seconds_of_each": [each["seconds_in_all"] for each in runs],
        "load_before": [each["load_before"] for each in runs],
    }


def times_plain(runs, plains):
    """How many times the plain script's seconds ours are: the median over turns, in which the machine was the same."""
    keys = {"times_plain": "seconds_in_all", "times_plain_cpu": "cpu_seconds"}
    turns = list(zip(runs, plains, strict=True))
    return {
        name: round(statistics.median(run[key] / against[key] for run, against in turns), 2)
        for name, key in keys.items()
    }


def plain(made, scratch, given):
    """One run of the plain script."""
    out = scratch / "plain"
    shutil.rmtree(out, ignore_errors=True)
    given_to_it = ["--n-clusters", given.n_clusters, "--eps", given.eps, "--threads", given.cores]
    found = run_apart("plain_script.py", "--vectors", made / EMBEDDINGS, "--out", out, *given_to_it)
    return found | {"planted_found": planted_found(made, pq.read_table(out / "duplicates.parquet", columns=["id"]))}


def ours(made, work, plan, given):
    """One run of our steps with a plan of `pairwise.probes`, or with the settings as they are."""
    shutil.rmtree(work, ignore_errors=True)
    settings = [f"cluster.n_clusters={given.n_clusters}", f"identify.eps={given.eps}", *given.set]
    settings += [f"spark.master=local[{given.cores}]"]
    settings += [] if plan == AS_SET else [f"pairwise.probes={plan}"]
    found = run_steps(made / EMBEDDINGS, work, settings)
    return found | {"planted_found": planted_found(made, read_table(work, "duplicates", ["id"]))}


def measure(made, scratch, given):
    """Turns of the plain script and of each of our plans; the results, and the work_dir of our first plan."""
    plans = given.probes or [AS_SET]
    plains, runs = [], {plan: [] for plan in plans}
    for _ in range(given.rounds):
        plains.append(plain(made, scratch, given))
        print(json.dumps({"plain": plains[-1]}), flush=True)
        for place, plan in enumerate(plans):
            runs[plan].append(ours(made, scratch / f"work-{place}", plan, given))
            print(json.dumps({plan: runs[plan][-1]}), flush=True)
            if place:
                shutil.rmtree(scratch / f"work-{place}")
    found = {plan: medians(each) | times_plain(each, plains) for plan, each in runs.items()}
    return {"plain": medians(plains), "ours": found}, scratch / "work-0"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--n-clusters", type=int, default=201)
    parser.add_argument("--eps", type=float, default=0.01)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--probes", nargs="*", default=["home", "auto"], help="none: the settings as they are")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="more settings of ours")
    parser.add_argument("--cache", type=Path, help="keep the vectors here")
    parser.add_argument("--semdedup", action="store_true", help="SemDeDup's procedure on our clusters too")
    parser.add_argument("--name", default="dedup_half", help="of the file in results/")
    given = parser.parse_args()

    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[: given.cores]))  # children inherit it
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        made = (given.cache or scratch) / f"topics-{given.rows}x{given.dim}"
        make(made, Recipe(given.rows, given.dim))
        before = sgemm_rate(given.dim, given.cores)
        results, work = measure(made, scratch, given)
        if given.semdedup:
            run = ["--vectors", made / EMBEDDINGS, "--work", work, "--out", scratch / "semdedup"]
            found = run_apart("semdedup_procedure.py", *run, "--eps", given.eps, "--threads", given.cores)
            compared = next(iter(results["ours"].values()))["seconds"]["pairwise"]
            found["times_our_pairwise"] = round((found["seconds_in_all"] - found["seconds"]["read"]) / compared, 2)
            results["semdedup"] = found
        after = sgemm_rate(given.dim, given.cores)
    result = {
        **{key: getattr(given, key) for key in ("rows", "dim", "n_clusters", "eps", "cores", "rounds", "set")},
        **results,
        "sgemm_gflops": [round(rate / 1e9, 1) for rate in (before, after)],
        "machine": machine(),
    }
    print(json.dumps(result, indent=1))
    write_result(given.name, result)


if __name__ == "__main__":
    main()
