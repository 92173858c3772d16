"""`run PATH`: a run that names its input alone, and where what it makes lies."""

from __future__ import annotations

import pytest

from spark_imgdedup.cli.places import load_settings
from spark_imgdedup.errors import ConfigError


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder, which holds photos (images), shards (tars) and rows (a table)."""
    for name in ("photos/1.jpg", "photos/sub/2.png", "shards/0.tar", "rows/0.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("path", "folder", "output_format"),
    [
        ("photos", "photos-dedup", "images"),
        ("photos/", "photos-dedup", "images"),
        ("shards/0.tar", "0-dedup", "webdataset"),
        ("shards/*.tar", "shards-dedup", "webdataset"),
        ("rows", "rows-dedup", "parquet"),
    ],
)
def test_a_path_is_enough(here, path, folder, output_format):
    config = load_settings(path, None, ())

    assert (config.input.path, config.work_dir, config.output.path) == (path, f"{folder}/work", f"{folder}/output")
    assert config.output.format == output_format


@pytest.mark.parametrize("below", [".", "sub"])
def test_from_within_the_input_the_new_folder_lies_beside_it(here, monkeypatch, below):
    monkeypatch.chdir(here / "photos" / below)
    path = "." if below == "." else ".."

    assert load_settings(path, None, ()).output.path == f"{here}/photos-dedup/output"


def test_what_the_settings_say_stays(here):
    (here / "dedup.yaml").write_text("input: {path: shards, trim_borders: false}\nwork_dir: mine\n")

    config = load_settings("photos", "dedup.yaml", ["output.format=parquet"])

    assert (config.input.path, config.input.trim_borders, config.work_dir) == ("photos", False, "mine")
    assert (config.output.path, config.output.format) == ("photos-dedup/output", "parquet")


def test_mistakes_are_blamed_as_without_a_path(here):
    with pytest.raises(ConfigError, match=r"^--set: identify\.eps: "):
        load_settings("photos", None, ["identify.eps=95"])
