"""A browser for all tests of this folder: scripts/install_browser.sh brings it."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def browser():
    from tests.browser.opened import start_browser

    found = start_browser()
    yield found
    found.quit()
