"""The bytes of a few images by id, from every kind of dataset, reading no more than is needed."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from spark_imgdedup.config import parse_config
from spark_imgdedup.kernels.bounds import ImageError
from spark_imgdedup.stages.vectors.samples import save_images, show_images
from tests.tars import encoded, jpeg, make_tar, png, tar_bytes


def saved(spark, config, ids, folder, places=None):
    """(suffix, bytes or None, problem) by id; for a damaged shard by its name."""
    rows = save_images(spark, config, frozenset(ids), str(folder), places).collect()
    return {
        row["image_id"] or row["shard"]: (
            row["suffix"],
            Path(row["file"]).read_bytes() if row["file"] else None,
            row["problem"],
        )
        for row in rows
    }


def tars(folder, **settings):
    """Two shards, one in a folder; a key with a slash; json ids; a sample of two images."""
    make_tar(
        folder / "a.tar",
        [
            *(("0.jpg", jpeg(1)), ("0.json", json.dumps({"uid": "u-0"}).encode())),
            *(("b/1.JPG", jpeg(2)), ("b/1.json", json.dumps({"uid": 17}).encode())),
        ],
    )
    make_tar(folder / "a/b.tar", [("2.jpg", jpeg(4)), ("2.png", png(5)), ("3.txt", b"no image")])
    return parse_config({"input": {"path": str(folder), **settings}})


def test_images_come_from_the_shards_that_their_ids_name_byte_for_byte(spark, tmp_path):
    # a/b/1 is the key b/1 of shard a, although a shard a/b is there as well.
    found = saved(spark, tars(tmp_path / "in"), ["a/0", "a/b/1", "z/9"], tmp_path / "out")

    assert found == {"a/0": ("jpg", jpeg(1), None), "a/b/1": ("JPG", jpeg(2), None)}


def test_an_extension_stays_as_it_is_spelled(spark, tmp_path):
    make_tar(tmp_path / "in/a.tar", [("b/1.JPG", jpeg(2)), ("2.left.png", png(3))])
    config = parse_config({"input": {"path": str(tmp_path / "in")}})

    found = saved(spark, config, ["a/b/1", "a/2"], tmp_path / "out")

    assert found == {"a/b/1": ("JPG", jpeg(2), None), "a/2": ("png", png(3), None)}


def test_a_sample_without_one_image_says_why(spark, tmp_path):
    config = tars(tmp_path / "in")

    found = saved(spark, config, ["a/b/2", "a/b/3"], tmp_path / "out")

    assert found == {"a/b/2": (None, None, "several_images"), "a/b/3": (None, None, "no_image")}


def test_ids_of_a_json_field_are_found_with_and_without_their_places(spark, tmp_path):
    config = tars(tmp_path / "in", id_field="uid")
    expected = {"u-0": ("jpg", jpeg(1), None), "17": ("JPG", jpeg(2), None)}

    assert saved(spark, config, ["u-0", "17"], tmp_path / "one") == expected
    places = {"a": frozenset(["0", "b/1"])}
    assert saved(spark, config, ["u-0", "17"], tmp_path / "two", places) == expected


def test_a_shard_that_is_cut_gives_what_comes_before_and_says_so(spark, tmp_path):
    whole = tar_bytes([("0.png", png(4)), ("1.png", png(5)), ("2.png", png(6, (64, 64)))])
    (tmp_path / "in").mkdir()
    (tmp_path / "in/cut.tar").write_bytes(whole[: -2 * 1024])
    config = parse_config({"input": {"path": str(tmp_path / "in")}})

    found = saved(spark, config, ["cut/0", "cut/2", "cut/7"], tmp_path / "out")

    assert found["cut/0"] == ("png", png(4), None)
    assert found["cut/2"] == (None, None, "the shard ends inside this image")
    assert "cut.tar: unexpected end of data" in found["cut"][2]


def test_a_shard_is_left_as_soon_as_all_of_it_is_found(spark, tmp_path):
    whole = tar_bytes([("0.png", png(4)), ("1.png", png(5))])
    (tmp_path / "in").mkdir()
    (tmp_path / "in/cut.tar").write_bytes(whole[:-1500])
    config = parse_config({"input": {"path": str(tmp_path / "in")}})

    # Reading on would meet the damage and report it.
    assert set(saved(spark, config, ["cut/0"], tmp_path / "out")) == {"cut/0"}


def test_shards_that_hold_none_of_the_ids_are_not_opened(spark, tmp_path):
    config = tars(tmp_path / "in")
    (tmp_path / "in/broken.tar").write_bytes(b"no tar at all")

    assert set(saved(spark, config, ["a/0"], tmp_path / "out")) == {"a/0"}


def test_no_shard_at_all_is_an_empty_table(spark, tmp_path):
    assert saved(spark, tars(tmp_path / "in"), ["z/9"], tmp_path / "out") == {}


def test_a_tables_images_are_found_by_text_or_number(spark, tmp_path):
    frame = pd.DataFrame({"number": [1, 2, 3], "photo": [jpeg(1), None, encoded("WEBP", 3)]})
    frame.to_parquet(tmp_path / "in.parquet")
    columns = {"id_field": "number", "image_column": "photo"}
    config = parse_config({"input": {"path": str(tmp_path / "in.parquet"), "format": "table", **columns}})

    found = saved(spark, config, ["3", "2", "8"], tmp_path / "out")

    assert found == {"3": (None, encoded("WEBP", 3), None), "2": (None, None, "no_image")}


@pytest.mark.parametrize("name", ["x y/é.jpg", "0.png"])
def test_loose_images_are_found_by_their_paths(spark, tmp_path, name):
    (tmp_path / "in/x y").mkdir(parents=True)
    (tmp_path / "in" / name).write_bytes(jpeg(1))
    config = parse_config({"input": {"path": str(tmp_path / "in"), "format": "images"}})

    found = saved(spark, config, [name, "gone.jpg"], tmp_path / "out")

    assert found[name] == (name[-3:], jpeg(1), None)
    assert found["gone.jpg"][2].startswith("FileNotFoundError")


def length(data):
    if data.startswith(b"\x89PNG"):
        raise ImageError("unreadable", "no PNG today")
    return f"{len(data)} bytes"


def shown(spark, config, ids):
    return {
        row["image_id"]: (row["shown"], row["problem"]) for row in show_images(spark, config, ids, length).collect()
    }


def test_what_is_made_of_the_bytes_comes_back_and_no_file_is_written(spark, tmp_path):
    config = tars(tmp_path / "in")
    loose, table = tmp_path / "loose", tmp_path / "table"
    (loose / "b").mkdir(parents=True)
    (loose / "b/1.jpg").write_bytes(jpeg(2))
    (loose / "2.png").write_bytes(png(5))
    table.mkdir()
    frame = pd.DataFrame({"image_id": ["x", "y", "z"], "image": [jpeg(2), png(5), None]})
    frame.to_parquet(table / "0.parquet", index=False)
    before = sorted(tmp_path.rglob("*"))

    from_tars = shown(spark, config, frozenset(["a/b/1", "a/b/3"]))
    from_files = shown(
        spark,
        parse_config({"input": {"path": str(loose), "format": "images"}}),
        frozenset(["b/1.jpg", "2.png", "gone.jpg"]),
    )
    from_rows = shown(
        spark, parse_config({"input": {"path": str(table), "format": "table"}}), frozenset(["x", "y", "z"])
    )

    made, refused = (f"{len(jpeg(2))} bytes", None), (None, "no PNG today")
    assert from_tars == {"a/b/1": made, "a/b/3": (None, "no_image")}
    assert from_files.pop("gone.jpg")[1].startswith("FileNotFoundError")
    assert from_files == {"b/1.jpg": made, "2.png": refused}
    assert from_rows == {"x": made, "y": refused, "z": (None, "no_image")}
    assert sorted(tmp_path.rglob("*")) == before
