"""Samples that were removed are brought back: from every kind of dataset, for good, and nothing else with them."""

from __future__ import annotations

import csv
import json
import logging

import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from spark_imgdedup import cli
from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import ConfigError, SchemaError
from spark_imgdedup.files.owning.restored import add_restored
from spark_imgdedup.pipeline import run
from tests.tars import jpeg, make_tar, members_of

# By name: exact copies of three pictures, and a file that is none. A name may hold commas, quotes and other scripts.
PICTURES = {
    "a/0.jpg": jpeg(1),
    "a/1.jpg": jpeg(1),
    "a/2,3 it's 日本.jpg": jpeg(1),
    "b/0.jpg": jpeg(2),
    "b/1.jpg": jpeg(2),
    "b/2.jpg": b"no picture",
    "b/3.jpg": jpeg(3),
}
ODD = "a/2,3 it's 日本"


@pytest.fixture
def here(tmp_path, monkeypatch):
    for name, data in PICTURES.items():
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(data)
    for shard in "ab":
        inside = [(name[2:], data) for name, data in PICTURES.items() if name.startswith(shard)]
        make_tar(tmp_path / "tars" / f"{shard}.tar", inside)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings(folder, given="tars", output=None):
    """A run that takes out copies and what is unreadable, without a model; its file is run.yaml."""
    sections = {
        "input": {"path": given, "format": "images" if given == "photos" else "webdataset"},
        "detect": {"method": "exact"},
        "remove": {"unreadable": "drop"},
        "output": {"path": "out"} | (output or {}),
        "work_dir": "work",
        "steps": ["detect", "identify", "remove"],
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(sections))
    return parse_config(sections)


def call(*arguments):
    result = CliRunner().invoke(cli.app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def restore(*arguments):
    return json.loads(call("restore", "--config", "run.yaml", "--json", *arguments))


def written(folder):
    """The samples of the output, by their name in the input."""
    out = folder / "out"
    if parts := sorted(out.glob("*.parquet")):
        rows = [row for part in parts for row in pq.read_table(part).to_pylist()]
        return {f"{row['image_id']}.jpg".replace(".jpg.jpg", ".jpg"): dict(row["members"])["jpg"] for row in rows}
    if tars := sorted(out.rglob("*.tar")):
        names = {path.stem: path.stem + "/" if path.stem in "ab" else "" for path in tars}
        return {names[path.stem] + name: data for path in tars for name, data in members_of(path)}
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*.jpg")}


def without(*gone):
    return {name: data for name, data in PICTURES.items() if name.removesuffix(".jpg") not in gone}


@pytest.mark.parametrize(
    ("given", "output"),
    [
        ("tars", {}),
        ("tars", {"format": "parquet"}),
        ("photos", {"format": "images"}),
        ("photos", {"repack": 2}),
    ],
    ids=["tars", "rows", "images", "packed images"],
)
def test_samples_come_back_byte_for_byte_and_nothing_else_changes(spark, here, given, output):
    config, suffix = settings(here, given, output), ".jpg" if given == "photos" else ""
    run(config, spark)
    assert written(here) == without("a/1", ODD, "b/1", "b/2")

    said = restore("--ids", f"a/1{suffix}, b/2{suffix}", "--ids", ODD + suffix)

    assert written(here) == without("b/1")
    assert (said["schema_version"], said["kept"], said["restored_before"]) == (1, 6, 0)
    assert said["by_reason"] == {"duplicate": 2, "unreadable": 1}
    assert said["restored"] == sorted([f"a/1{suffix}", ODD + suffix, f"b/2{suffix}"])
    if output == {"format": "images"}:
        with (here / "out/removed.csv").open(newline="") as file:
            assert [line["image_id"] for line in csv.DictReader(file)] == ["b/1.jpg"]


def test_they_stay_in_every_later_run(spark, here, caplog):
    config = settings(here)
    run(config, spark)
    restore("--ids", "a/1,b/2", "--ids", ODD)
    caplog.set_level(logging.INFO)

    again = run(config, spark)

    assert [line for line in caplog.messages if line.startswith("remove: unchanged")]
    assert (again.read, again.kept, again.removed, again.stay_anyway) == (7, 6, {"duplicate": 1}, 3)
    anew = run(config, spark, force=True)
    assert (anew.kept, written(here)) == (6, without("b/1"))
    restore("--all-of", "duplicate")
    for shard in "ab":  # but for zeros at the end, which round a tar up
        one, other = ((here / folder / f"{shard}.tar").read_bytes().rstrip(b"\0") for folder in ("out", "tars"))
        assert one == other


def test_what_was_listed_before_a_crash_comes_back_by_the_same_command(spark, here):
    config = settings(here)
    run(config, spark)
    add_restored(config, {"a/1": "duplicate"})  # what a run that was killed then has done,
    (here / "work/_steps/remove.json").unlink()  # and where `remove` had begun

    said = restore("--ids", "a/1")

    assert (said["restored"], said["restored_before"]) == ([], 1)
    assert written(here) == without(ODD, "b/1", "b/2")
    (here / "ids.txt").write_text(f"b/1\na/1\n{ODD}\n", encoding="utf-8")
    assert restore("--ids-file", "ids.txt")["restored"] == sorted([ODD, "b/1"])
    assert written(here) == without("b/2")
    assert restore("--all-of", "unreadable")["kept"] == 7
    listed = [json.loads(line) for line in (here / "work/restored.jsonl").read_text().splitlines()]
    assert [each["reason"] for each in listed] == ["duplicate"] * 3 + ["unreadable"]
    (here / "work/restored.jsonl").write_text('{"image_id": "a/1"}\n')  # which takes the others back
    assert run(config, spark).kept == 4


def test_what_cannot_be_brought_back_is_one_line_and_changes_nothing(spark, here):
    config = settings(here, "photos", {"format": "images"})
    line = ["restore", "--config", "run.yaml"]

    def refused(*arguments):
        result = CliRunner().invoke(cli.app, [*line, *arguments])
        assert isinstance(result.exception, ConfigError | SchemaError)
        assert "\n" not in str(result.exception)
        assert not (here / "work/restored.jsonl").exists()
        return str(result.exception)

    assert "takes one of --ids, --ids-file and --all-of, and none is given" in refused()
    assert "--ids and --all-of are given" in refused("--ids", "x", "--all-of", "duplicate")
    assert "work/removed: no such table. Run step 'remove' first" in refused("--ids", "a/1.jpg")
    run(config, spark)
    output = written(here)
    assert "--ids , ,: there is no id in that." in refused("--ids", ", ,")
    assert "2 ids are not among the removed samples of" in refused("--ids", "a/1.jpg,a/0.jpg,x")
    assert "'a/0.jpg', 'x'. Nothing was changed." in refused("--ids", "a/1.jpg,a/0.jpg,x")
    said = refused("--all-of", "nsfw")
    assert "--all-of nsfw: no sample left for that reason." in said
    assert "are duplicate (3 samples), unreadable (1 samples)" in said
    (here / "photos/a/1.jpg").write_bytes(jpeg(9))
    (here / "photos/b/2.jpg").unlink()
    said = refused("--ids", "a/1.jpg,b/2.jpg")
    assert "photos/a/1.jpg has changed" in said
    assert "photos/b/2.jpg is gone" in said
    assert "the tables of detect are not those of these settings and inputs" in refused("--ids", "b/1.jpg")
    assert written(here) == output


def test_what_must_stay_does_so_whatever_would_take_it_out(spark, here):
    (here / "never.txt").write_text("a/0\nb/2\nb/3\n")
    (here / "unwanted.txt").write_text("a/0\na/1\nb/3\n")
    sections = {
        "input": {"path": "tars"},
        "remove": {"ids_path": "unwanted.txt", "never": "never.txt", "unreadable": "keep"},
        "output": {"path": "out"},
        "work_dir": "work",
    }

    summary = run(parse_config(sections), spark, steps=["remove", "report"])

    assert written(here) == without("a/1")
    assert (summary.removed, summary.kept, summary.stay_anyway) == ({"listed": 1}, 6, 2)
    assert any(line.startswith("stay         2 of these") for line in summary.lines())
