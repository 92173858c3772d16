from __future__ import annotations

import re

import pytest

from spark_imgdedup import schemas
from spark_imgdedup.config import InputConfig, parse_config
from spark_imgdedup.errors import ConfigError, SchemaError, ShardError
from spark_imgdedup.files import writing
from spark_imgdedup.files.loose import ImageFile
from spark_imgdedup.files.tars.shards import Shard
from spark_imgdedup.runs.tables import require_unique_ids
from spark_imgdedup.stages import read
from spark_imgdedup.stages.embed import embed_images, embed_shards
from spark_imgdedup.stages.index import index_images
from spark_imgdedup.stages.local_rows import local_rows
from spark_imgdedup.stages.loose import FEWEST_FILES, MAX_TASKS, MOST_FILES, group_files, pack, unpack
from spark_imgdedup.stages.read import iter_images, map_shards, read_images
from spark_imgdedup.stages.user_input.user_tables import open_table
from tests.tars import encoded, jpeg, make_tar, png, tar_bytes


def config_for(path, **settings):
    return parse_config({"input": {"path": path if isinstance(path, list) else str(path), **settings}})


def rows(df, *columns):
    return sorted(tuple(row[name] for name in columns) for row in df.collect())


# --- one shard, without Spark


def records(members, **settings):
    url = "memory://read-test/s.tar"
    writing.write_bytes(url, members if isinstance(members, bytes) else tar_bytes(members))
    return list(iter_images(Shard(url, "s", 0, ""), InputConfig(**settings)))


def test_a_sample_is_a_record_with_its_image_and_nothing_else():
    (record,) = records([("a/0.txt", b"caption"), ("a/0.jpg", jpeg(0)), ("a/0.json", b"{}")])

    assert (record.image_id, record.shard, record.key, record.data) == ("s/a/0", "s", "a/0", jpeg(0))
    assert record.rejected_because is None


def test_samples_without_one_usable_image_are_records_that_say_why():
    members = [("0.txt", b""), ("1.jpg", b""), ("1.png", b""), ("2.jpg", bytes(11)), ("3.jpg", bytes(10))]

    found = records(members, max_image_bytes=10)

    assert [(record.key, record.data, record.rejected_because) for record in found] == [
        ("0", None, "no_image"),
        ("1", None, "several_images"),
        ("2", None, "too_large"),
        ("3", bytes(10), None),
    ]
    assert [record.error for record in found[:3]] == [
        "members: txt",
        "members: jpg, png",
        "11 bytes, input.max_image_bytes is 10",
    ]


def test_the_image_named_is_taken_of_several():
    members = [("0.jpg", b"photo"), ("0.seg.png", b"mask"), ("1.seg.png", b"alone"), ("2.jpg", b"1"), ("2.png", b"2")]

    found = records(members, image_member="seg.png")

    assert [record.data or record.rejected_because for record in found] == [b"mask", b"alone", "no_image"]


def test_ids_come_from_the_json_where_it_has_one():
    members = [("0.jpg", b"1"), ("0.json", b'{"uid": "u0"}'), ("1.jpg", b"2"), ("1.json", b"{}")]

    found = records(members, id_field="uid")

    assert [(record.image_id, record.rejected_because) for record in found] == [("u0", None), ("s/1", "no_id")]


@pytest.mark.parametrize("length", [0, 700, 1200, -1024])
def test_a_damaged_tar_ends_with_a_record_that_has_no_key(length):
    whole = tar_bytes([("0.jpg", b"zero"), ("1.jpg", b"one")])

    *samples, last = records(whole[:length])

    assert (last.image_id, last.key, last.rejected_because) == ("s", None, schemas.DAMAGED_SHARD)
    assert last.error.startswith("memory://read-test/s.tar: ")
    assert [record.key for record in samples] == ["0", "1"][: len(samples)]


def test_an_image_that_its_tar_ends_inside_of_is_unreadable():
    whole = tar_bytes([("0.txt", b"caption"), ("0.jpg", bytes(900))])

    sample, damage = records(whole[: 3 * 512 + 5])

    assert (sample.key, sample.data, sample.rejected_because) == ("0", None, "unreadable")
    assert "unexpected end of data in '0.jpg'" in damage.error


def test_the_index_of_a_shard_reads_no_image_and_names_the_same_samples():
    writing.write_bytes("memory://read-test/i.tar", tar_bytes([("0.jpg", jpeg(0)), ("1.txt", b"")]))
    shard = Shard("memory://read-test/i.tar", "i", 0, "")

    found = list(iter_images(shard, InputConfig(), with_data=False))

    assert [(record.image_id, record.data, record.rejected_because) for record in found] == [
        ("i/0", None, None),
        ("i/1", None, "no_image"),
    ]


# --- tars


@pytest.fixture
def folder(tmp_path):
    make_tar(tmp_path / "a" / "000.tar", [("0.JPG", jpeg(0)), ("x/0.b.png", png(1)), ("x/0.txt", b"words")])
    make_tar(tmp_path / "b" / "000.tar", [("0.jpg", jpeg(2)), ("0.cls", b"1")])
    (tmp_path / "b" / "001.tar").write_bytes(tar_bytes([("0.webp", encoded("WEBP", 3)), ("1.jpg", jpeg(4))])[:-1500])
    return tmp_path


def test_shards_of_one_name_in_two_folders_never_collide_and_how_they_are_given_changes_nothing(spark, folder):
    make_tar(folder / "a" / "000.tar", [("0.JPG", jpeg(0)), ("x/0.b.png", png(1))])
    given = [
        config_for(f"file://{folder}"),
        config_for(folder / "*" / "*.tar", root=str(folder)),
        config_for([str(folder / "b"), str(folder / "a" / "000.tar")], root=str(folder)),
    ]
    expected = [("a/000/0", jpeg(0)), ("a/000/x/0", png(1)), ("b/000/0", jpeg(2)), ("b/001/0", encoded("WEBP", 3))]

    for config in given:
        images = read_images(spark, config)
        assert images.schema.simpleString() == local_rows(spark, [], schemas.IMAGES).schema.simpleString()
        assert rows(images.where("image is not null"), "image_id", "image") == expected
        assert rows(images.where("key is null"), "image_id", "rejected_because") == [("b/001", "damaged_shard")]


def test_the_index_has_the_ids_of_the_images(spark, folder):
    config = config_for(folder)

    found = index_images(spark, config)

    assert found.columns == ["image_id", "shard", "key", "rejected_because"]
    expected = read_images(spark, config).select("image_id", "shard", "key")
    assert found.select(*expected.columns).exceptAll(expected).count() == 0
    assert found.count() == expected.count() == 6


def test_corrupt_truncated_empty_and_too_large_images_are_rows_with_a_reason(spark, tmp_path):
    members = [
        ("corrupt.jpg", b"no picture at all"),
        ("empty.png", b""),
        ("fine.gif", encoded("GIF", 1)),
        ("large.bmp", encoded("BMP", 1, (90, 90))),
        ("truncated.jpg", jpeg(1, (64, 64))[:-200]),
    ]
    make_tar(tmp_path / "s.tar", members)
    config = config_for(tmp_path, max_image_bytes=5000)
    config = config.model_copy(
        update={"embed": config.embed.model_copy(update={"model": "tests.encoders:ColourEncoder"})}
    )

    found = embed_shards(spark, config)

    assert rows(found.where("rejected_because is not null"), "key", "rejected_because") == [
        ("corrupt", "unreadable"),
        ("empty", "unreadable"),
        ("large", "too_large"),
        ("truncated", "unreadable"),
    ]
    assert rows(found.where("embedding is not null"), "key") == [("fine",)]


def test_two_samples_with_one_id_stop_the_run_with_both_named(spark, tmp_path):
    make_tar(tmp_path / "a.tar", [("b/c.jpg", jpeg(0))])
    make_tar(tmp_path / "a" / "b.tar", [("c.jpg", jpeg(1))])

    with pytest.raises(ShardError, match=r"'a/b/c' from a : b/c, a/b : c"):
        require_unique_ids(index_images(spark, config_for(tmp_path)), "image_id")


def test_a_sample_whose_members_lie_apart_stops_the_run_at_once_or_is_gathered(spark, tmp_path):
    from pyspark.errors import PythonException

    make_tar(tmp_path / "a.tar", [("0.jpg", jpeg(0)), ("1.jpg", jpeg(1)), ("0.txt", b"late")])

    with pytest.raises(PythonException, match=r"ShardError: .*a\.tar: '0\.txt' at byte \d+ is of sample '0'"):
        read_images(spark, config_for(tmp_path)).collect()

    gathered = read_images(spark, config_for(tmp_path, reorder=True))
    assert rows(gathered, "image_id", "image") == [("a/0", jpeg(0)), ("a/1", jpeg(1))]


def test_more_shards_than_tasks_are_dealt_out_whole_and_in_like_sizes(spark, tmp_path, monkeypatch):
    from pyspark.sql import functions as F

    monkeypatch.setattr(read, "MAX_TASKS", 3)
    for number in range(7):
        make_tar(tmp_path / f"{number}.tar", [("0.jpg", bytes(100 * number))])

    found = read_images(spark, config_for(tmp_path))

    assert found.select(F.spark_partition_id()).distinct().count() == 3
    assert rows(found, "image_id") == [(f"{number}/0",) for number in range(7)]


def test_each_shard_has_a_task_of_its_own(spark):
    from pyspark import TaskContext

    shards = [Shard("", f"{number}", 0, "") for number in range(5)]

    def work(mine):
        import pyarrow as pa

        names = [shard.name for shard in mine]
        yield pa.RecordBatch.from_pydict({"names": [",".join(names)], "task": [TaskContext.get().partitionId()]})

    found = map_shards(spark, shards, work, "names string, task bigint").collect()

    assert sorted(tuple(row) for row in found) == [(f"{number}", number) for number in range(5)]


# --- json fields


def test_fields_of_the_json_are_typed_columns_after_ours(spark, tmp_path):
    jsons = {
        "0": b'{"source": "web", "meta": {"similarity": 0.3125}, "n": 4.0, "ok": true}',
        "1": b'{"source": 7, "meta": {"similarity": 1}, "n": 4.5, "ok": 1}',
        "2": b"{broken",
        "3": None,
    }
    members = [(f"{key}.{ext}", data) for key in jsons for ext, data in (("jpg", jpeg(int(key))), ("json", jsons[key]))]
    make_tar(tmp_path / "a.tar", [(name, data) for name, data in members if data is not None])
    (tmp_path / "b.tar").write_bytes(b"no tar at all")
    fields = {"source": "string", "meta.similarity": "double", "n": "bigint", "ok": "boolean"}
    config = config_for(tmp_path, json_fields=fields)
    config = config.model_copy(
        update={"embed": config.embed.model_copy(update={"model": "tests.encoders:ColourEncoder"})}
    )

    read_first, embedded = read_images(spark, config), embed_shards(spark, config)

    expected = [
        ("a/0", "web", 0.3125, 4, True),
        ("a/1", "7", 1.0, None, None),
        ("a/2", None, None, None, None),
        ("a/3", None, None, None, None),
        ("b", None, None, None, None),  # the damaged shard
    ]
    for found in (read_first, embedded, embed_images(read_first, config)):
        assert {name: kind for name, kind in found.dtypes if name in fields} == fields
        assert rows(found, "image_id", *fields) == expected
    assert read_first.columns[-4:] == embedded.columns[-4:] == list(fields)
    assert rows(embedded.where("embedding is null"), "image_id") == [("b",)]


# --- loose images


def test_loose_images_are_found_in_any_case_and_folder_and_large_ones_are_not_read(spark, tmp_path):
    pictures = {"a b.jpg": jpeg(0), "sub/deep/100% #1.PNG": png(1), "x.Jpg": jpeg(2), "e=1/y.tiff": encoded("TIFF", 3)}
    pictures |= {"_MG_0001.JPG": jpeg(4), "12:30.jfif": jpeg(5), "a::b/é 名.jpe": jpeg(6), "new\nline.qoi": b"no image"}
    for name, data in (pictures | {"0.jpg": b"", "notes.txt": b"", ".hidden/h.jpg": jpeg(7)}).items():
        (tmp_path / "in [1]" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in [1]" / name).write_bytes(data)
    (tmp_path / "x").mkdir()
    with open(tmp_path / "in [1]" / "huge.jpg", "wb") as file:
        file.truncate(3 * 2**30)
    config = config_for(f"{tmp_path}/x/../in [1]", format="images", max_image_bytes=100_000)
    config = config.model_copy(
        update={"embed": config.embed.model_copy(update={"model": "tests.encoders:ColourEncoder"})}
    )

    found, embedded, index = read_images(spark, config), embed_shards(spark, config), index_images(spark, config)

    assert rows(found.where("image is not null"), "image_id", "image") == sorted((pictures | {"0.jpg": b""}).items())
    assert rows(found.where("image is null"), "image_id", "shard", "rejected_because", "error") == [
        ("huge.jpg", "", "too_large", "3221225472 bytes, input.max_image_bytes is 100000")
    ]
    assert rows(found.where("shard = 'sub/deep'"), "key") == [("sub/deep/100% #1.PNG",)]
    unusable = [("0.jpg", "unreadable"), ("huge.jpg", "too_large"), ("new\nline.qoi", "unreadable")]
    assert rows(embedded.where("embedding is null"), "image_id", "rejected_because") == unusable
    assert rows(embedded, "image_id", "shard", "key") == rows(found, "image_id", "shard", "key")
    assert rows(index, "image_id", "shard", "key") == rows(found, "image_id", "shard", "key")
    assert rows(embedded.where("embedding is not null"), "sha256") == rows(
        embed_images(found, config).where("embedding is not null"), "sha256"
    )


@pytest.mark.parametrize("n", [1, 31, 32, 33, 2048, 2049, 20_000, 6_000_000])
def test_groups_of_files_are_whole_batches_of_bounded_number_and_lose_none(n):
    files = range(n)

    groups = list(group_files(files))

    assert sum(map(len, groups)) == n
    assert len({len(group) for group in groups[:-1]}) <= 1
    assert len(groups) <= MAX_TASKS
    assert n > 20_000 or len(groups[0]) % FEWEST_FILES == 0 or len(groups) == 1


def test_names_of_files_travel_as_few_bytes():
    files = [ImageFile(f"train/é{number:06d}.jpg", number, "") for number in range(MOST_FILES)]

    assert list(unpack(pack(files))) == files
    assert len(pack(files)) < 20 * MOST_FILES


# --- tables


def test_any_table_with_a_binary_column_is_read_and_keeps_its_columns(spark, tmp_path):
    table = local_rows(
        spark, [(7, bytearray(b"1"), "cat"), (8, None, "dog")], "uid bigint, picture binary, label string"
    )
    table.write.parquet(str(tmp_path / "t"))

    found = read_images(spark, config_for(tmp_path / "t", format="table", id_field="uid", image_column="picture"))

    assert rows(found, "image_id", "key", "image", "rejected_because", "label", "uid") == [
        ("7", "7", b"1", None, "cat", 7),
        ("8", "8", None, "no_image", "dog", 8),
    ]


def test_a_field_of_a_table_is_its_column_as_it_is(spark, tmp_path):
    local_rows(
        spark, [("a", jpeg(0), 0.5, [1])], "image_id string, image binary, `meta.x` double, tags array<int>"
    ).write.parquet(str(tmp_path / "t"))
    config = config_for(tmp_path / "t", format="table", json_fields=["meta.x", "tags"])
    config = config.model_copy(
        update={"embed": config.embed.model_copy(update={"model": "tests.encoders:ColourEncoder"})}
    )

    found = embed_images(read_images(spark, config), config)

    assert rows(found, "image_id", "meta.x", "tags", "rejected_because") == [("a", 0.5, [1], None)]


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        ({}, "input.id_field: the table has no column 'image_id', it has uid, image."),
        ({"id_field": "uid"}, "input.image_column: found image string, which holds no bytes."),
        ({"id_field": "uit"}, "Did you mean input.id_field=uid?"),
        ({"json_fields": ["source"]}, "input.json_fields: the table has no column source, it has uid int"),
    ],
)
def test_a_table_without_the_columns_named_is_refused(spark, tmp_path, settings, missing):
    local_rows(spark, [(1, "text")], "uid int, image string").write.parquet(str(tmp_path / "t"))

    with pytest.raises(SchemaError, match=re.escape(missing)) as refused:
        read_images(spark, config_for(tmp_path / "t", format="table", **settings))
    n_wrong = 1 + ("id_field" not in settings or settings["id_field"] == "uit") + ("json_fields" in settings)
    assert len(str(refused.value).splitlines()) == n_wrong


def test_a_table_without_images_can_be_matched_against_ids(spark, tmp_path):
    local_rows(spark, [(7, "clip")], "uid int, caption string").write.parquet(str(tmp_path / "t"))

    index = index_images(spark, config_for(tmp_path / "t", format="table", id_field="uid"))

    assert [tuple(row) for row in index.collect()] == [("7", None, "7", None)]


def test_a_row_of_a_table_without_an_id_is_refused_and_not_taken_for_a_damaged_shard(spark, tmp_path):
    local_rows(spark, [("a", b"1"), (None, b"2")], "image_id string, image binary").write.parquet(str(tmp_path / "t"))

    found = read_images(spark, config_for(tmp_path / "t", format="table"))

    assert found.where(schemas.IS_SAMPLE).count() == 2
    with pytest.raises(ShardError):
        require_unique_ids(found.where(schemas.IS_SAMPLE), "image_id")


def test_tables_are_found_in_nested_folders_and_in_partitions(spark, tmp_path):
    ids = local_rows(spark, [("a", 1), ("b", 2)], "id string, year int")
    for name in ("nested/x", "nested/y/z"):
        ids.write.parquet(str(tmp_path / name))
    ids.write.partitionBy("year").parquet(str(tmp_path / "partitioned"))

    assert rows(open_table(spark, (str(tmp_path / "nested"),)), "id", "year") == [
        ("a", 1),
        ("a", 1),
        ("b", 2),
        ("b", 2),
    ]
    assert rows(open_table(spark, (str(tmp_path / "partitioned"),)), "id", "year") == [("a", 1), ("b", 2)]
    assert open_table(spark, (str(tmp_path / "nested" / "x"), str(tmp_path / "partitioned"))).count() == 4


def test_a_table_that_is_not_there_is_refused_with_its_name(spark, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "_SUCCESS").touch()

    with pytest.raises(ConfigError, match=f"{tmp_path}/empty: no files there"):
        open_table(spark, (f"{tmp_path}/empty",))
    with pytest.raises(ConfigError, match=f"{tmp_path}/missing: no such table"):
        open_table(spark, (f"{tmp_path}/missing",))
