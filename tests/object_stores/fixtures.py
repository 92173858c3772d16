"""What the tests of other folders take from here too: the S3 server."""

from __future__ import annotations

import pytest

from tests.object_stores.stores import S3, script

__all__ = ["s3"]


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    """An S3 server on loopback."""
    folder = tmp_path_factory.mktemp("s3")
    started = script("start", folder)
    assert started.returncode == 0, started.stderr
    yield S3.from_exports(folder, started.stdout)
    stopped = script("stop", folder)
    assert stopped.returncode == 0, stopped.stderr
