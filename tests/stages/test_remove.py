from __future__ import annotations

import pytest

from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import SchemaError
from spark_imgdedup.files.copying.copy_plan import plan_copies
from spark_imgdedup.files.tars.shards import list_shards
from spark_imgdedup.stages.index import index_embeddings, index_images
from spark_imgdedup.stages.local_rows import local_rows
from spark_imgdedup.stages.loose_files import pack_images
from spark_imgdedup.stages.remove import (
    copy_tars,
    mark_removals,
    read_kept,
    remove_images,
    select_ids,
)
from tests.tars import jpeg, make_tar, members_of, png, tar_bytes, webdataset_samples

SAMPLES = "image_id string, shard string, key string, rejected_because string"
REMOVED = "image_id string, shard string, key string, reason string, sha256 string"


def rows(df, *columns):
    return sorted(tuple(row[name] for name in columns or df.columns) for row in df.collect())


# --- ids


def test_rows_whose_id_is_listed_go_and_the_others_keep_every_column(spark):
    images = local_rows(spark, [(1, "a", b"x"), (2, "b", b"y"), (3, "c", None)], "image_id int, t string, b binary")
    ids = local_rows(spark, [("2",), ("2",), (None,), ("9",)], "image_id string")

    kept = remove_images(images, ids)

    assert kept.schema == images.schema
    assert rows(kept, "image_id", "t") == [(1, "a"), (3, "c")]


@pytest.mark.parametrize("kind", ["string", "int", "bigint"])
def test_ids_are_compared_as_strings_whatever_their_types(spark, kind):
    images = local_rows(spark, [("1",), ("2",)], "name string")
    ids = spark.range(1, 2).selectExpr(f"cast(id as {kind}) as id")

    assert rows(remove_images(images, ids, image_id="name", id_field="id")) == [("2",)]


def test_a_row_without_an_id_stays_whatever_the_list_holds(spark):
    images = local_rows(spark, [(None,), ("a",)], "image_id string")
    ids = local_rows(spark, [(None,), ("a",)], "image_id string")

    assert remove_images(images, ids).collect() == [(None,)]


def test_an_empty_list_removes_nothing(spark):
    images = local_rows(spark, [("a",)], "image_id string")

    assert remove_images(images, local_rows(spark, [], "image_id string")).count() == 1


def test_a_wrong_column_is_an_error_and_never_a_list_of_nothing(spark):
    images = local_rows(spark, [("a",)], "image_id string")
    ids = local_rows(spark, [("a", 0.5)], "uid string, score double")

    with pytest.raises(SchemaError, match="no column 'image_id', it has uid, score"):
        remove_images(images, ids)
    with pytest.raises(SchemaError, match="no column 'uid', it has image_id"):
        remove_images(images, ids, image_id="uid")
    with pytest.raises(SchemaError, match="nothing was removed"):
        select_ids(ids, "id")


@pytest.mark.parametrize("kind", ["double", "float", "decimal(9,2)", "boolean", "date", "array<string>"])
def test_ids_that_are_neither_text_nor_whole_numbers_are_refused(spark, kind):
    ids = local_rows(spark, [], f"uid {kind}")

    with pytest.raises(SchemaError, match=r"remove\.id_field: column 'uid' is .* Cast the column to string or bigint"):
        select_ids(ids, "uid")
    with pytest.raises(SchemaError, match="image_id: column 'uid' is"):
        remove_images(ids, local_rows(spark, [], "id string"), image_id="uid", id_field="id")


@pytest.mark.parametrize("kind", ["tinyint", "smallint", "decimal(20,0)", "binary"])
def test_ids_of_every_other_kind_are_text(spark, kind):
    ids = local_rows(spark, [("7",)], "id string").selectExpr(f"cast(id as {kind}) as id")

    assert rows(select_ids(ids, "id")) == [("7",)]


# --- what leaves


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {"dup": "duplicate", "ugly": "aesthetic_score", "both": "aesthetic_score", "torn dup": "duplicate"}),
        ({"drop": ["duplicates"]}, {"dup": "duplicate", "both": "duplicate", "torn dup": "duplicate"}),
        ({"drop": ["rejected"]}, {"ugly": "aesthetic_score", "both": "aesthetic_score"}),
        ({"drop": []}, {}),
        (
            {"drop": ["duplicates"], "unreadable": "drop"},
            {
                "dup": "duplicate",
                "both": "duplicate",
                "torn": "unreadable",
                "none": "no_image",
                "torn dup": "unreadable",
            },
        ),
        ({"drop": [], "unreadable": "drop"}, {"torn": "unreadable", "none": "no_image", "torn dup": "unreadable"}),
    ],
)
def test_duplicates_rejected_and_unreadable_samples_leave_as_configured(spark, settings, expected):
    reasons = {
        "fine": None,
        "dup": None,
        "ugly": "aesthetic_score",
        "both": "aesthetic_score",
        "torn": "unreadable",
        "none": "no_image",
        "torn dup": "unreadable",
    }
    samples = local_rows(spark, [(name, "s", name, reason) for name, reason in reasons.items()], SAMPLES)
    ids = local_rows(spark, [("dup",), ("both",), ("torn dup",), ("unknown",)], "image_id string")

    removed = mark_removals(samples, ids, parse_config({"remove": settings}))

    assert dict(rows(removed, "image_id", "reason")) == expected
    assert removed.schema.simpleString() == local_rows(spark, [], REMOVED).schema.simpleString()


def test_one_id_may_name_several_samples_by_a_field_and_none_that_lacks_it(spark):
    columns = SAMPLES + ", match_id string"
    samples = local_rows(
        spark,
        [
            ("s/0", "s", "0", None, "u"),
            ("s/1", "s", "1", None, "u"),
            ("s/2", "s", "2", None, None),
            ("u", "s", "3", None, "v"),
        ],
        columns,
    )
    ids = local_rows(spark, [("u",)], "image_id string")

    assert rows(mark_removals(samples, ids, parse_config({}))) == [
        ("s/0", "s", "0", "duplicate", None),
        ("s/1", "s", "1", "duplicate", None),
    ]


def test_the_digest_of_an_image_that_was_compared_goes_with_what_leaves_as_far_as_the_copy(spark, folder):
    config = config_for(folder)
    rows_ = [("a/000/0", "a/000", "0", None, "0" * 64, 7), ("a/000/2", "a/000", "2", None, None, 7)]
    embeddings = local_rows(spark, rows_, SAMPLES + ", sha256 string, width int")
    ids = local_rows(spark, [("a/000/0",), ("a/000/2",)], "image_id string")

    removed = mark_removals(index_embeddings(embeddings, config), ids, config)

    assert rows(removed, "image_id", "sha256") == [("a/000/0", "0" * 64), ("a/000/2", None)]
    tasks = plan_copies(list_shards(config.input), {}, None)
    with pytest.raises(Exception, match="the image of '0' is not the one that was compared"):
        copy_tars(removed, tasks, config, str(folder / "tmp")).collect()


# --- copies


@pytest.fixture
def folder(tmp_path):
    members = [("0.jpg", jpeg(0)), ("0.txt", b"zero"), ("x/1.PNG", png(1)), ("x/1.png.json", b"{}"), ("2.jpg", jpeg(2))]
    make_tar(tmp_path / "in" / "a" / "000.tar", members)
    make_tar(tmp_path / "in" / "b" / "000.tar", [("0.jpg", jpeg(3)), ("README", b"kept")])
    (tmp_path / "in" / "b" / "001.tar").write_bytes(tar_bytes([("0.jpg", jpeg(4)), ("1.jpg", bytes(900))])[:-2000])
    return tmp_path


def config_for(folder, **output):
    return parse_config({"input": {"path": str(folder / "in")}, "output": {"path": str(folder / "out"), **output}})


def rows_per_partition(df):
    """How many rows each partition has that has any."""
    from pyspark.sql import functions as F

    return sorted(row["count"] for row in df.groupBy(F.spark_partition_id()).count().collect())


def removed_of(spark, *ids):
    found = [(f"{shard}/{key}", shard, key, "duplicate", None) for shard, key in ids]
    return local_rows(spark, found, REMOVED)


@pytest.fixture(
    params=[None, "leaving.MOST_FETCHED", "tasks.MAX_BYTES_WITH_EACH"], ids=["few", "many", "of many shards"]
)
def keys_travel(request, monkeypatch):
    """What leaves is told to tasks with their code, or as rows, since it is much or of much."""
    if request.param is not None:
        monkeypatch.setattr(f"spark_imgdedup.stages.{request.param}", 0)


@pytest.mark.usefixtures("keys_travel")
def test_tars_are_copied_without_what_leaves_in_one_task_a_shard(spark, folder):
    config = config_for(folder)
    tasks = plan_copies(list_shards(config.input), {}, None)
    removed = removed_of(spark, ("a/000", "0"), ("a/000", "2"), ("b/000", "0"))

    copied = copy_tars(removed, tasks, config, str(folder / "tmp"))

    told = copied.collect()
    found = {row["tar"]: row for row in told if row["key"] is None}
    assert rows_per_partition(copied.where("key is null")) == [1, 1, 1]
    assert {name: (row["n_samples"], row["n_cut"], len(row["damage"])) for name, row in found.items()} == {
        "a/000.tar": (1, 0, 0),
        "b/000.tar": (0, 0, 0),
        "b/001.tar": (1, 1, 1),
    }
    assert members_of(found["a/000.tar"]["temporary"]) == [("x/1.PNG", png(1)), ("x/1.png.json", b"{}")]
    assert members_of(found["b/000.tar"]["temporary"]) == [("README", b"kept")]
    assert members_of(found["b/001.tar"]["temporary"]) == [("0.jpg", jpeg(4))]
    assert sorted(
        (row["image_id"], row["shard"], row["key"], row["tar"], row["bytes"]) for row in told if row["key"]
    ) == [
        ("a/000/x/1", "a/000", "x/1", "a/000.tar", len(png(1)) + 2),
        ("b/001/0", "b/001", "0", "b/001.tar", len(jpeg(4))),
    ]


@pytest.mark.usefixtures("keys_travel")
def test_each_repacking_task_has_a_partition_of_its_own_however_uneven_the_work(spark, folder):
    config = config_for(folder, repack=1)
    shards = list_shards(config.input)[:2]
    tasks = plan_copies(shards, {"a/000": 3, "b/000": 1}, 1)

    copied = copy_tars(removed_of(spark), tasks, config, str(folder / "tmp"))

    tars = copied.where("key is null")
    assert [(row["tar"], row["n_samples"]) for row in tars.orderBy("tar").collect()] == [
        (f"{number:06d}.tar", 1) for number in range(4)
    ]
    assert rows_per_partition(tars) == [1, 3]


@pytest.mark.usefixtures("keys_travel")
def test_samples_become_rows_with_their_members_under_the_names_they_have(spark, folder):
    make_tar(folder / "in" / "c.tar", [("0.jpg", b"one"), ("0.jpg", b"two"), ("__meta__", b"of no sample")])
    config = config_for(folder)
    removed = removed_of(spark, ("a/000", "2"), ("b/000", "0"))

    kept = read_kept(removed, list_shards(config.input), config)

    assert rows(kept) == [
        ("a/000/0", "a/000", "0", {"jpg": jpeg(0), "txt": b"zero"}),
        ("a/000/x/1", "a/000", "x/1", {"PNG": png(1), "png.json": b"{}"}),
        ("b/001/0", "b/001", "0", {"jpg": jpeg(4)}),
        ("c/0", "c", "0", {"jpg": b"one", "jpg+": b"two"}),
    ]


def test_loose_images_become_tars_in_which_every_image_is_a_sample_of_its_own(spark, tmp_path):
    names = ["a.jpg", "a.png", "b.1.jpg", "b.2.jpg", "c d.jpg", "a%2Ejpg.jpg", "sub.x/a.jpg", "sub.x/B.JPG"]
    for number, name in enumerate(names):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"%d" % number)
    config = parse_config({"input": {"path": str(tmp_path / "in"), "format": "images"}, "output": {"repack": 3}})
    index = index_images(spark, config)

    rows_of = pack_images(index.select("image_id"), config, str(tmp_path / "tmp"), len(names)).orderBy("tar").collect()

    packed = [row for row in rows_of if row["key"] is None]
    samples = [sample for row in packed for sample in webdataset_samples(row["temporary"])]
    assert [(row["tar"], row["n_samples"]) for row in packed] == [
        ("000000.tar", 3),
        ("000001.tar", 3),
        ("000002.tar", 2),
    ]
    kept = {(row["image_id"], row["shard"], row["tar"], row["bytes"]) for row in rows_of if row["key"] is not None}
    assert kept >= {("a.jpg", "", "000000.tar", 1), ("sub.x/a.jpg", "sub.x", "000002.tar", 1)}
    assert len(kept) == len(names)
    assert [sample["__key__"] for sample in samples] == [
        "a%252Ejpg",
        "a%2Ejpg",
        "a%2Epng",
        "b%2E1%2Ejpg",
        "b%2E2%2Ejpg",
        "c d",
        "sub.x/B",
        "sub.x/a",
    ]
    assert sorted(data for sample in samples for name, data in sample.items() if not name.startswith("_")) == [
        b"%d" % number for number in range(len(names))
    ]


@pytest.mark.parametrize("has_filter", [False, True])
def test_a_vector_that_cannot_be_compared_leaves_only_where_a_filter_would_have_to_judge_it(spark, has_filter):
    scorers = [{"name": "looks", "max_score": 1.0}] if has_filter else []
    samples = [("s/0", "s", "0", "zero_embedding"), ("s/1", "s", "1", "unreadable"), ("s/2", "s", "2", None)]
    index = local_rows(spark, samples, "image_id string, shard string, key string, rejected_because string")
    nothing = local_rows(spark, [], "image_id string")

    removed = mark_removals(index, nothing, parse_config({"score": {"scorers": scorers}}))

    assert [(row.image_id, row.reason) for row in removed.collect()] == [("s/0", "zero_embedding")] * has_filter
