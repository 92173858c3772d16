"""An S3 server on loopback, some of the sample shards on it, and what a run on local disk makes of them."""

from __future__ import annotations

import shutil
import uuid

import pytest

from tests.flow.tiny import STEPS
from tests.object_stores.fixtures import *  # noqa: F403  # pytest finds fixtures by name here
from tests.object_stores.stores import ROOT, run_cli, write_settings

# Copies of each other among them, and one that ends in the middle of a sample.
SHARDS = ("photos-00000.tar", "crawl/photos-00000.tar", "crawl/clipart-00001.tar")


@pytest.fixture
def strict_s3(s3):
    """The server, if it is one that refuses, logs and stores on disk."""
    if not (s3.folder / "access.log").exists():
        pytest.skip("moto lets everybody in, logs nothing and forgets everything: this needs versitygw, and so Go")
    return s3


@pytest.fixture(scope="session")
def dataset(s3):
    """The URL of a folder of shards."""
    bucket = f"input-{uuid.uuid4().hex[:8]}"
    s3.fs.mkdir(bucket)
    for name in SHARDS:
        s3.fs.put_file(str(ROOT / "examples/shards" / name), f"{bucket}/shards/{name}")
    s3.fs.pipe_file(f"{bucket}/shards/", b"")  # what Hadoop and consoles leave to mark a folder
    s3.fs.pipe_file(f"{bucket}/shards/empty.tar/", b"")
    return f"s3://{bucket}/shards"


@pytest.fixture
def bucket(s3):
    """The name of an empty bucket."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    s3.fs.mkdir(name)
    return name


@pytest.fixture(scope="session")
def local(tmp_path_factory):
    """Where the tables and tars of the same run on local disk are."""
    out = tmp_path_factory.mktemp("local")
    for name in SHARDS:
        (out / "shards" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "examples/shards" / name, out / "shards" / name)
    settings = {
        "input": {"path": str(out / "shards")},
        "work_dir": str(out / "work"),
        "output": {"path": str(out / "tars")},
        "steps": STEPS,
    }
    done = run_cli("run", "--config", write_settings(out / "dedup.yaml", settings))
    assert done.returncode == 0, done.stderr[-3000:]
    return out
