"""Ids to remove, from tables and from lists, in one column of text."""

from __future__ import annotations

import gzip

import pytest

from spark_imgdedup.errors import ConfigError, SchemaError
from spark_imgdedup.stages.local_rows import local_rows
from spark_imgdedup.stages.remove import select_ids
from spark_imgdedup.stages.user_input.id_lists import read_ids


def rows(df):
    return sorted(map(tuple, df.collect()))


def test_lists_of_ids_are_read_from_nested_folders_one_of_numbers_and_one_of_text(spark, tmp_path):
    for name, ids in {"a": ["1", "x/2"], "b/c": ["x/2", None]}.items():
        local_rows(spark, [(each,) for each in ids], "uid string").write.parquet(str(tmp_path / "text" / name))
    spark.range(1, 3).selectExpr("cast(id as int) as uid", "0.5 as score").write.parquet(str(tmp_path / "numbers"))

    ids = read_ids(spark, (str(tmp_path / "numbers"), str(tmp_path / "text")), "uid")

    assert sorted(row["image_id"] or "" for row in ids.collect()) == ["", "1", "1", "2", "x/2", "x/2"]
    assert rows(select_ids(ids, "image_id")) == [("1",), ("2",), ("x/2",)]


@pytest.mark.connect
def test_tables_and_lists_of_every_kind_are_one_list(spark, tmp_path):
    spark.range(3, 4).selectExpr("id as uid").write.parquet(str(tmp_path / "table"))
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/a.txt").write_text("a\n007\n")
    (tmp_path / "lists/b.csv.gz").write_bytes(gzip.compress(b"url,uid\nu,b\nv,\n"))
    (tmp_path / "c [1].jsonl").write_text('{"uid": 5}\n{"uid": "c"}\n')

    ids = read_ids(spark, [str(tmp_path / name) for name in ("table", "lists", "c [1].jsonl")], "uid")

    assert sorted(row["image_id"] or "" for row in ids.collect()) == ["", "007", "3", "5", "a", "b", "c"]


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        (None, ConfigError, "no such list of ids"),
        ("", ConfigError, "no list of ids there, nothing"),
        ("name", SchemaError, "no column 'uid', it has name"),
    ],
)
def test_one_bad_list_among_several_is_refused(spark, tmp_path, content, error, said):
    local_rows(spark, [("a",)], "uid string").write.parquet(str(tmp_path / "good"))
    if content is not None:
        (tmp_path / "bad").mkdir()
    if content:
        local_rows(spark, [("a",)], "name string").write.parquet(str(tmp_path / "bad" / "b"))

    with pytest.raises(error, match=said):
        read_ids(spark, (str(tmp_path / "good"), str(tmp_path / "bad")), "uid")
