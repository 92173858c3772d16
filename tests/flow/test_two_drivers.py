"""Two drivers on the same folders: the command line, each in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import spark_imgdedup
from spark_imgdedup.files.owning.lease_slots import LEASE
from tests.tars import jpeg, make_tar

ROOT = Path(spark_imgdedup.__file__).parent.parent
LIMIT_SECONDS = 300
NO_JAVA = {"JAVA_HOME": "/none", "PATH": "/none"}


@pytest.fixture
def start(tmp_path, request):
    """Starts the command line in a folder with two tars and settings; its model waits for the file `gate/go`."""
    make_tar(tmp_path / "data/a.tar", [("0.jpg", jpeg(1)), ("1.jpg", jpeg(2))])
    make_tar(tmp_path / "data/b.tar", [("0.jpg", jpeg(1)), ("1.jpg", jpeg(3))])
    pq.write_table(pa.table({"image_id": ["a/0"]}), tmp_path / "ids.parquet")
    (tmp_path / "gate").mkdir()
    settings = {
        "input": {"path": "data"},
        "output": {"path": "out"},
        "work_dir": "work",
        "embed": {"model": "tests.encoders:WaitingEncoder", "model_dir": str(tmp_path / "gate")},
        "remove": {"ids_path": "ids.parquet"},
        "steps": ["embed", "remove"],
        "spark": {"spark.master": "local[2]", "spark.ui.enabled": "false", "spark.sql.shuffle.partitions": 2},
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(settings))
    (tmp_path / "link").symlink_to("work")

    def begin(*arguments, **environment):
        command = [sys.executable, "-m", "spark_imgdedup", "run", "--config", "mine.yaml", *arguments]
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        request.addfinalizer(lambda: process.poll() is None and process.kill())
        return process

    return begin


def ended(process):
    """(exit code, standard output, standard error) of a process."""
    out, err = process.communicate(timeout=LIMIT_SECONDS)
    assert "Traceback" not in err
    return process.returncode, out, err


def wait_for(pattern, folder):
    give_up = time.monotonic() + LIMIT_SECONDS
    while not list(folder.glob(pattern)):
        assert time.monotonic() < give_up, pattern
        time.sleep(0.02)


def hidden_in(folder):
    return sorted(path.name for name in ("work", "out") for path in (folder / name).rglob(".spark_imgdedup*"))


@pytest.mark.slow
def test_the_second_driver_is_refused_at_once_and_the_first_ends_well_and_a_killed_one_is_followed(start, tmp_path):
    first = start()
    wait_for("gate/*-*", tmp_path)  # a worker has begun to load its model

    seconds = [
        (start("--set", "work_dir=link/", "--set", "output.path=out2", **NO_JAVA), "work_dir link/"),
        (start("--set", "work_dir=work2", **NO_JAVA), "output.path out"),
    ]
    for second, shared in seconds:
        code, _, err = ended(second)
        assert code == 2
        assert err.splitlines()[-1].startswith(f"LeaseError: {shared} is in use: by ")
        assert f"process {first.pid}, steps embed, remove, since " in err
    assert first.poll() is None
    (tmp_path / "gate/go").touch()
    code, out, err = ended(first)
    assert code == 0, err
    assert "4 samples" in out
    assert hidden_in(tmp_path) == []
    assert not (tmp_path / "work2").exists()
    assert not (tmp_path / "out2").exists()

    (tmp_path / "gate/go").unlink()
    killed = start("--force")  # else nothing is left to do, and the lease is gone in a moment
    wait_for(f"work/{LEASE}", tmp_path)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    (tmp_path / "gate/go").touch()
    code, out, err = ended(start())
    assert code == 0, err
    assert "taken over from a run that has died" in err
    assert "4 samples" in out
    assert hidden_in(tmp_path) == []
