"""What a failure leaves of an output that is being written, by its kind. No Spark is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import ConfigError, CountsError, ShardError
from spark_imgdedup.files.copying.copy_plan import plan_copies
from spark_imgdedup.files.copying.kept_members import Source
from spark_imgdedup.files.copying.resume import resume_kept
from spark_imgdedup.files.owning import publishing
from spark_imgdedup.files.tars.shards import list_shards
from spark_imgdedup.runs.tables import Tables
from spark_imgdedup.runs.unfinished import ChangedInputError, begun, doubted
from tests.tars import make_tar


@pytest.fixture
def tables(tmp_path):
    for name in "ab":
        make_tar(tmp_path / f"in/{name}.tar", [("0.jpg", b"x")])
    config = parse_config(
        {
            "input": {"path": str(tmp_path / "in")},
            "output": {"path": str(tmp_path / "out")},
            "work_dir": str(tmp_path / "work"),
        }
    )
    return Tables(None, config)


def copy_one(tables):
    """Write a tar that is finished, and half of one."""
    finished = publishing.finished_files(str(tables.config.output.path), {})
    (task, _) = plan_copies(list_shards(tables.config.input), {}, None)
    list(resume_kept(task, {}, finished, read=Source()))
    with open(f"{finished.folder}/{'0' * 32}.half.tar", "wb") as half:
        half.write(b"half")


def fail(tables, error):
    def attempt():
        with begun(tables):
            copy_one(tables)
            raise error

    with pytest.raises(type(error)):
        attempt()
    return publishing.finished_files(str(tables.config.output.path), {})


def of_a_task(kind):
    return RuntimeError(f"Traceback (most recent call last):\n  ...\nspark_imgdedup.errors.{kind}: of a task\n")


@pytest.mark.parametrize(
    ("error", "n_kept"),
    [
        (KeyboardInterrupt(), 1),
        (ConfigError("the disk is full"), 1),
        (of_a_task("ConfigError"), 1),
        (RuntimeError("a worker died"), 1),
        (ChangedInputError("other stamps"), 1),
        (CountsError("the sums are wrong"), 0),
        (ShardError("not the one that was compared"), 0),
        (of_a_task("ShardError"), 0),
    ],
)
def test_what_is_finished_waits_unless_the_failure_says_that_stamps_are_not_to_be_trusted(tables, error, n_kept):
    finished = fail(tables, error)

    assert len(finished.marks()) == n_kept
    left = sorted(path.suffix for path in Path(finished.folder).glob("*"))
    assert left == ([".json", ".json", ".tar"] if n_kept else [])  # the record, the manifest's copy, the tar


@pytest.mark.parametrize("is_forced", [False, True])
def test_a_run_begins_with_what_is_finished_unless_it_is_forced(tables, is_forced):
    fail(tables, KeyboardInterrupt())
    tables.is_forced = is_forced

    with begun(tables):
        assert len(publishing.finished_files(str(tables.config.output.path), {}).marks()) == (not is_forced)


def test_an_image_that_is_not_as_it_was_compared_takes_what_is_finished_away_before_anything_begins(tables):
    finished = fail(tables, KeyboardInterrupt())

    with pytest.raises(ShardError), doubted(tables.config):
        raise ShardError("not the one that was compared")

    assert not finished.marks()
