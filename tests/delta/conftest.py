"""Tests on Delta tables. Delta's jar must be there when Java starts, so these have a process: `pytest -m delta`."""

from __future__ import annotations

from pathlib import Path

import pytest

from spark_imgdedup.runs.session import delta_settings


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.delta)
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def _spark_settings(_spark_settings, pytestconfig):
    if pytestconfig.getoption("markexpr").split()[:1] != ["delta"]:
        pytest.skip("needs a Spark session with Delta's jar: pytest -m delta")
    return _spark_settings | delta_settings()
