"""Lines about a running step, from a real Spark."""

from __future__ import annotations

import logging
import time

import pytest

from spark_imgdedup.runs import progress
from spark_imgdedup.runs.classic import TaskProgress, is_classic, job_group, task_progress
from spark_imgdedup.runs.progress import progress_line, progress_lines


@pytest.mark.parametrize(
    ("step", "now", "seconds", "line"),
    [
        ("embed", TaskProgress(0, 8, 0, 0), 5.0, "embed: 0 of 8 tasks"),
        ("embed", TaskProgress(0, 8, 0, 50), 5.0, "embed: 0 of 8 tasks, 50 images, 10.0 images/s"),
        (
            "embed",
            TaskProgress(0, 8, 2, 4120),
            10.0,
            "embed: 2 of 8 tasks, 4,120 images, 412.0 images/s, about 0:00:30 left",
        ),
        ("remove", TaskProgress(3, 1200, 1200, 0), 90.0, "remove: 1,200 of 1,200 tasks, about 0:00:00 left"),
        (
            "cluster",
            TaskProgress(1, 2, 1, 7),
            0.0,
            "cluster: 1 of 2 tasks, 7 rows, 7,000,000,000.0 rows/s, about 0:00:00 left",
        ),
    ],
)
def test_a_line_says_tasks_rows_rate_and_the_time_left(step, now, seconds, line):
    assert progress_line(step, now, seconds) == line


def slow_rows(spark, seconds):
    def wait(batches):
        for batch in batches:
            time.sleep(seconds)
            yield batch

    return spark.range(2, numPartitions=2).mapInArrow(wait, "id long")


def test_a_slow_step_has_lines_while_it_runs_and_none_after_it(spark, caplog, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.2)
    caplog.set_level(logging.INFO)

    with progress_lines(spark, "embed", "wait"):
        assert slow_rows(spark, 1.5).count() == 2
    n_lines = len(caplog.messages)
    slow_rows(spark, 0.6).count()

    assert n_lines >= 1
    assert all(line.startswith("embed: ") and " of 2 tasks" in line for line in caplog.messages if "of 2" in line)
    assert len(caplog.messages) == n_lines


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


def test_nothing_running_has_no_progress(spark):
    assert is_classic(spark)
    assert task_progress(spark, "nobody") is None


class _StoppedSession:
    """What a session looks like to the watcher once its JVM is gone."""

    @property
    def sparkContext(self):  # Spark's name
        raise ConnectionRefusedError("the JVM is gone")


def test_a_session_that_stops_costs_the_lines_and_not_the_run(caplog, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.01)
    caplog.set_level(logging.DEBUG, logger="spark_imgdedup")
    done = progress.threading.Event()
    watcher = progress.threading.Thread(target=progress._watch, args=(_StoppedSession(), "embed", "g", done))

    watcher.start()
    while not any("no progress" in line for line in caplog.messages) and watcher.is_alive():
        time.sleep(0.01)

    assert watcher.is_alive()
    done.set()
    watcher.join()


def test_an_error_of_the_step_passes_through(spark):
    with pytest.raises(ZeroDivisionError), progress_lines(spark, "embed", "fail"):
        raise ZeroDivisionError
