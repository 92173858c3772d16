"""Fixtures shared by all tests. Nothing here starts Spark until a test asks for it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from tests import jvm
from tests.connect_server import connect_server

# How long an example takes says nothing about right or wrong: the machines are shared, and a GPU's first call is slow.
# CI judges the change by the same examples each time; `make thorough` looks for new ones.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.register_profile("exploring", deadline=None, max_examples=1000)
settings.load_profile("steady")

# Workers must be this Python, not whichever python3 comes first on PATH. Set before any session starts.
os.environ["PYSPARK_PYTHON"] = sys.executable
jvm.use()

SPARK_FOLDERS = ("stages", "runs", "jobs", "flow")
# With `-m connect` the tests of these folders, and all that are marked `connect`, have a session of Spark Connect.
CONNECT_FOLDERS = ("stages",)
# Those that the oldest Spark runs too: make spark35.
SPARK35_FOLDERS = ("stages", "jobs")
# These need what takes long to fetch or to start: a mark, and a command of make, each.
SLOW_FOLDERS = {
    "airflow": "airflow",
    "browser": "browser",
    "cluster": "cluster",
    "delta": "delta",
    "faults": "faults",
    "object_stores": "s3",
    "rapids": "rapids",
}
SPARK_SETTINGS = {
    "spark.master": "local[2]",  # two cores: enough to show what depends on the order of tasks
    "spark.ui.enabled": "false",  # no port, no start-up time
    "spark.ui.showConsoleProgress": "false",  # it would write over pytest's lines
    "spark.sql.shuffle.partitions": "2",  # 200 tasks for ten rows take minutes
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "2",  # VACUUM takes 170,000 tasks else
    "spark.driver.memory": "2g",
    "spark.driver.extraJavaOptions": "-XX:MetaspaceSize=256m",  # beside those of tests/jvm.py
    # For ten rows the compiling of a plan costs more than all else (a quarter of the processor time of a whole run).
    # Commands, clusters, stores and `make demo` have sessions of their own, which compile.
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.ui.retainedExecutions": "20",  # their plans fill the heap
    "spark.log.level": "ERROR",
    "spark.sql.session.timeZone": "UTC",
}


def is_connect(config):
    """Whether this is `pytest -m connect`: a process has one kind of session, PySpark refuses a second."""
    return config.getoption("markexpr").split()[:1] == ["connect"]


def pytest_collection_modifyitems(config, items):
    """Markers follow folders, so that nobody forgets one."""
    n_parts = len(Path(__file__).parent.parts)
    for item in items:
        folder = item.path.parts[n_parts]
        if folder in SLOW_FOLDERS:
            item.add_marker(SLOW_FOLDERS[folder])
            item.add_marker(pytest.mark.slow)
        if folder in SPARK_FOLDERS or "spark" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.spark)
        if folder in SPARK35_FOLDERS and not item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.spark35)
        if is_connect(config) and folder in CONNECT_FOLDERS and "_session" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.connect)
    # Files that take a minute come first, so that of two processes none works on one while the other is done.
    items.sort(key=lambda item: item.path.parts[n_parts] != "flow")


@pytest.fixture(scope="session")
def _spark_settings(tmp_path_factory):
    return SPARK_SETTINGS | {"spark.sql.warehouse.dir": str(tmp_path_factory.mktemp("warehouse"))}


@pytest.fixture(scope="session")
def connect_url(tmp_path_factory, pytestconfig, _spark_settings):
    """The URL of a Spark Connect server that runs as long as the tests do."""
    if not is_connect(pytestconfig):
        pytest.skip("needs a Spark Connect session: pytest -m connect")
    with connect_server(tmp_path_factory.mktemp("server"), _spark_settings) as url:
        yield url


@pytest.fixture(scope="session")
def _session(request, _spark_settings):
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName("spark-imgdedup tests")
    if is_connect(request.config):
        session = builder.remote(request.getfixturevalue("connect_url")).getOrCreate()
    else:
        session = builder.config(map=_spark_settings).getOrCreate()
    yield session
    session.stop()


@pytest.fixture
def spark(_session):
    """A Spark session on two cores, shared by all tests; views and cache are cleared after each."""
    yield _session
    _session.catalog.clearCache()
