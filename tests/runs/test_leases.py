"""Which folders a run has for itself, and what may go on beside it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from spark_imgdedup import pipeline
from spark_imgdedup.config import parse_config
from spark_imgdedup.counts import DetectCounts
from spark_imgdedup.errors import LeaseError, SchemaError
from spark_imgdedup.files.owning import publishing
from spark_imgdedup.files.owning.lease import take
from spark_imgdedup.files.owning.lease_slots import LEASE
from spark_imgdedup.runs.engine import run_step
from spark_imgdedup.runs.leases import held, places
from spark_imgdedup.runs.tables import Tables
from tests.tars import jpeg, make_tar

ROOT = Path(pipeline.__file__).parent.parent
WAIT = """
import signal, sys
from spark_imgdedup.config import parse_config
from spark_imgdedup.runs.leases import held
with held(["embed"], parse_config({"work_dir": sys.argv[1]})):
    print("held", flush=True)
    signal.pause()
"""


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Of a run on one tar."""
    monkeypatch.chdir(tmp_path)
    make_tar(tmp_path / "data/a.tar", [("0.jpg", jpeg(1)), ("1.jpg", jpeg(1))])

    def build(**sections):
        ours = {"input": {"path": "data"}, "output": {"path": "out"}, "work_dir": "work"}
        exact = {"detect": {"method": "exact"}, "steps": ["detect", "identify", "remove"]}
        return parse_config(ours | exact | sections)

    return build


def names(config, *steps):
    return [place.setting for place in places(steps, config)]


def test_a_run_has_its_work_dir_for_itself_and_the_output_that_it_owns(settings):
    assert names(settings(), "embed", "identify") == ["work_dir"]
    assert names(settings(), "remove", "report") == ["work_dir", "output.path"]
    assert names(settings(), "report") == []
    table = {"input": {"path": "data", "format": "table"}}
    shared = {"path": "out", "format": "delta", "mode": "replace_where", "replace_where": "day = '1'"}
    assert names(settings(output=shared, **table), "remove") == ["work_dir"]
    assert names(settings(output={"format": "delta", "mode": "delete"}, **table), "remove") == ["work_dir"]


def test_a_second_run_is_refused_before_spark_whichever_folder_they_share_and_report_is_not(settings, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", "/none")
    with held(["remove"], settings()):
        for config, shared in (
            (settings(work_dir="./work/", output={"path": "out2"}), "work_dir ./work/"),
            (settings(work_dir="work2", output={"path": "out/"}), "output.path out/"),
        ):
            with pytest.raises(LeaseError, match=rf"^{shared} is in use: by .*, process {os.getpid()}, steps remove, "):
                pipeline.run(config)
        found = pipeline.preview(settings(work_dir="work2"))
        assert [line for line in found.lines() if line.startswith("in use")] == [f"in use       {found.in_use[0]}"]
        assert found.in_use[0].startswith("output.path out, by ")
        with pytest.raises(SchemaError, match="no step has run"):
            pipeline.run(settings(), steps=["report"])
    assert not Path("work").exists()
    assert not Path("work2").exists()
    assert not Path("out").exists()
    assert pipeline.preview(settings()).in_use == ()


def test_a_run_that_is_refused_the_second_folder_gives_back_the_first(settings):
    other = places(["remove"], settings())[1]
    taken = take(other, "steps remove")
    with pytest.raises(LeaseError, match=r"^output\.path out is in use"), held(["remove"], settings()):
        pass
    assert not Path("work").exists()
    taken.release()


def test_an_output_whose_folder_another_run_has_taken_over_is_not_published(settings):
    config = settings()
    path = publishing.output_path(config)
    with held(["remove"], config):
        publishing.begin(path, config)
        new = Path("out/_temporary/1.tar")
        new.parent.mkdir(exist_ok=True)
        new.write_bytes(b"new")
        Path("out", LEASE).write_bytes(b"another run's")
        with pytest.raises(LeaseError, match=r"^output\.path out: .*another one has taken the folder over"):
            publishing.publish_files(path, {"a.tar": str(new.absolute())}, config)
        with pytest.raises(LeaseError):
            publishing.begin(path, config)
    assert new.exists()
    assert not Path("out/a.tar").exists()
    assert Path("out", LEASE).read_bytes() == b"another run's"


def test_a_step_whose_work_dir_another_run_has_taken_over_is_not_recorded(spark, settings):
    config = settings()

    def work(tables, config):
        Path("work", LEASE).write_bytes(b"another run's")
        return DetectCounts(2)

    with held(["detect"], config):
        with pytest.raises(LeaseError, match=r"^work_dir work: .*another one has taken the folder over"):
            run_step("detect", work, Tables(spark, config))
        with pytest.raises(LeaseError):
            Tables(spark, config).write("copies", spark.range(1))
    assert not Path("work/_steps").exists()
    assert not Path("work/copies").exists()


def test_a_run_that_is_told_to_end_gives_its_folder_back(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", WAIT, str(tmp_path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        assert (tmp_path / LEASE).exists()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []


def test_what_sigterm_does_to_a_program_of_somebody_else_stays(settings):
    def mine(number, frame):
        raise AssertionError

    before = signal.signal(signal.SIGTERM, mine)
    try:
        with held(["embed"], settings()):
            assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)
    with held(["embed"], settings()):
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
