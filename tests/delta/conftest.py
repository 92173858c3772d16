"""Tests on Delta tables. Delta's jar must be there when Java starts, so these have a process: `pytest -m delta`."""

from __future__ import annotations

import pytest

from spark_imgdedup.runs.session import delta_settings


@pytest.fixture(scope="session")
def _spark_settings(_spark_settings, pytestconfig):
    if pytestconfig.getoption("markexpr").split()[:1] != ["delta"]:
        pytest.skip("needs a Spark session with Delta's jar: pytest -m delta")
    return _spark_settings | delta_settings()
