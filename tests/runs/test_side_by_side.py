"""Pieces of work beside each other: at the same time, under the names of their caller, and no error lost."""

import threading
from functools import partial

import pytest

from spark_imgdedup.runs.classic import job_group
from spark_imgdedup.runs.side_by_side import MOST_AT_ONCE, side_by_side

LIMIT_SECONDS = 120


def test_pieces_run_at_the_same_time_and_give_their_own_results(spark):
    together = threading.Barrier(2)

    def counted(n):
        together.wait(LIMIT_SECONDS)  # broken unless both are here
        return spark.range(n).count()

    with side_by_side(spark) as start:
        few, many = start(lambda: counted(3)), start(lambda: counted(5))
    assert (few.result(), many.result()) == (3, 5)


def test_their_jobs_have_the_names_of_the_caller(spark):
    def seen():
        spark.range(2).count()
        return spark.sparkContext.getLocalProperty("spark.job.description")

    with job_group(spark, "a group", "what it does"), side_by_side(spark) as start:
        beside = start(seen)
    assert beside.result() == "what it does"
    assert spark.sparkContext.statusTracker().getJobIdsForGroup("a group")
    assert spark.sparkContext.getLocalProperty("spark.job.description") != "what it does"


def test_an_error_comes_up_where_the_result_is_asked_for(spark):
    with side_by_side(spark) as start:
        fails, works = start(lambda: spark.range(1).select("no_such").count()), start(lambda: spark.range(4).count())
    assert works.result() == 4
    with pytest.raises(Exception, match="no_such"):
        fails.result()


def test_what_has_not_begun_when_the_block_fails_never_does(spark):
    go, begun = threading.Event(), []

    def waits(n):
        begun.append(n)
        go.wait(LIMIT_SECONDS)

    pieces = []

    def interrupted():
        with side_by_side(spark) as start:
            pieces.extend(start(partial(waits, n)) for n in range(MOST_AT_ONCE + 2))
            pieces[-1].add_done_callback(lambda _: go.set())  # once it is cancelled, the others may end
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [piece.cancelled() for piece in pieces[-2:]] == [True, True]
    assert set(begun) <= set(range(MOST_AT_ONCE))
