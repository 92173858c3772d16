"""How far a step is, in words: what is done, how fast, and how long what remains takes."""

from __future__ import annotations

import pytest

from spark_imgdedup.files.parts.counters import Made
from spark_imgdedup.runs.classic import TaskProgress
from spark_imgdedup.runs.pace import PaceOfParts, PaceOfTasks


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
        ("cluster", TaskProgress(1, 2, 1, 7), 2.0, "cluster: 1 of 2 tasks, 7 rows, 3.5 rows/s, about 0:00:02 left"),
    ],
)
def test_a_line_says_tasks_rows_rate_and_the_time_left(step, now, seconds, line):
    assert PaceOfTasks(step, 0.0).at(seconds, now).line() == line


def test_between_two_ends_of_tasks_the_time_left_shrinks_with_the_clock():
    pace = PaceOfTasks("pairwise", 0.0)
    left = [pace.at(now, TaskProgress(0, 4, 1, 0)).seconds_left for now in (100.0, 150.0, 250.0, 500.0)]

    assert left == [300.0, 250.0, 150.0, 0.0]  # by whole tasks it would be 300, 450, 750 and 1500
    assert pace.at(600.0, TaskProgress(0, 4, 2, 0)).seconds_left == 600.0


def test_a_new_stage_begins_after_the_last_look():
    pace = PaceOfTasks("cluster", 0.0)
    pace.at(50.0, TaskProgress(0, 1, 0, 0))

    assert pace.at(60.0, TaskProgress(1, 2, 1, 100)).line().endswith("100 rows, 10.0 rows/s, about 0:00:10 left")


@pytest.mark.parametrize(
    ("made", "line"),
    [
        (Made(0, 0, 0, 40, 0, 4000, False), "embed: 0 images, 0 of 40 shards"),
        # a quarter of one of forty tars is done: the rest is told by its bytes, not by whole tars
        (
            Made(50, 2, 0, 40, 25, 4000, False),
            "embed: 50 of about 8,000 images, 0 of 40 shards, 2 unreadable, 5.0 images/s, about 0:26:30 left",
        ),
        (
            Made(8123, 0, 40, 40, 4000, 4000, False),
            "embed: 8,123 of 8,123 images, 40 of 40 shards, 812.3 images/s, about 0:00:00 left",
        ),
        (Made(412, 0, 400, 5000, 10, 40, True), "embed: 412 of 5,000 images, 41.2 images/s, about 0:00:30 left"),
    ],
)
def test_parts_are_told_by_images_and_by_the_bytes_that_remain(made, line):
    assert PaceOfParts("embed", 0.0).at(10.0, made).line() == line


def test_what_was_slow_at_first_is_forgotten():
    pace = PaceOfParts("embed", 0.0)
    for now in range(0, 400, 10):  # nothing for 200 s, then 10 images and 10 bytes a second
        done = max(0, 10 * (now - 200))
        found = pace.at(float(now), Made(done, 0, 0, 1, done, 10_000, False))

    assert found.per_second == pytest.approx(10.0)
    assert found.seconds_left == pytest.approx((10_000 - done) / 10)
