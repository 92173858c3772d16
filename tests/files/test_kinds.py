"""What `input.format: auto` makes of the files that are there, and what it refuses."""

from __future__ import annotations

import pytest

from spark_imgdedup.config import InputConfig, parse_config
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.runs.plan import resolve_format


def put(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["a/1.JPG", "b/2.heic", "notes.txt", ".hidden/x.tar", "_tmp/y.parquet", ".z.tar"], "images"),
        (["0.tar", "1.tar.zst", "truth.csv"], "webdataset"),
        (["0.tar", "0.parquet", "0_stats.json", "1.tgz", "1.parquet"], "webdataset"),  # as img2dataset leaves them
        (["part-0.snappy.parquet", "_SUCCESS", "x.pq"], "table"),
        (["_delta_log/00000000000000000000.json", "part-0.parquet", "preview.png"], "table"),
    ],
)
def test_auto_is_the_one_kind_of_files_that_is_there(tmp_path, names, found):
    put(tmp_path, *names)
    config = parse_config({"input": {"path": str(tmp_path)}})

    assert config.input.format == config.model_dump()["input"]["format"] == found
    assert resolve_format(config).input.given_format == found  # what config.yaml records
    written = parse_config({"input": {"path": str(tmp_path), "format": found}})
    assert config.model_dump() == written.model_dump()  # of which fingerprints are made


def test_several_kinds_are_refused_with_the_counts_of_each(tmp_path):
    put(tmp_path, "0.tar", "0.parquet", "other.parquet", "1.jpg", "2.jpg", "3.png")
    config = InputConfig(path=str(tmp_path))

    with pytest.raises(ConfigError, match=r"found 1 \.tar and 2 \.jpg, 1 \.png and 1 \.parquet, .* Set input\.format"):
        _ = config.format
    assert config.model_dump()["format"] == "auto"
    assert config.model_copy(update={"path": str(tmp_path / "0.tar")}).format == "webdataset"


def test_where_nothing_is_there_yet_nothing_is_remembered(tmp_path):
    config = InputConfig(path=str(tmp_path))
    put(tmp_path, "notes.txt")
    assert (config.found_format, config.format) == (None, "webdataset")

    put(tmp_path, "1.jpg")

    assert config.format == "images"
    assert config == InputConfig(path=str(tmp_path))  # what was found out is no setting


def test_where_all_is_gone_the_format_is_what_the_run_found(tmp_path):
    config = parse_config({"input": {"path": str(tmp_path / "in")}, "work_dir": str(tmp_path / "work")})
    (tmp_path / "work").mkdir()
    (tmp_path / "work/config.yaml").write_text(f"input: {{path: {tmp_path / 'in'}, format: images}}\n")

    assert resolve_format(config).input.format == "images"
    assert resolve_format(config.with_(**{"input.path": str(tmp_path / "other")})).input.given_format == "auto"


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"output": {"mode": "delete"}}, "output.mode: delete takes rows out of a Delta table, and input.format is im"),
        ({"input": {"id_field": "uid"}}, "input.id_field: 'uid' needs tars"),
    ],
)
def test_settings_that_do_not_go_with_what_is_found_are_refused_when_it_is_known(tmp_path, settings, problem):
    put(tmp_path, "1.jpg")
    config = parse_config(settings | {"input": {"path": str(tmp_path), **settings.get("input", {})}})

    with pytest.raises(ConfigError, match=problem):
        resolve_format(config)
