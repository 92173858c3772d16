"""How often a run lists its input: once for all questions, and anew after work."""

from __future__ import annotations

import pytest

from spark_imgdedup.config import parse_config
from spark_imgdedup.runs.fingerprints import fingerprint, has_lost_input
from spark_imgdedup.runs.listed import list_anew, listed_once
from tests.tars import jpeg, make_tar


@pytest.fixture
def mark(tmp_path):
    """The fingerprint of `embed` for one of two folders of tars."""
    for folder in ("one", "other"):
        make_tar(tmp_path / folder / "a.tar", [("0.jpg", jpeg(1))])

    def of(folder="one", batch_size=32):
        settings = {"input": {"path": str(tmp_path / folder)}, "embed": {"batch_size": batch_size}}
        return fingerprint("embed", parse_config(settings), {})

    return of


def add(tmp_path, folder="one"):
    make_tar(tmp_path / folder / "b.tar", [("0.jpg", jpeg(2))])


def test_files_are_listed_once_until_work_was_done(mark, tmp_path):
    with listed_once():
        first = mark()
        add(tmp_path)
        assert mark() == mark(batch_size=8) == first
        list_anew()
        assert mark() != first


def test_another_input_is_listed_by_itself(mark, tmp_path):
    with listed_once():
        mark()
        add(tmp_path, "other")
        here = mark("other")
    assert here == mark("other")


def test_after_a_run_and_without_one_files_are_looked_at_each_time(mark, tmp_path):
    with listed_once():
        first = mark()
    assert mark() == first
    add(tmp_path)
    assert mark() != first


def test_an_input_that_comes_back_is_seen_at_once(tmp_path):
    config = parse_config({"input": {"path": str(tmp_path / "late")}})
    with listed_once():
        assert has_lost_input("embed", config)
        make_tar(tmp_path / "late/a.tar", [("0.jpg", jpeg(1))])
        assert not has_lost_input("embed", config)
