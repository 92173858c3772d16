"""Tables in parts in a real Spark: what a run does after a crash, and after its input has changed."""

from __future__ import annotations

import json
import logging
import os

import pytest
from PIL import Image

from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import SparkError
from spark_imgdedup.pipeline import run
from spark_imgdedup.runs.tables import Tables
from spark_imgdedup.stages.embed import embed_shards
from tests.tars import jpeg, make_tar


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "counted").mkdir()
    return tmp_path


def settings(**sections):
    ours = {
        "input": {"path": "data", "json_fields": {"caption": "string", "a.b": "double"}},
        "embed": {"batch_size": 1, "model": "tests.encoders:CountingEncoder", "model_dir": os.path.abspath("counted")},
    }
    merged = {name: section | sections.get(name, {}) for name, section in ours.items()}
    return parse_config(merged | {"work_dir": "work"})


def encoded(folder):
    """How many pictures the model was given since the last call."""
    file = folder / "counted/encoded"
    n = len(file.read_text()) if file.exists() else 0
    file.unlink(missing_ok=True)
    return n


def rows(df):
    return sorted(df.collect(), key=lambda row: (row.image_id, row.error or ""))


def shard(folder, name, *seeds):
    members = [(f"{seed}.jpg", jpeg(seed)) for seed in seeds]
    make_tar(folder / f"data/{name}.tar", [*members, ("x.json", json.dumps({"caption": name, "a.b": 0.5}).encode())])


def require_undisturbed(spark, folder, config):
    """The table is what Spark makes of all images at once, in no other files than its own."""
    table = Tables(spark, config).read("embeddings")
    afresh = embed_shards(spark, config)
    assert rows(table) == rows(afresh)
    assert json.loads(table.schema.json()) == json.loads(afresh.schema.json())
    encoded(folder)
    assert all(name.startswith("part-") for name in os.listdir(folder / "work/embeddings"))


def test_after_a_crash_only_the_rest_is_embedded_and_the_rows_are_those_of_an_undisturbed_run(spark, here, caplog):
    caplog.set_level(logging.INFO)
    for number in range(6):
        shard(here, number, 2 * number, 2 * number + 1)
    black = Image.new("RGB", (4, 4))
    black.save(here / "black.png")
    (here / "data/2.tar").write_bytes((here / "data/2.tar").read_bytes()[:2000])  # damaged
    make_tar(here / "data/6.tar", [("0.png", (here / "black.png").read_bytes())])
    (here / "counted/dies").touch()
    config = settings()

    with pytest.raises(SparkError):
        run(config, spark, steps=["embed"])
    encoded(here)
    (here / "counted/dies").unlink()
    there = {path.name for path in (here / "work/embeddings").glob("part-*")}
    (here / "work/embeddings" / min(there)).write_bytes(b"PAR1")  # cut off by a power loss
    run(config, spark, steps=["embed"])

    assert len(there) >= 4  # of 7, with two tasks at a time
    assert f"embed: {len(there) - 1} of 7 parts are there from an earlier run" in caplog.text
    assert encoded(here) <= 2 * (7 - len(there) + 1)
    require_undisturbed(spark, here, config)


def test_of_a_changed_input_only_new_and_changed_shards_are_embedded_unless_forced(spark, here):
    for number in range(4):
        shard(here, number, *range(10 * number, 10 * number + number + 1))
    config = settings(input={"path": ["data"], "root": "."})
    run(config, spark, steps=["embed"])
    assert encoded(here) == 1 + 2 + 3 + 4
    spark.range(3).write.parquet(str(here / "work/embeddings/of_another_version"))

    shard(here, 1, 11, 12, 13, 14, 15)
    (here / "data/2.tar").unlink()
    shard(here, "!", 99)
    (here / "more").mkdir()
    (here / "data/0.tar").rename(here / "more/0.tar")  # another name, other ids
    config = settings(input={"path": ["more", "data"], "root": "."})
    run(config, spark, steps=["embed"])

    assert encoded(here) == 5 + 1 + 1
    require_undisturbed(spark, here, config)
    run(config, spark, steps=["embed"])
    assert encoded(here) == 0
    run(config, spark, steps=["embed"], force=True)
    assert encoded(here) == 1 + 5 + 4 + 1
    run(settings(input={"path": ["more", "data"], "root": ".", "trim_borders": False}), spark, steps=["embed"])
    assert encoded(here) == 1 + 5 + 4 + 1


def test_of_a_changed_folder_only_new_and_changed_images_are_embedded(spark, here, caplog):
    caplog.set_level(logging.INFO)
    (here / "data/a").mkdir(parents=True)
    for number in range(8):
        (here / f"data/a/{number}.jpg").write_bytes(jpeg(number))
    (here / "data/a/odd.jpg").write_bytes(b"no picture")
    config = settings(input={"format": "images", "json_fields": {}})
    run(config, spark, steps=["embed"])
    assert encoded(here) == 8

    (here / "data/a/1.jpg").unlink()
    (here / "data/a/2.jpg").write_bytes(jpeg(200))
    (here / "data/0.jpg").write_bytes(jpeg(201))
    run(config, spark, steps=["embed"])

    assert encoded(here) == 2
    assert "embed: 0 of 2 parts are there from an earlier run; 1 are copied from such parts" in caplog.text
    require_undisturbed(spark, here, config)
