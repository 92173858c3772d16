"""A driver that is killed while tars are copied, by the command line as a user has it, and the run after it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import spark_imgdedup
from spark_imgdedup.files.copying.copy_plan import CopyTask, Part
from spark_imgdedup.files.copying.kept_members import Source
from spark_imgdedup.files.copying.shard_writer import copy_kept
from spark_imgdedup.files.owning.manifest import MANIFEST
from spark_imgdedup.files.tars.shards import Shard
from tests.tars import make_tar

LIMIT_SECONDS = 300
# Samples of each shard: the first is done while the second is copied.
SHARDS = {"a": 10, "b": 30_000}


def remove(folder):
    environment = {**os.environ, "PYTHONPATH": str(Path(spark_imgdedup.__file__).parent.parent)}
    settings = ("input.path=in", "work_dir=work", "output.path=out", "remove.ids_path=ids", "spark.master=local[1]")
    return subprocess.Popen(
        [sys.executable, "-m", "spark_imgdedup", "remove", *(f"--set={each}" for each in settings)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for_a_record(driver, folder):
    start = time.monotonic()
    while not list((folder / "out").glob("_temporary/[0-9a-f]*.json")):
        assert driver.poll() is None, driver.stdout.read()
        assert time.monotonic() - start < LIMIT_SECONDS
        time.sleep(0.02)


@pytest.mark.slow
def test_a_driver_that_is_killed_while_it_copies_has_only_the_rest_copied_by_the_next(tmp_path):
    for name, n in SHARDS.items():
        make_tar(tmp_path / f"in/{name}.tar", [(f"{number:06d}.txt", b"x" * 40) for number in range(n)])
    (tmp_path / "ids").mkdir()
    pq.write_table(pa.table({"image_id": ["a/000001", "b/000001"]}), tmp_path / "ids/0.parquet")

    with remove(tmp_path) as driver:
        try:
            wait_for_a_record(driver, tmp_path)
        finally:
            driver.kill()
    with remove(tmp_path) as driver:
        said, _ = driver.communicate(timeout=LIMIT_SECONDS)

    assert driver.returncode == 0, said
    assert re.search(r"remove: [12] of 2 tars are there from an earlier run", said), said
    found = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*"))
    assert found == sorted(["a.tar", "b.tar", MANIFEST])
    assert not list((tmp_path / "work").rglob("*.tmp"))
    for name in SHARDS:
        task = CopyTask((Shard(str(tmp_path / f"in/{name}.tar"), name, 0, ""),), (Part(name),))
        gone = {name: {"000001": None}}
        (undisturbed,) = copy_kept(task, gone, str(tmp_path / "undisturbed"), read=Source(), write={})
        assert (tmp_path / f"out/{name}.tar").read_bytes() == Path(undisturbed.temporary).read_bytes()
