"""What stays of small files where a process was killed while it wrote them."""

from __future__ import annotations

import os

import pytest

from spark_imgdedup.config import parse_config
from spark_imgdedup.files import storage, writing
from spark_imgdedup.files.owning.work_dir import claim

CUT = ".embed.json." + "0f" * 16 + ".tmp"


def test_what_was_being_written_goes_and_nothing_else(tmp_path):
    kept = [".embed.json.tmp", "embed.json", ".notes.tmp", f"x{CUT}", ".part-0.parquet.crc"]
    for name in (CUT, *kept):
        (tmp_path / name).write_text("x")
    (tmp_path / f".folder.{'0f' * 16}.tmp").mkdir()

    writing.clear_unfinished_in(str(tmp_path))

    assert sorted(os.listdir(tmp_path)) == sorted([*kept, f".folder.{'0f' * 16}.tmp"])


def test_a_run_begins_by_taking_away_what_an_earlier_one_was_writing_in_its_folders(tmp_path):
    config = parse_config({"input": {"path": "in"}, "work_dir": str(tmp_path / "work")})
    claim(config, ["cluster"])
    cut = [tmp_path / "work" / folder / CUT for folder in ("", "_steps", "centroids", "report", "mine")]
    for path in cut:
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")

    claim(config, ["cluster"])

    assert [path.parent.name for path in cut if path.exists()] == ["mine"]  # no table of ours


def test_forgetting_a_file_that_is_not_there_is_nothing(tmp_path):
    (tmp_path / "record").write_text("x")

    writing.forget(str(tmp_path / "record"))
    writing.forget(str(tmp_path / "record"))
    writing.forget(str(tmp_path / "no folder" / "record"))

    assert os.listdir(tmp_path) == []


def test_a_file_that_comes_late_brings_no_folder_back_that_was_taken_away(tmp_path):
    writing.make_folder(f"{tmp_path}/probes")
    with writing.open_write(f"{tmp_path}/probes/one", in_folder=True) as file:
        file.write(b"in time")
    storage.delete(f"{tmp_path}/probes")

    with pytest.raises(FileNotFoundError):
        writing.open_write(f"{tmp_path}/probes/two", in_folder=True)

    assert not (tmp_path / "probes").exists()
