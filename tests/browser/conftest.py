"""A browser for all tests of this folder: scripts/install_browser.sh brings it."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def browser():
    from tests.browser.opened import start_browser

    found = start_browser()
    yield found
    found.quit()
