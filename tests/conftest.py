"""Fixtures shared by all tests. Nothing here starts Spark until a test asks for it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says nothing about right or wrong: the machines are shared, and a GPU's first call is slow.
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")

# Workers must be this Python, not whichever python3 comes first on PATH. Set before any session starts.
os.environ["PYSPARK_PYTHON"] = sys.executable

SPARK_FOLDERS = ("stages", "runs", "jobs", "flow")


def pytest_collection_modifyitems(items):
    """Markers follow folders, so that nobody forgets one."""
    here = Path(__file__).parent
    for item in items:
        folder = item.path.relative_to(here).parts[0]
        if folder in SPARK_FOLDERS or "spark" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.spark)


@pytest.fixture(scope="session")
def _session(tmp_path_factory):
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.appName("spark-imgdedup tests")
        .master("local[2]")  # two cores: enough to show what depends on the order of tasks
        .config("spark.ui.enabled", "false")  # no port, no start-up time
        .config("spark.ui.showConsoleProgress", "false")  # it would write over pytest's lines
        .config("spark.sql.shuffle.partitions", "2")  # 200 tasks for ten rows take minutes
        .config("spark.driver.memory", "2g")
        .config("spark.log.level", "ERROR")
        .config("spark.sql.warehouse.dir", str(tmp_path_factory.mktemp("warehouse")))
        .config("spark.sql.session.timeZone", "UTC")
        .getOrCreate()
    )
    yield session
    session.stop()


@pytest.fixture
def spark(_session):
    """A Spark session on two cores, shared by all tests; views and cache are cleared after each."""
    yield _session
    _session.catalog.clearCache()
