"""NeMo Curator's cases of removing ids and writing shards (its test_dedup_filter.py, test_image_writer.py), on tars."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import ConfigError, SchemaError
from spark_imgdedup.pipeline import run
from tests.tars import jpeg, make_tar, members_of


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def dataset(*keys):
    make_tar("in/s.tar", [(f"{key}.jpg", jpeg(place)) for place, key in enumerate(keys)])


def ids(name, **columns):
    pq.write_table(pa.table(columns), name)


def kept_after(spark, output=None, **remove):
    """The keys of each tar written, in the order of the tar."""
    config = parse_config(
        {"input": {"path": "in"}, "output": {"path": "out", **(output or {})}, "remove": remove, "work_dir": "work"}
    )
    run(config, spark, steps=["remove"])
    return [[name for name, _ in members_of(path)] for path in sorted(Path("out").glob("*.tar"))]


def test_what_is_listed_goes_and_the_rest_keeps_its_order(spark, here):
    dataset("img3", "img1", "img4", "img2")
    ids("ids.parquet", id=["s/img2", "s/img4", "s/img5"])

    assert kept_after(spark, ids_path="ids.parquet", id_field="id") == [["img3.jpg", "img1.jpg"]]


def test_ids_come_from_several_files_and_any_column(spark, here):
    dataset("a", "z", "e", "y", "x")
    (here / "ids").mkdir()
    ids("ids/0.parquet", image_hash=["s/a", "s/b", "s/c"])
    ids("ids/1.parquet", image_hash=["s/d", "s/e"])

    assert kept_after(spark, ids_path="ids", id_field="image_hash") == [["z.jpg", "y.jpg", "x.jpg"]]


def test_an_empty_folder_of_ids_is_an_error(spark, here):
    dataset("a")
    (here / "ids").mkdir()

    with pytest.raises(ConfigError, match="ids: no list of ids there, nothing"):
        kept_after(spark, ids_path="ids")
    assert not (here / "out").exists()


def test_a_wrong_column_is_an_error_and_not_a_removal_of_nothing(spark, here):
    dataset("a")
    ids("ids.parquet", id=["s/a"])

    with pytest.raises(SchemaError, match=r"remove\.id_field: the table has no column 'image_id', it has id"):
        kept_after(spark, ids_path="ids.parquet")
    assert not (here / "out").exists()


def test_five_samples_at_two_a_tar_are_three_tars_and_a_second_run_replaces_them(spark, here):
    dataset("0", "1", "2", "3", "4")
    ids("none.parquet", image_id=pa.array([], pa.string()))
    ids("all.parquet", image_id=[f"s/{n}" for n in range(5)])

    assert kept_after(spark, {"repack": 2}, ids_path="none.parquet") == [
        ["s/0.jpg", "s/1.jpg"],
        ["s/2.jpg", "s/3.jpg"],
        ["s/4.jpg"],
    ]
    assert kept_after(spark, {"repack": 2}, ids_path="all.parquet") == [[]]
