"""How long the checks of a change take: `make test` once installed, and all of `.ci/run` on a bare checkout.

Each in a clone of the last commit. How much of the cores others took away meanwhile stands beside the seconds: a shared
machine says nothing of the bars, which are those of two idle cores. Caches of the machine (pip, uv, Ivy) are left as
they are found, so `.ci/run` fetches what they lack.

    python benchmarks/checks.py [--rounds 3] [--without-ci] [--without-tests]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from steps import ROOT, TICKS, machine, write_result

# What a shell for development may set; a fresh machine has none of it.
OURS = ("PYTHONPATH", "PYSPARK_PYTHON", "OMP_NUM_THREADS", "PYTHONDONTWRITEBYTECODE", "MAKEFLAGS", "VIRTUAL_ENV")


def cores():
    """Seconds since the machine started that its cores were idle, worked for us, and were others'."""
    user, nice, system, idle, waiting, irq, softirq, stolen = map(int, Path("/proc/stat").read_text().split()[1:9])
    return {
        "busy": (user + nice + system + irq + softirq) / TICKS,
        "idle": (idle + waiting) / TICKS,
        "stolen": stolen / TICKS,
    }


def timed(command, folder):
    """Seconds, and what the cores did meanwhile."""
    env = {name: value for name, value in os.environ.items() if name not in OURS}
    before, start = cores(), time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        done = subprocess.run(command, cwd=folder, env=env, stdout=said, stderr=subprocess.STDOUT, check=False)
        seconds = time.perf_counter() - start
        said.seek(0)
        lines = [line.strip("= \n") for line in said]
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} in {folder}: exit {done.returncode}\n" + "\n".join(lines[-100:]))
    after = cores()
    result = {
        "seconds": round(seconds, 1),
        **{f"cores_{name}_seconds": round(after[name] - before[name], 1) for name in after},
        "pytest": [line for line in lines if " passed" in line and " in " in line and line[0].isdigit()],
    }
    print(" ".join(command), result, flush=True)
    return result


def clone(folder):
    """The last commit, as a newcomer has it."""
    git("clone", "-q", ROOT, folder)
    return folder


def git(*words):
    """What git says."""
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S607


def main():
    """Measure, print, and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-ci", action="store_true")
    parser.add_argument("--without-tests", action="store_true")
    given = parser.parse_args()
    result = {"machine": machine(), "date": time.strftime("%Y-%m-%d"), "commit": git("rev-parse", "HEAD")}
    with tempfile.TemporaryDirectory() as folder:
        if not given.without_tests:
            tree = clone(Path(folder) / "tests")
            result["install"] = timed(["make", ".venv/spark-classes.jsa"], tree)
            result["make test"] = [timed(["make", "test"], tree) for _ in range(given.rounds)]
            result["make_test_median_seconds"] = statistics.median(each["seconds"] for each in result["make test"])
            write_result("checks", result)  # what comes takes more than half an hour
        if not given.without_ci:
            result[".ci/run"] = timed([".ci/run"], clone(Path(folder) / "ci"))
            write_result("checks", result)


if __name__ == "__main__":
    main()
