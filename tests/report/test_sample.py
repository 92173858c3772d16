"""Removed duplicates beside the images they repeat: the folder, the list, the sheet, and what cannot be shown."""

from __future__ import annotations

import csv
import json

import pandas as pd
import pytest

from spark_imgdedup.config import parse_config
from spark_imgdedup.counts import IdentifyCounts, ImageCounts
from spark_imgdedup.errors import ConfigError, SchemaError
from spark_imgdedup.report.sample import SampleRequest, export_sample
from spark_imgdedup.runs.tables import StepRecord, Tables
from tests.tars import jpeg, make_tar, png

# (image_id, max_id, score): b/1 repeats an image that is a duplicate itself.
FOUND = [
    ("b/0", "a/0", 1.0),
    ("b/1", "b/0", 0.99),
    ("b/2", "a/1", 0.8),
    ("b/3", "a/2", 0.71),
    ("b/4", "a/2", 0.9),
]


def write_run(folder, found=FOUND, **settings):
    """Two shards of five samples, with an id of their own, and a table of duplicates."""
    for shard, write, suffix in (("a", png, "png"), ("b", jpeg, "jpg")):
        members = []
        for number in range(5):
            members.append((f"{number}.{suffix}", write(number)))
            members.append((f"{number}.json", json.dumps({"uid": f"{shard}-{number}"}).encode()))
        make_tar(folder / "data" / f"{shard}.tar", members)
    frame = pd.DataFrame(found, columns=["image_id", "max_id", "cosine_sim_score"])
    frame["cluster_id"] = pd.array([3] * len(frame), "Int32")
    (folder / "work/duplicates").mkdir(parents=True)
    frame.to_parquet(folder / "work/duplicates/part-0.parquet", index=False)
    given = {"path": str(folder / "data")} | settings.pop("input", {})
    config = parse_config({"input": given, "work_dir": str(folder / "work"), **settings})
    Tables(None, config).finish(StepRecord("identify", "i", 1.0, IdentifyCounts(0.3, len(frame))))
    return config


@pytest.fixture
def config(tmp_path):
    return write_run(tmp_path)


def sample(spark, config, to, **request):
    return export_sample(Tables(spark, config), SampleRequest(str(to), **request))


def lines_of(folder):
    with (folder / "pairs.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def ids_of(folder):
    return {line["image_id"] for line in lines_of(folder)}


def test_the_files_are_the_originals_the_most_doubtful_pair_first(spark, config, tmp_path):
    said = sample(spark, config, tmp_path / "out", n=5)

    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *(f"000{number}-{role}" for number in range(1, 6) for role in ("removed.jpg",)),
        *("0001-repeats.png", "0002-repeats.png", "0003-repeats.png", "0004-repeats.jpg", "0005-repeats.png"),
        *("pairs.csv", "index.html"),
    }
    assert (tmp_path / "out/0001-removed.jpg").read_bytes() == jpeg(3)
    assert (tmp_path / "out/0001-repeats.png").read_bytes() == png(2)
    assert [line["image_id"] for line in lines_of(tmp_path / "out")] == ["b/3", "b/2", "b/4", "b/1", "b/0"]
    assert lines_of(tmp_path / "out")[3] == {
        "number": "0004",
        "image_id": "b/1",
        "max_id": "b/0",
        "cosine_sim_score": "0.99",
        "cluster_id": "3",
        "found_by": "",
        "max_id_is_duplicate_too": "yes",
        "removed_file": "0004-removed.jpg",
        "repeats_file": "0004-repeats.jpg",
        "problem": "",
    }
    assert said == [
        f"5 of 5 duplicates, all there are: {tmp_path / 'out'}",
        "See index.html, and pairs.csv.",
    ]
    page = (tmp_path / "out/index.html").read_text()
    assert page.count("data:image/webp") == 10
    assert "<b>5 of 5</b> pairs" in page
    assert "no. 0004, cosine 0.990000" in page
    assert page.count("Both are duplicates.") == 1
    assert [path.name for path in (tmp_path / "work").iterdir() if path.name.startswith("_sample")] == []


def test_a_seed_draws_the_same_pairs_each_time_and_another_seed_others(spark, config, tmp_path):
    drawn = {}
    for name, seed in (("one", 1), ("again", 1), ("two", 2), ("three", 3), ("four", 4)):
        sample(spark, config, tmp_path / name, n=2, seed=seed)
        drawn[name] = ids_of(tmp_path / name)

    assert drawn["one"] == drawn["again"]
    assert (tmp_path / "one/pairs.csv").read_bytes() == (tmp_path / "again/pairs.csv").read_bytes()
    assert len({frozenset(ids) for ids in drawn.values()}) > 1
    assert {len(ids) for ids in drawn.values()} == {2}


def test_the_lowest_scores_can_be_asked_for_and_a_range_of_scores(spark, config, tmp_path):
    said = sample(spark, config, tmp_path / "lowest", n=2, lowest=True)
    sample(spark, config, tmp_path / "range", min_score=0.8, max_score=0.9)

    assert ids_of(tmp_path / "lowest") == {"b/3", "b/2"}
    assert said[0].startswith("2 of 5 duplicates, with the lowest scores")
    assert ids_of(tmp_path / "range") == {"b/2", "b/4"}


def test_fewer_than_asked_for_is_said(spark, config, tmp_path):
    said = sample(spark, config, tmp_path / "out", n=50, min_score=0.95)

    assert said[0].startswith("2 of 2 duplicates with cosine_sim_score >= 0.95, all there are")
    assert said[1] == "There are no more: 50 were asked for."


def test_nothing_to_show_writes_nothing(spark, config, tmp_path):
    said = sample(spark, config, tmp_path / "out", max_score=0.1)

    assert said == ["There is no duplicate with cosine_sim_score <= 0.1, so nothing was written."]
    assert not (tmp_path / "out").exists()


def test_an_image_that_is_gone_or_broken_is_listed_with_the_reason(spark, tmp_path):
    config = write_run(tmp_path, [*FOUND, ("b/9", "a/3", 0.75), ("c/0", "a/4", 0.76)])
    make_tar(tmp_path / "data/c.tar", [("0.jpg", b"no picture")])

    said = sample(spark, config, tmp_path / "out")

    lines = {line["image_id"]: line for line in lines_of(tmp_path / "out")}
    assert lines["b/9"]["problem"] == "image_id: not found in the input"
    assert (lines["b/9"]["removed_file"], lines["b/9"]["repeats_file"]) == ("", "0002-repeats.png")
    assert lines["c/0"]["problem"].startswith("image_id: not an image")
    assert (tmp_path / "out" / lines["c/0"]["removed_file"]).read_bytes() == b"no picture"
    assert [line["problem"] for name, line in lines.items() if name not in ("b/9", "c/0")] == [""] * 5
    assert "2 of these pairs lack a picture, e.g. 0002: image_id: not found in the input" in said


def test_ids_of_a_json_field_are_found_through_the_embeddings(spark, tmp_path):
    found = [(one.replace("/", "-"), other.replace("/", "-"), score) for one, other, score in FOUND]
    config = write_run(tmp_path, found, input={"id_field": "uid"})
    listed = [(f"{shard}-{number}", shard, str(number)) for shard in "ab" for number in range(5)]
    (tmp_path / "work/embeddings").mkdir()
    frame = pd.DataFrame(listed, columns=["image_id", "shard", "key"])
    frame.to_parquet(tmp_path / "work/embeddings/part-0.parquet", index=False)
    Tables(None, config).finish(StepRecord("embed", "e", 1.0, ImageCounts(10)))

    sample(spark, config, tmp_path / "out")

    assert (tmp_path / "out/0001-removed.jpg").read_bytes() == jpeg(3)
    assert (tmp_path / "out/0001-repeats.png").read_bytes() == png(2)


def test_many_pairs_fill_several_pages(spark, tmp_path):
    config = write_run(tmp_path, [(f"b/{n % 5}", f"a/{n % 4}", n / 200) for n in range(101)])

    said = sample(spark, config, tmp_path / "out", n=200)

    pages = sorted((tmp_path / "out").glob("index*"))
    assert [page.name for page in pages] == ["index-01.html", "index-02.html"]
    assert [page.read_text().count('class="pair"') for page in pages] == [100, 1]
    assert said[-1] == "See index-01.html to index-02.html, and pairs.csv."


def test_a_folder_with_files_is_not_touched(config, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")

    with pytest.raises(ConfigError, match=f"--to {tmp_path}/out holds files already"):
        sample(None, config, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("settings", "request_", "message"),
    [
        ({"input": {"path": None}}, {}, "input.path is not set, so there are no images to show"),
        ({}, {"min_score": 0.9, "max_score": 0.8}, "--min-score 0.9 is above --max-score 0.8"),
    ],
)
def test_what_cannot_work_is_refused_before_any_work(tmp_path, settings, request_, message):
    config = parse_config({"work_dir": str(tmp_path), "input": {"path": "data"}, **settings})

    with pytest.raises(ConfigError, match=message):
        sample(None, config, tmp_path / "out", **request_)


def test_without_duplicates_the_step_to_run_is_named(tmp_path):
    config = parse_config({"work_dir": str(tmp_path), "input": {"path": "data"}})

    with pytest.raises(SchemaError, match="Run step 'identify' first"):
        sample(None, config, tmp_path / "out")
