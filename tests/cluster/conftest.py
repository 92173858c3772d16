"""A Spark standalone cluster of three processes, the package shipped to it in two ways, and jobs submitted to it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
import yaml

from tests.cluster.fixtures import *  # noqa: F403  # pytest finds fixtures by name here
from tests.cluster.submitting import LIMIT_SECONDS, ROOT, Dataset, bare_environment, script

# Copies of each other among them, and one that ends in the middle of a sample.
SHARDS = ("photos-00000.tar", "crawl/photos-00000.tar", "crawl/clipart-00001.tar")


@pytest.fixture(scope="session")
def packed(tmp_path_factory):
    """The archive of scripts/pack_environment.sh, for nodes that have this Python under another path."""
    archive = tmp_path_factory.mktemp("packed") / "environment.tar.gz"
    prefix = tmp_path_factory.mktemp("nodes") / "python"
    prefix.symlink_to(sys.base_prefix)
    done = script("pack_environment.sh", archive, PYTHON_PREFIX=str(prefix))
    assert done.returncode == 0, done.stderr
    return archive


@pytest.fixture(scope="session")
def unpacked(packed, tmp_path_factory):
    """The same environment in a folder: the driver's."""
    folder = tmp_path_factory.mktemp("unpacked")
    subprocess.run(["tar", "-xzf", str(packed), "-C", str(folder)], check=True)
    return folder


@pytest.fixture(scope="session")
def preinstalled(unpacked, tmp_path_factory):
    """An environment as an administrator puts it on every node: what the package depends on, not the package."""
    folder = tmp_path_factory.mktemp("nodes") / "environment"
    shutil.copytree(unpacked, folder, symlinks=True, copy_function=os.link)
    for found in folder.glob("lib/python*/site-packages/spark_imgdedup*"):
        shutil.rmtree(found)
    return folder


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dataset")
    for name in SHARDS:
        (folder / "shards" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "examples/shards" / name, folder / "shards" / name)
    (folder / "dedup.yaml").write_text(yaml.safe_dump({"input": {"path": str(folder / "shards")}}))
    return Dataset(folder, folder / "dedup.yaml")


@pytest.fixture(scope="session")
def local(dataset, tmp_path_factory):
    """Where the tables and tars of the same run in local mode are."""
    out = tmp_path_factory.mktemp("local")
    done = subprocess.run(
        [sys.executable, "-m", "spark_imgdedup", "run", *dataset.command(out)],
        env={**bare_environment(), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_SECONDS,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return out
