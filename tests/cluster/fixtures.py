"""What the tests of other folders take from here too: the cluster, and the package as a zip."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.cluster.submitting import ROOT, bare_environment, start_cluster, stop_cluster

__all__ = ["_cluster_folder", "cluster", "zipped"]


@pytest.fixture(scope="session")
def _cluster_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster")
    yield folder
    stop_cluster(folder)


@pytest.fixture
def cluster(_cluster_folder):
    """Running and whole at the start of each test, whatever the one before it has killed."""
    return start_cluster(_cluster_folder)


@pytest.fixture(scope="session")
def zipped(tmp_path_factory):
    """The zip of scripts/build_zip.py."""
    folder = tmp_path_factory.mktemp("zipped")
    subprocess.run(
        [sys.executable, str(ROOT / "scripts/build_zip.py"), "--to", str(folder)],
        env={**bare_environment(), "PYTHONPATH": str(ROOT)},
        check=True,
    )
    (archive,) = folder.iterdir()
    return archive
