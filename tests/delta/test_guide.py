"""docs/guide-delta.md, run from top to bottom: files, commands, SQL and Python, below a folder in place of /data."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from spark_imgdedup.cli import app
from tests.delta.photos import add
from tests.tars import jpeg, make_tar

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guide-delta.md"
LANGUAGES = ("yaml", "bash", "sql", "python")


def blocks():
    return re.findall(rf"^```({'|'.join(LANGUAGES)})\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)


def call(line):
    program, *arguments = shlex.split(line)
    assert program == "spark-imgdedup"
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.thorough
def test_everything_that_the_guide_shows_runs_and_does_what_it_says(spark, tmp_path, monkeypatch):
    for name in ("photos-00000.tar", "crawl/photos-00000.tar"):
        (tmp_path / "shards" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "examples" / "shards" / name, tmp_path / "shards" / name)
    make_tar(tmp_path / "days" / "2026-11-26" / "a.tar", [(f"{n}.jpg", jpeg(n % 2)) for n in range(4)])
    add(spark, tmp_path / "photos", [1, 1, 2, 3, 1, 2])
    monkeypatch.chdir(tmp_path)
    names, said, answers = {}, [], []

    for language, block in blocks():
        text = block.replace("/data/", f"{tmp_path}/")
        if language == "yaml":
            name = re.match(r"# ([\w.-]+)\n", text)
            (tmp_path / name[1]).write_text(text)
        elif language == "bash":
            said += [call(line) for line in text.splitlines()]
        elif language == "sql":
            answers += [spark.sql(each).collect() for each in text.split(";") if each.strip()]
        else:
            exec(text, names)

    assert names["spark"].version == spark.version
    first, gone = answers[0], answers[1]
    assert len(first) == len(gone) + len(names["duplicates"]) > len(names["duplicates"])
    assert "version      1, and 0 before the rows were deleted" in said[2]
    # RESTORE is the last that the guide does to the photos' rows.
    assert spark.read.format("delta").load(str(tmp_path / "photos")).count() == 6
    days = spark.read.format("delta").load(str(tmp_path / "all"))
    assert {(str(row.date), row.shard) for row in days.collect()} == {("2026-11-26", "2026-11-26/a")}
    assert f"kept         {days.count()} samples in {tmp_path}/all" in said[-1]
