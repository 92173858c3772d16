"""The Airflow environment, which `make airflow` makes, and a cluster for its DAG to submit to."""

from __future__ import annotations

import shutil
import sys

import pytest

from tests.airflow.running import DAGS, Airflow, Days, airflow_python, environment
from tests.cluster.fixtures import *  # noqa: F403  # pytest finds fixtures by name here
from tests.cluster.submitting import ROOT, start_cluster

SHARDS = ("photos-00000.tar", "crawl/photos-00000.tar")  # some are copies of each other
DAY = "2026-01-06"


@pytest.fixture(scope="session")
def airflow(tmp_path_factory):
    """Airflow with an empty database. The DAGs lie where neither this checkout nor the package is."""
    python = airflow_python()
    if not python.exists():
        pytest.fail(f"There is no Airflow at {python}. Run `make airflow`, which installs it, or set AIRFLOW_PYTHON.")
    home, dags = tmp_path_factory.mktemp("airflow"), tmp_path_factory.mktemp("dags")
    for file in DAGS.glob("*.py"):
        # The one change: a second instead of minutes before another try.
        (dags / file.name).write_text(file.read_text().replace("timedelta(minutes=1)", "timedelta(seconds=1)"))
    found = Airflow(python, environment(python, home, dags))
    migrated = found.run("db", "migrate")
    assert migrated.returncode == 0, migrated.stdout
    return found


@pytest.fixture(scope="session")
def days(tmp_path_factory, zipped):
    """A folder with one day of data, and the package for driver and executors as a zip beside this environment."""
    folder = tmp_path_factory.mktemp("days")
    for name in SHARDS:
        to = folder / "incoming" / DAY / name
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "examples/shards" / name, to)
    shutil.copytree(ROOT / "jobs", folder / "jobs", ignore=shutil.ignore_patterns("airflow", "notebooks"))
    spark = {
        "spark.submit.pyFiles": str(zipped),
        "spark.pyspark.python": sys.executable,
        "spark.executor.memory": "1g",
        "spark.cores.max": "2",
        "spark.sql.shuffle.partitions": "2",  # 200 tasks for 64 rows take minutes
        "spark.ui.enabled": "false",
    }
    paths = {name: str(folder / place) for name, place in (("input", "incoming"), ("work", "work"), ("output", "tars"))}
    return Days(folder, {**paths, "jobs": str(folder / "jobs"), "config": None, "spark": spark})


@pytest.fixture(scope="session")
def connected(airflow, _cluster_folder):
    """Airflow with the connection spark_default to the standalone cluster, added as the guide says."""
    host, _, port = start_cluster(_cluster_folder).url.rpartition(":")
    place = ("--conn-type", "spark", "--conn-host", host, "--conn-port", port)
    added = airflow.run("connections", "add", "spark_default", *place)
    assert added.returncode == 0, added.stdout
    return airflow
