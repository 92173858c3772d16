"""`status`: what is told of a run in another process, alive, killed, failed or done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from spark_imgdedup import cli
from spark_imgdedup.config import parse_config
from spark_imgdedup.counts import ClusterCounts
from spark_imgdedup.files.owning import lease
from spark_imgdedup.files.owning.lease import Place
from spark_imgdedup.files.owning.lease_holder import Holder
from spark_imgdedup.files.owning.lease_slots import LEASE
from spark_imgdedup.runs import running
from spark_imgdedup.runs.pace import Pace
from spark_imgdedup.runs.tables import StepRecord, Tables

STEPS = ["embed", "cluster", "pairwise", "report"]


@pytest.fixture
def config(tmp_path):
    """Of a run whose clustering is done, in 12.3 s."""
    config = parse_config({"work_dir": str(tmp_path)})
    Tables(None, config).finish(StepRecord("cluster", "0", 12.3, ClusterCounts(5, 1, 5), {}, "0", {}))
    return config


def told(config, *options):
    done = CliRunner().invoke(cli.app, ["status", config.work_dir, *options])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout) if "--json" in options else done.stdout.splitlines()


def test_a_run_that_lasts_says_how_far_it_is(config, tmp_path):
    held = lease.take(Place("work_dir", config.work_dir, {}), "steps embed, cluster")
    try:
        with running.told(STEPS, config):
            running.current().begins("embed", "decode")
            begun = told(config)
            running.current().note(Pace("embed", "412 of 5,000 images", 0.08, 83.0, 55.1))
            lines, found = told(config), told(config, "--json")
    finally:
        held.release()

    assert begun[2].startswith("now          embed: begun, decode (0:00:")
    assert lines[0] == f"work_dir     {tmp_path}"
    assert "steps embed, cluster, since" in lines[1]
    assert "last sign of life" in lines[1]
    assert lines[2].startswith("now          embed: 412 of 5,000 images, about 0:01:23 left (0:00:")
    assert lines[3:] == ["to do        cluster, pairwise"]  # what was done of cluster is of an earlier run
    assert (found["is_alive"], found["run"]["share"], found["run"]["per_second"]) == (True, 0.08, 55.1)
    assert (found["schema_version"], found["done"]) == (1, {})


def test_a_run_that_was_killed_is_told_from_one_that_lasts(config, tmp_path, monkeypatch):
    ours = running.Running(STEPS, config)
    ours.begins("pairwise", "compare")
    holder = Holder.here("steps pairwise")
    (tmp_path / LEASE).write_bytes(holder.to_bytes().replace(f'"pid": {holder.pid}'.encode(), b'"pid": 4194305'))

    lines = told(config)

    assert lines[2].startswith("beware       that run has died or stands still; run again")
    assert lines[3].startswith("was at       pairwise: begun, compare")
    assert lines[4:] == ["done         cluster in 12.3 s"]


def test_a_run_that_failed_says_why(config):
    def fail():
        with running.told(STEPS, config):
            running.current().begins("pairwise", "compare")
            raise RuntimeError("s3://me:secret@bucket/x: the disk is full")

    with pytest.raises(RuntimeError):
        fail()

    assert "failed       pairwise: RuntimeError: s3://**********@bucket/x: the disk is full" in told(config)
    assert "secret" not in next(Path(config.work_dir).glob(".*progress*")).read_text()


def test_a_run_that_is_over_has_records_alone(config, tmp_path):
    with running.told(STEPS, config):
        running.current().begins("pairwise", "compare")
    before = sorted(tmp_path.rglob("*"))

    assert told(config) == [f"work_dir     {tmp_path}", "in use       by no run", "done         cluster in 12.3 s"]
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SystemExit, match=r"there is nothing\. Name the work_dir of a run"):
        cli.main(["status", str(tmp_path / "nowhere")])
