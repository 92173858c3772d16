"""The steps cluster, pairwise and identify over a folder of vectors, in a process of their own: seconds and counts.

A Spark session is started, and one trivial job of Python workers run on all its cores, before the clock of the steps
starts; both are counted apart. Beside the seconds stand those of the processor cores (of this process, of Spark's JVM
and of its workers together), which say more where a machine is shared, and the peak memory of the largest worker.

    python benchmarks/steps.py --vectors DIR --work DIR [--set cluster.n_clusters=201 identify.eps=0.01 …]
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import platform
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
from threadpoolctl import threadpool_limits

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
STEPS = ("cluster", "pairwise", "identify")
TICKS = os.sysconf("SC_CLK_TCK")
SECONDS_BETWEEN_LOOKS = 0.5
GEMM_ROWS = 2048


def machine():
    """What a result says of the machine it was measured on."""
    return f"{platform.machine()}, {os.cpu_count()} shared cores, Python {platform.python_version()}"


def write_result(name, result):
    """Write results/`name`.json."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")


def sgemm_rate(dim=512, n_threads=1, clock=time.perf_counter, seconds=1.0):
    """Flop per second of float32 products of (2048, dim) matrices: of that many threads at once, all together.

    With `clock` time.process_time they are those of a second of one core, whoever else is on the machine.
    """
    left = np.random.default_rng(0).standard_normal((GEMM_ROWS, dim), np.float32)
    until = time.perf_counter() + seconds

    def multiply(_):
        product, done = np.empty((GEMM_ROWS, GEMM_ROWS), np.float32), 0
        while time.perf_counter() < until:
            np.matmul(left, left[::-1].T, out=product)
            done += 1
        return done

    with threadpool_limits(1), ThreadPoolExecutor(n_threads) as pool:
        start = clock()
        done = sum(pool.map(multiply, range(n_threads)))
        return done * 2 * GEMM_ROWS**2 * dim / (clock() - start)


def processes_below(parent):
    """{pid: the fields of its /proc stat after its name} of a process and all its descendants."""
    stats, children = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            stats[int(entry.name)] = fields
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = {}, [parent]
    while waiting:
        pid = waiting.pop()
        if pid in stats:
            found[pid] = stats[pid]
            waiting += children.get(pid, [])
    return found


def cpu_seconds():
    """Seconds of the processor of this process and all below it, those that have ended and were waited for included."""
    return sum(sum(map(int, fields[11:15])) for fields in processes_below(os.getpid()).values()) / TICKS


def worker_peaks(parent):
    """{pid: peak resident bytes} of the Python workers below a process: its own peak is not among them."""
    peaks = {}
    for pid in processes_below(parent):
        try:
            command = (Path("/proc") / str(pid) / "cmdline").read_bytes()
            status = (Path("/proc") / str(pid) / "status").read_text()
        except OSError:
            continue
        peak = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
        if peak and pid != parent and b"pyspark" in command and b"java" not in command.partition(b"\0")[0]:
            peaks[pid] = int(peak[0]) * 1024
    return peaks


@contextmanager
def watched(seen):
    """Keep the highest `worker_peaks` of the block in `seen`."""
    done = threading.Event()

    def watch():
        while not done.wait(SECONDS_BETWEEN_LOOKS):
            for pid, peak in worker_peaks(os.getpid()).items():
                seen[pid] = max(peak, seen.get(pid, 0))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def settings_for(vectors, work, overrides):
    """The settings of a run over vectors of our own; `overrides` are section.key=value."""
    from spark_imgdedup import load_config

    return load_config(None, [f"work_dir={work}", f"cluster.embeddings_path={vectors}", *overrides])


def warm_session(config):
    """A session whose Python workers have started on every core."""
    from spark_imgdedup.runs.session import get_session

    spark = get_session(config)
    cores = spark.sparkContext.defaultParallelism
    spark.range(cores, numPartitions=cores).mapInArrow(lambda batches: batches, "id bigint").count()
    return spark


def read_table(work, name, columns=None):
    """A Parquet table of a run as Arrow."""
    return ds.dataset(Path(work) / name, format="parquet").to_table(columns=columns)


def run_here(config, spark):
    """Seconds of a run of the steps with this session, in all and by step, and their counts."""
    from spark_imgdedup import run

    peaks = {}
    with watched(peaks):
        start, cpu = time.perf_counter(), cpu_seconds()
        run(config, spark, steps=STEPS)
        seconds, cpu = time.perf_counter() - start, cpu_seconds() - cpu
    files = {step: Path(config.work_dir) / "_steps" / f"{step}.json" for step in STEPS}
    records = {step: json.loads(path.read_text()) for step, path in files.items()}
    return {
        "seconds": {step: round(record["seconds"], 2) for step, record in records.items()},
        "seconds_in_all": round(seconds, 2),
        "cpu_seconds": round(cpu, 1),
        "peak_worker_bytes": max(peaks.values(), default=None),
        "counts": {step: record["counts"] for step, record in records.items()},
    }


def run_apart(script, *arguments, environment=None):
    """The JSON that a script of this folder prints last, run in a process of its own; ends this one if it fails."""
    start, load = time.perf_counter(), os.getloadavg()[0]
    command = [sys.executable, str(Path(__file__).with_name(script)), *map(str, arguments)]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    ours = {**os.environ, "PYTHONPATH": path, **(environment or {})}
    done = subprocess.run(command, env=ours, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr[-4000:]}")
    whole = round(time.perf_counter() - start, 2)
    return json.loads(done.stdout.splitlines()[-1]) | {"seconds_of_process": whole, "load_before": round(load, 1)}


def run_steps(vectors, work, overrides, **environment):
    """`run_here` in a process and a session of its own."""
    return run_apart("steps.py", "--vectors", vectors, "--work", work, "--set", *overrides, environment=environment)


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
