"""100,000 vectors of video clips deduplicated by jobs/dedup_embeddings.py: seconds, and which planted copies are found.

The job runs as a process of its own, held to two cores, as a user starts it: its time has the start of Python and Spark
in it. Ids are uuids, in several Parquet files. A twelfth of the rows are copies of others, a quarter of them each exact
and at a cosine of 0.9999, 0.999 and 0.995 to their original; eps is 0.01, so the rule names all of them. What is not
found lies across a border: its original was put in another cluster.

Two kinds of vectors: of 400 topics (any two of a topic have a cosine of about 0.4), as encoders give them, and without
any structure, the worst case for borders.

Beside the seconds stand those of all processor cores together, which say more where a machine is shared.

    python benchmarks/embeddings.py [--rows 100000] [--dim 256] [--n-clusters auto,256]
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
LEVELS = {"exact": 1.0, "0.9999": 0.9999, "0.999": 0.999, "0.995": 0.995}
EPS = 0.01
N_TOPICS = 400
N_FILES = 8
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def originals(kind, n, dim, rng):
    noise = unit(rng.standard_normal((n, dim)))
    if kind == "no structure":
        return noise
    topics = unit(rng.standard_normal((N_TOPICS, dim)))
    return unit(np.sqrt(0.4) * topics[rng.integers(0, N_TOPICS, n)] + np.sqrt(0.6) * noise)


def at_cosine(rows, cosine, rng):
    """For each unit row another at exactly that cosine to it."""
    aside = rng.standard_normal(rows.shape)
    aside = unit(aside - np.sum(aside * rows, axis=1, keepdims=True) * rows)
    return cosine * rows + np.sqrt(1 - cosine**2) * aside


def write_clips(folder, kind, n_rows, dim):
    """Write id and embedding; give back {level: planted pairs of ids}."""
    rng = np.random.default_rng(0)
    n_each = n_rows // 48
    rows = originals(kind, n_rows - n_each * len(LEVELS), dim, rng).astype(np.float32)
    parts, sources = [rows], []
    for level, (name, cosine) in enumerate(LEVELS.items()):
        of = np.arange(level * n_each, (level + 1) * n_each)
        parts.append(rows[of] if name == "exact" else at_cosine(rows[of], cosine, rng).astype(np.float32))
        sources.append(of)
    vectors = np.concatenate(parts)
    ids = np.array([str(uuid.UUID(bytes=rng.bytes(16), version=4)) for _ in range(n_rows)])
    copies = np.arange(len(rows), n_rows).reshape(len(LEVELS), n_each)
    planted = {
        name: {frozenset(pair) for pair in zip(ids[of], ids[copy], strict=True)}
        for name, of, copy in zip(LEVELS, sources, copies, strict=True)
    }
    order = rng.permutation(n_rows)
    for number, part in enumerate(np.array_split(order, N_FILES)):
        embedding = pa.FixedSizeListArray.from_arrays(pa.array(vectors[part].ravel()), dim).cast(pa.list_(pa.float32()))
        pq.write_table(pa.table({"id": ids[part], "embedding": embedding}), folder / f"{number:012x}.parquet")
    return planted


def cpu_seconds():
    """Of all child processes that have ended so far, Spark's JVM and its workers included."""
    try:
        while True:
            os.wait()
    except ChildProcessError:
        pass
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run_job(folder, n_clusters):
    """Seconds of the whole process, those of the processor, the job's report, and the pairs it found."""
    settings = {
        "work_dir": f"work-{n_clusters}",
        "cluster": {"embeddings_path": "ce1_embd_parquet", "n_clusters": n_clusters},
        "identify": {"eps": EPS},
    }
    (folder / "clips.yaml").write_text(yaml.safe_dump(settings))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    start, cpu = time.perf_counter(), cpu_seconds()
    done = subprocess.run(
        [sys.executable, str(ROOT / "jobs/dedup_embeddings.py"), "--config", "clips.yaml"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        sys.exit(done.stderr)
    work = folder / settings["work_dir"]
    rows = pq.read_table(work / "duplicates").to_pylist()
    report = json.loads((work / "report/report.json").read_text())["summary"]
    return seconds, cpu_seconds() - cpu, report, {frozenset((row["id"], row["max_id"])) for row in rows}


def measure(folder, kind, arguments):
    clips = folder / "ce1_embd_parquet"
    clips.mkdir(parents=True)
    planted = write_clips(clips, kind, arguments.rows, arguments.dim)
    everything = set().union(*planted.values())
    for n_clusters in arguments.n_clusters.split(","):
        load = os.getloadavg()[0]
        seconds, cpu, report, found = run_job(folder, n_clusters if n_clusters == "auto" else int(n_clusters))
        result = {
            "vectors": kind,
            "n_clusters": n_clusters,
            "clusters": report["clusters"],
            "largest_cluster": report["largest_cluster"],
            "seconds": round(seconds, 1),
            "cpu_seconds": round(cpu, 1),
            "seconds_of_steps": report["seconds"],
            "load_before": round(load, 1),
            "planted_each": len(planted["exact"]),
            "found": {level: round(len(pairs & found) / len(pairs), 4) for level, pairs in planted.items()},
            "false": len(found - everything),
        }
        print(json.dumps(result), flush=True)
        yield result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--n-clusters", default="auto,256", help="comma-separated")
    parser.add_argument("--cores", type=int, default=2)
    arguments = parser.parse_args()

    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[: arguments.cores]))  # children inherit it
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)  # Spark's JVM outlives the job for a moment
    with tempfile.TemporaryDirectory() as folder:
        runs = [
            run
            for kind in ("topics", "no structure")
            for run in measure(Path(folder) / kind.replace(" ", "-"), kind, arguments)
        ]
    result = {
        "rows": arguments.rows,
        "dim": arguments.dim,
        "eps": EPS,
        "files": N_FILES,
        "cores": arguments.cores,
        "runs": runs,
        "machine": f"{platform.machine()}, {os.cpu_count()} shared cores, Python {platform.python_version()}",
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "embeddings.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
