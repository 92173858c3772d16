"""Faults, injected: marks, and what is printed at the end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.ledger import Ledger
from tests.faults.plans import SEED
from tests.object_stores.fixtures import *  # noqa: F403  # pytest finds fixtures by name here

LEDGER = Ledger(SEED)


@pytest.fixture(scope="session")
def ledger():
    """Where every fault that hit is written down."""
    return LEDGER


def pytest_terminal_summary(terminalreporter):
    if not LEDGER.entries:
        return
    terminalreporter.section("faults injected and survived")
    for line in LEDGER.lines():
        terminalreporter.write_line(line)
    if place := os.environ.get("FAULTS_JSON"):
        LEDGER.write(Path(place))
