"""The steps cluster, pairwise and identify over a folder of vectors, in a process of their own: seconds and counts.

A Spark session is started and one trivial job of Python workers run on all its cores before the clock of the steps
starts; both are counted apart. Settings that a version does not have yet are left out by not naming them.

    python benchmarks/steps.py --vectors DIR --work DIR [--set cluster.n_clusters=201 identify.eps=0.01 …]
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
STEPS = ("cluster", "pairwise", "identify")


def settings_for(vectors, work, overrides):
    """The settings of a run over vectors of our own; `overrides` are section.key=value."""
    from spark_imgdedup import load_config

    ours = [f"work_dir={work}", f"cluster.embeddings_path={vectors}"]
    return load_config(None, [*ours, *overrides])


def warm_session(config):
    """A session whose Python workers have started on every core."""
    from spark_imgdedup.runs.session import get_session

    spark = get_session(config)
    cores = spark.sparkContext.defaultParallelism
    spark.range(cores, numPartitions=cores).mapInArrow(lambda batches: batches, "id bigint").count()
    return spark


def records(work):
    """What each step recorded: seconds and counts."""
    found = (Path(work) / "_steps" / f"{step}.json" for step in STEPS)
    return {path.stem: json.loads(path.read_text()) for path in found if path.exists()}


def run_here(config, spark):
    """Seconds of a run of the steps with this session, in all and by step, and their counts."""
    from spark_imgdedup import run

    start = time.perf_counter()
    run(config, spark, steps=STEPS)
    seconds = time.perf_counter() - start
    done = records(config.work_dir)
    return {
        "seconds": {step: round(record["seconds"], 2) for step, record in done.items()},
        "seconds_in_all": round(seconds, 2),
        "counts": {step: record["counts"] for step, record in done.items()},
    }


def run_apart(vectors, work, overrides, **environment):
    """`run_here` in a fresh process, with the seconds of its session; ends this process if it fails."""
    start, load = time.perf_counter(), os.getloadavg()[0]
    command = [sys.executable, __file__, "--vectors", str(vectors), "--work", str(work), "--set", *overrides]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr[-4000:]}")
    seconds = time.perf_counter() - start
    return json.loads(done.stdout.splitlines()[-1]) | {
        "seconds_of_process": round(seconds, 2),
        "load_before": round(load, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=Path, required=True, help="folder of Parquet files")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    given = parser.parse_args()
    start = time.perf_counter()
    config = settings_for(given.vectors, given.work, given.set)
    spark = warm_session(config)
    session = time.perf_counter() - start
    found = run_here(config, spark)
    spark.stop()
    print(json.dumps(found | {"seconds_of_session": round(session, 2)}))


if __name__ == "__main__":
    main()
