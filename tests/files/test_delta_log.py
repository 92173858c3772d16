"""Logs of Delta tables as another writer than Spark leaves them: the package deltalake."""

from __future__ import annotations

import json
import shutil

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from spark_imgdedup.files import delta_log
from spark_imgdedup.files.delta_log import is_delta, mark_for, trace

ROWS = pa.table({"id": [1, 2, 3]})


@pytest.fixture
def table(tmp_path):
    write_deltalake(str(tmp_path / "t"), ROWS)
    write_deltalake(str(tmp_path / "t"), ROWS, mode="append")
    return str(tmp_path / "t")


def commit_by_hand(table, version, info, *actions):
    """A commit in the form that Spark writes: what it says of itself first."""
    lines = [json.dumps(each) for each in ({"commitInfo": info}, *actions)]
    with open(f"{table}/_delta_log/{version:020d}.json", "w") as file:
        file.write("\n".join(lines) + "\n")


def removal(table, version, work_dir, mark="m", read=None):
    info = {"operation": "MERGE", "readVersion": version - 1 if read is None else read}
    info["userMetadata"] = mark_for(work_dir, mark)
    commit_by_hand(table, version, info, {"remove": {"path": "a.parquet", "dataChange": True}})


def test_a_folder_is_told_from_a_delta_table(tmp_path, table):
    assert is_delta(table)
    assert not is_delta(str(tmp_path))
    assert not is_delta(f"{tmp_path}/*")


def test_the_rows_of_a_table_come_from_its_newest_commit_that_changed_them(table):
    assert (trace(table).version, trace(table).origin.version) == (1, 1)

    DeltaTable(table).optimize.compact()

    assert (trace(table).version, trace(table).origin.version) == (2, 1)

    DeltaTable(table).delete("id = 1")

    assert (trace(table).version, trace(table).origin.version) == (3, 3)


def test_removals_of_the_same_work_dir_are_passed_over_and_those_of_others_are_not(table):
    removal(table, 2, "mine", "first")
    commit_by_hand(table, 3, {"operation": "OPTIMIZE"}, {"add": {"path": "b.parquet", "dataChange": False}})
    removal(table, 4, "mine", "second")

    mine = trace(table, work_dir="mine")

    assert mine.origin.version == 1
    assert [commit.mark("mine") for commit in mine.deletions] == ["second", "first"]
    assert trace(table, work_dir="others").origin.version == 4
    assert trace(table).origin.version == 4
    assert trace(table).deletions == ()


def test_a_removal_that_somebody_else_wrote_before_is_a_change(table):
    removal(table, 2, "mine", read=0)  # version 1 came between what it read and itself

    assert trace(table, work_dir="mine").origin.version == 2


def test_a_restore_leads_back_to_its_version_and_takes_removals_back(table):
    removal(table, 2, "mine")
    info = {"operation": "RESTORE", "operationParameters": {"version": 1, "timestamp": None}, "readVersion": 2}
    commit_by_hand(table, 3, info, {"add": {"path": "a.parquet", "dataChange": True}})

    assert trace(table, work_dir="mine").origin.version == 1
    assert trace(table, work_dir="mine").deletions == ()

    removal(table, 4, "mine", "again")

    assert [commit.version for commit in trace(table, work_dir="mine").deletions] == [4]


@pytest.mark.parametrize("metadata", ["{", "7", '"text"', '{"spark_imgdedup": 1}', '{"other": {}}'])
def test_what_others_write_into_a_commit_is_not_taken_for_ours(table, metadata):
    info = {"operation": "DELETE", "readVersion": 1, "userMetadata": metadata}
    commit_by_hand(table, 2, info, {"remove": {"path": "a.parquet"}})

    assert trace(table, work_dir="mine").origin.version == 2


def test_where_old_commits_were_taken_away_the_oldest_that_is_left_counts(table):
    commit_by_hand(table, 2, {"operation": "OPTIMIZE"}, {"add": {"path": "b.parquet", "dataChange": False}})
    (path,) = [f"{table}/_delta_log/{1:020d}.json"]
    shutil.move(path, f"{table}/gone")

    assert trace(table).origin.version == 2


def test_commits_after_a_version_come_newest_first(table):
    removal(table, 2, "mine")

    found = list(delta_log.commits_since(table, 0))

    assert [commit.version for commit in found] == [2, 1]
    assert [commit.changes_rows for commit in found] == [True, True]


def test_a_log_without_a_commit_is_an_error_with_its_path(tmp_path):
    (tmp_path / "t" / "_delta_log").mkdir(parents=True)

    with pytest.raises(FileNotFoundError, match="holds no commit"):
        trace(str(tmp_path / "t"))
