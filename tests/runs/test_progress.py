"""What is shown of a running step, and the names of its jobs, from a real Spark."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from contextlib import contextmanager

import pytest
from typer.testing import CliRunner

from spark_imgdedup.cli import app
from spark_imgdedup.config import parse_config
from spark_imgdedup.pipeline import run
from spark_imgdedup.runs import display, progress, running
from spark_imgdedup.runs.classic import is_classic, job_group, task_progress
from spark_imgdedup.runs.pace import Pace
from spark_imgdedup.runs.progress import progress_of
from spark_imgdedup.runs.status import look_at
from spark_imgdedup.runs.tables import Tables
from tests.tars import jpeg, make_tar, png

LIMIT_SECONDS = 120


@pytest.fixture
def tables(spark, tmp_path):
    return Tables(spark, parse_config({"work_dir": str(tmp_path / "work")}))


def rows_that_wait(spark, go):
    """Two rows in two tasks, which end once there is a file `go`."""

    def wait(batches):
        for batch in batches:
            give_up = time.monotonic() + LIMIT_SECONDS
            while not go.exists() and time.monotonic() < give_up:
                time.sleep(0.02)
            yield batch

    return spark.range(2, numPartitions=2).mapInArrow(wait, "id long")


@contextmanager
def let_go_when(is_seen, go):
    """Beside what is done inside, make the file `go` once `is_seen`."""

    def look():
        give_up = time.monotonic() + LIMIT_SECONDS
        try:
            while not is_seen() and time.monotonic() < give_up:
                time.sleep(0.02)
        finally:
            go.touch()

    beside = threading.Thread(target=look)
    beside.start()
    try:
        yield
    finally:
        beside.join()


def lines_of_ours(caplog):
    return [record.message for record in caplog.records if record.name.startswith("spark_imgdedup")]


def test_a_slow_step_has_lines_and_notes_while_it_runs_and_none_after_it(spark, tables, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(progress, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.2)
    monkeypatch.setattr(progress, "NOTE_SECONDS", 0.2)
    caplog.set_level(logging.INFO)
    work_dir, noted = tables.config.work_dir, {}

    def is_seen():
        noted.update(look_at(work_dir, {})["run"] or {})
        return noted.get("said") and lines_of_ours(caplog)

    with (
        running.told(["embed", "report"], tables.config),
        progress_of(tables, "embed", "wait"),
        let_go_when(is_seen, tmp_path / "go"),
    ):
        assert len(rows_that_wait(spark, tmp_path / "go").collect()) == 2  # one stage
    lines = lines_of_ours(caplog)
    assert len(rows_that_wait(spark, tmp_path / "go").collect()) == 2  # one stage

    assert "embed: 0 of 2 tasks" in lines
    assert all(line.startswith("embed: ") and " of 2 tasks" in line for line in lines)
    assert lines_of_ours(caplog) == lines
    assert (noted["state"], noted["step"], noted["purpose"]) == ("running", "embed", "wait")
    assert noted["said"] == "embed: 0 of 2 tasks"
    assert running.read(work_dir, {}) is None


def test_a_run_that_fails_leaves_word_of_it(tables):
    with pytest.raises(ZeroDivisionError), running.told(["embed"], tables.config), progress_of(tables, "embed", "fail"):
        raise ZeroDivisionError("by nothing")

    found = look_at(tables.config.work_dir, {})["run"]
    assert (found["state"], found["step"], found["error"]) == ("failed", "embed", "ZeroDivisionError: by nothing")


def test_the_jobs_of_a_step_carry_its_name_and_the_callers_own_name_returns(spark):
    tracker = spark.sparkContext.statusTracker()
    spark.sparkContext.setJobGroup("a notebook's own", "mine")
    try:
        with job_group(spark, "spark-imgdedup test", "a step"):
            spark.range(3).count()
        of_step = len(tracker.getJobIdsForGroup("spark-imgdedup test"))
        spark.range(3).count()

        assert of_step >= 1
        assert len(tracker.getJobIdsForGroup("spark-imgdedup test")) == of_step
        assert tracker.getJobIdsForGroup("a notebook's own")
    finally:
        spark.sparkContext.setLocalProperty("spark.jobGroup.id", None)
        spark.sparkContext.setLocalProperty("spark.job.description", None)


def jobs_by_number(spark):
    """(group, description) of each job that the session knows, by its number."""
    found = spark.sparkContext._jsc.sc().statusStore().jobsList(None)
    jobs = [found.apply(place) for place in range(found.size())]
    return {job.jobId(): (_value(job.jobGroup()), _value(job.description())) for job in jobs}


def _value(option):
    return option.get() if option.isDefined() else None


def test_every_job_of_a_run_and_of_what_looks_at_it_has_the_name_of_its_step(spark, tmp_path):
    make_tar(tmp_path / "in/a.tar", [("0.jpg", jpeg(1)), ("1.jpg", jpeg(1)), ("2.png", png(2)), ("3.jpg", b"none")])
    settings = {
        "input": {"path": str(tmp_path / "in")},
        "work_dir": str(tmp_path / "work"),
        "output": {"path": str(tmp_path / "out")},
        "embed": {"model": "tests.encoders:ColourEncoder"},
        "cluster": {"n_clusters": 1},
        "identify": {"eps": 0.01},
    }
    file = tmp_path / "dedup.json"
    file.write_text(json.dumps(settings))  # which is YAML too
    before = max(jobs_by_number(spark), default=-1)

    run(parse_config(settings), spark)
    for command in (["eps"], ["sample", "--to", str(tmp_path / "review")], ["export", "--to", str(tmp_path / "out2")]):
        done = CliRunner().invoke(app, [*command, "--config", str(file)])
        assert done.exit_code == 0, done.output
    jobs = [named for number, named in jobs_by_number(spark).items() if number > before]

    groups = {group for group, _ in jobs}
    assert {group for group in groups if group is None or not group.startswith("spark-imgdedup ")} == set()
    assert [description for _, description in jobs if not description] == []
    assert {"spark-imgdedup embed", "spark-imgdedup report", "spark-imgdedup eps", "spark-imgdedup sample"} <= groups


def test_nothing_running_has_no_progress(spark):
    assert is_classic(spark)
    assert task_progress(spark, "nobody") is None


class _Gone:
    """What tables look like to the watcher once the JVM is gone."""

    session = None

    def path(self, name):
        raise ConnectionRefusedError("the JVM is gone")


def test_a_session_that_stops_costs_the_lines_and_not_the_run(caplog, monkeypatch):
    monkeypatch.setattr(progress, "LOOK_SECONDS", 0.01)
    caplog.set_level(logging.DEBUG, logger="spark_imgdedup")

    with progress_of(_Gone(), "embed", "nothing"):
        while not any("no progress" in line for line in caplog.messages):
            time.sleep(0.01)


def test_an_error_of_the_step_passes_through(tables):
    with pytest.raises(ZeroDivisionError), progress_of(tables, "embed", "fail"):
        raise ZeroDivisionError


def test_in_a_terminal_a_line_changes_and_the_log_goes_above_it(monkeypatch, capsys):
    monkeypatch.setattr(display, "_IS_LIVE", True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    log, handler = logging.getLogger("spark_imgdedup.test"), display.StandardError()
    log.addHandler(handler)
    try:
        shown = display.open_display("embed")
        shown.show(Pace("embed", "412 of 5,000 images", 0.0824, 83.0))
        log.warning("a line of the log")
        shown.close()
    finally:
        log.removeHandler(handler)

    printed = capsys.readouterr()
    assert printed.out == ""
    assert "412 of 5,000 images" in printed.err
    assert "0:01:23 left" in printed.err
    assert "a line of the log" in printed.err


@contextmanager
def notebook(monkeypatch):
    """Our logger, without handlers as the root of all is then (pytest gives it some), and a loaded ipykernel."""
    ours, root = logging.getLogger("spark_imgdedup"), logging.getLogger()
    before = (ours.handlers[:], ours.level, root.handlers[:])
    ours.handlers[:], root.handlers[:] = [], []
    ours.setLevel(logging.NOTSET)
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    try:
        yield ours
    finally:
        ours.handlers[:], root.handlers[:] = before[0], before[2]
        ours.setLevel(before[1])


def test_in_a_notebook_the_log_is_shown_once_and_not_twice_a_line(monkeypatch, capsys):
    with notebook(monkeypatch) as ours:
        for _ in range(3):
            display.show_log_in_notebooks()
        ours.getChild("runs").info("embed: begins")
        first = capsys.readouterr().err
        logging.basicConfig(stream=sys.stderr)  # the notebook sets up logging later
        ours.getChild("runs").info("embed: goes on")
        second = capsys.readouterr().err

    assert first.count("embed: begins") == 1
    assert second.count("embed: goes on") == 1


def test_where_a_notebook_has_set_up_logging_nothing_is_added(monkeypatch):
    with notebook(monkeypatch) as ours:
        logging.getLogger().addHandler(logging.NullHandler())

        display.show_log_in_notebooks()

        assert ours.handlers == []
