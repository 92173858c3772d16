"""Airflow as the tests of this folder call it: by its command line, in an environment and a home of its own."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.submitting import LIMIT_SECONDS, ROOT, SPARK_HOME, submit_environment

DAGS = ROOT / "jobs/airflow"


def airflow_python():
    """The Python of the Airflow environment: AIRFLOW_PYTHON, or what `make airflow` makes."""
    return Path(os.environ.get("AIRFLOW_PYTHON") or ROOT / ".venv-airflow/bin/python")


def environment(python, home, dags):
    """For Airflow's processes: its own programs first on PATH, then spark-submit."""
    return {
        **submit_environment(),
        "PATH": os.pathsep.join([str(python.parent), str(SPARK_HOME / "bin"), os.environ["PATH"]]),
        "PYTHONUNBUFFERED": "1",  # a test waits for lines of the log
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }


@dataclass(frozen=True)
class Airflow:
    """An installation with a database of its own, and the DAGs of jobs/airflow copied into its folder."""

    python: Path
    env: dict[str, str]

    @property
    def cwd(self):
        """Not this checkout: what is called with -m or -c finds modules there."""
        return self.env["AIRFLOW_HOME"]

    def command(self, *arguments):
        return [str(self.python), "-m", "airflow", *arguments]

    def run(self, *arguments):
        """What it says, and its exit code."""
        return subprocess.run(
            self.command(*arguments),
            env=self.env,
            cwd=self.cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=LIMIT_SECONDS,
        )


@dataclass(frozen=True)
class Days:
    """Folders of the days, and the params of a run on them."""

    folder: Path
    params: dict[str, object]

    def command(self, day, **changed):
        return ["dags", "test", "spark_imgdedup", day, "--conf", json.dumps(self.params | changed)]

    def files(self, day):
        """The tars and tables of a day, and when each was written, in ns."""
        below = [self.folder / "work" / day, self.folder / "tars" / day]
        return {
            path.relative_to(self.folder).as_posix(): path.stat().st_mtime_ns
            for folder in below
            for path in folder.rglob("*")
            if path.is_file() and not {"report", "config.yaml"} & set(path.parts)
        }


def steps_that(said, word):
    """The steps of whose log lines one begins with `word`: "unchanged" where it was skipped."""
    steps = ("embed", "cluster", "pairwise", "identify", "remove")
    return [step for step in steps if f" {step}: {word}" in said]
