"""What is counted in the tables of a run, in a real Spark."""

from __future__ import annotations

import pytest
import yaml

from spark_imgdedup import schemas
from spark_imgdedup.config import Config, parse_config
from spark_imgdedup.errors import SchemaError
from spark_imgdedup.runs import counts
from spark_imgdedup.runs.tables import StepRecord

EMBEDDINGS = schemas.EMBEDDINGS.format(embedding="binary")


def embedding_row(image_id, key, reason=None, error=None, n_bytes=10):
    return (image_id, "s", key, 4, 4, "JPEG", n_bytes, "00", None, None, b"" if reason else b"12", reason, error)


def test_images_are_counted_by_what_became_of_them(spark):
    rows = [
        embedding_row("s/1", "1"),
        embedding_row("s/2", "2"),
        embedding_row("s/3", "3", "unreadable", n_bytes=5),
        embedding_row("s/4", "4", "no_image", n_bytes=None),
        embedding_row("s/5", "5", "no_image", n_bytes=None),
        embedding_row("t", None, schemas.DAMAGED_SHARD, "t.tar: cut", n_bytes=None),
        embedding_row("b", None, schemas.DAMAGED_SHARD, "b.tar: cut", n_bytes=None),
    ]

    found = counts.count_images(spark.createDataFrame(rows, EMBEDDINGS), Config())

    assert found == {
        "samples": 5,
        "embedded": 2,
        "rejected": {"no_image": 2, "unreadable": 1},
        "image_bytes": 25,
        "damaged_shards": ["b.tar: cut", "t.tar: cut"],
        "n_damaged_shards": 2,
        "hashes": [],
    }


def test_no_images_are_counted_as_none(spark):
    found = counts.count_images(spark.createDataFrame([], EMBEDDINGS), Config())

    assert (found["samples"], found["embedded"], found["rejected"], found["damaged_shards"]) == (0, 0, {}, [])


def test_an_id_field_that_no_sample_has_is_refused(spark):
    config = parse_config({"input": {"id_field": "uidd"}})
    rows = [embedding_row("s/1", "1", "no_id"), embedding_row("s/2", "2", "no_id")]

    with pytest.raises(SchemaError, match=r"input\.id_field: no sample has a json with a field 'uidd'"):
        counts.count_images(spark.createDataFrame(rows, EMBEDDINGS), config)


def test_clusters_are_counted_with_their_largest_and_the_rows_outside(spark):
    rows = [(0, None), (0, None), (0, None), (2, None), (None, "zero"), (None, "wrong_length"), (None, "zero")]

    found = counts.count_clusters(spark.createDataFrame(rows, "cluster_id int, rejected_because string"))

    assert found == {"rows": 4, "clusters": 2, "largest": 3, "rejected": {"wrong_length": 1, "zero": 2}}


def test_no_clusters_are_counted_as_none(spark):
    found = counts.count_clusters(spark.createDataFrame([], "cluster_id int, rejected_because string"))

    assert found == {"rows": 0, "clusters": 0, "largest": 0, "rejected": {}}


def index(spark, *ids, damaged=()):
    rows = [(image_id, image_id) for image_id in ids] + [(shard, None) for shard in damaged]
    return spark.createDataFrame(rows, "image_id string, key string")


def ids(spark, *values):
    return spark.createDataFrame([(value,) for value in values], "image_id string")


NOTHING = {
    **dict.fromkeys(("read", "n_damaged_shards", "ids_given", "ids_matched", "ids_unmatched", "ids_null"), 0),
    **dict.fromkeys(("samples_matched", "samples_without_field"), 0),
}


def test_samples_and_ids_are_counted_and_a_damaged_shard_matches_nothing(spark):
    found = counts.count_samples(index(spark, "a", "b", "c", damaged=["t"]), ids(spark, "b", "x", "b", "t", None))

    assert found == NOTHING | {
        **{"read": 3, "n_damaged_shards": 1, "ids_given": 3, "ids_matched": 1, "ids_unmatched": 2, "ids_null": 1},
        "samples_matched": 1,
    }


def test_no_ids_at_all_are_no_mistake(spark):
    assert counts.count_samples(index(spark, "a"), ids(spark)) == NOTHING | {"read": 1}


def test_no_samples_and_no_ids_are_counted_as_none(spark):
    assert counts.count_samples(index(spark), ids(spark)) == NOTHING


def test_ids_of_which_none_is_in_the_dataset_are_refused_with_one_of_each(spark):
    with pytest.raises(
        SchemaError, match=r"none of the 1 ids is in .* look like 'x', the dataset's like 'a'.*nothing was"
    ):
        counts.count_samples(index(spark, "a", damaged=["t"]), ids(spark, "x", "x"))


def test_a_list_without_a_single_id_is_refused(spark):
    with pytest.raises(SchemaError, match=r"remove\.id_field: the list of ids has 2 rows and an id in none of them"):
        counts.count_samples(index(spark, "a"), ids(spark, None, None))


MATCHED = "image_id string, key string, match_id string"


def test_samples_are_counted_by_the_field_that_ids_are_values_of(spark):
    rows = [
        ("s/0", "0", "u"),
        ("s/1", "1", "u"),
        ("s/2", "2", "v"),
        ("s/3", "3", None),
        ("s/4", "4", None),
        ("t", None, None),
    ]

    found = counts.count_samples(spark.createDataFrame(rows, MATCHED), ids(spark, "u", "w", "s/3"), "uid")

    assert found == NOTHING | {
        **{"read": 5, "n_damaged_shards": 1, "ids_given": 3, "ids_matched": 1, "ids_unmatched": 2},
        **{"samples_matched": 2, "samples_without_field": 2},
    }


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            "u",
            r"none of the 1 ids is a value of 'uid' in .*: they look like 'x', the dataset's like 'u'\. Correct",
        ),
        (None, r"remove\.match_field: none of the 1 samples has a field 'uid' that is text or a number"),
    ],
)
def test_ids_that_match_no_field_are_refused(spark, value, said):
    with pytest.raises(SchemaError, match=said):
        counts.count_samples(spark.createDataFrame([("s/0", "0", value)], MATCHED), ids(spark, "x"), "uid")


def test_a_dataset_without_images_is_not_left_out_as_unreadable():
    counts.require_images({"read": 3, "removed": {"no_image": 2}})
    counts.require_images({"read": 3, "removed": {"duplicate": 3}})
    counts.require_images({"read": 0, "removed": {}})
    with pytest.raises(
        SchemaError, match=r"would leave out all 3 samples, .* \(no_id 1, no_image 2\)\. Set it to keep"
    ):
        counts.require_images({"read": 3, "removed": {"no_id": 1, "no_image": 2}})


def test_removed_samples_are_counted_by_reason(spark):
    removed = spark.createDataFrame([("unreadable",), ("duplicate",), ("duplicate",)], "reason string")

    assert list(counts.count_removed(removed).items()) == [("duplicate", 2), ("unreadable", 1)]


@pytest.mark.parametrize(
    ("step", "found", "line"),
    [
        (
            "embed",
            {"samples": 1200, "rejected": {"no_image": 2, "unreadable": 1}},
            "1,200 images in 2.0 s (600.0 images/s), 3 of them without a usable image",
        ),
        ("cluster", {"rows": 9, "clusters": 2, "largest": 7}, "9 rows in 2 clusters, the largest 7, in 2.0 s"),
        ("pairwise", {"rows": 9}, "9 rows compared in 2.0 s"),
        ("identify", {"duplicates": 3, "eps": 0.1, "found_by": {"embedding": 3}}, "3 duplicates at eps 0.1, in 2.0 s"),
        (
            "identify",
            {"duplicates": 3, "eps": None, "found_by": {"exact": 1, "phash": 2}},
            "3 duplicates (1 by exact, 2 by phash), in 2.0 s",
        ),
        (
            "score",
            {"rows": 9, "rejected": {"aesthetic": 2, "nsfw": 1}, "scores": {}},
            "9 rows scored in 2.0 s: aesthetic 2, nsfw 1",
        ),
        ("detect", {"images": 9, "copies": 4}, "4 exact copies among 9 images in 2.0 s"),
        ("detect", {"images": 9, "near_hashes": 5}, "5 pairs of near hashes among 9 images in 2.0 s"),
        (
            "detect",
            {"images": 9, "near_hashes": 5, "expected_recall": {"7": 0.98, "8": 0.94}},
            "5 pairs of near hashes among 9 images in 2.0 s; of pairs 8 bits apart about 94.0% are found",
        ),
        (
            "remove",
            {"read": 9, "removed": {"duplicate": 2, "unreadable": 1}, "written": 6},
            "9 samples read, 3 removed, 6 written in 2.0 s",
        ),
        (
            "remove",
            {"read": 9, "removed": {"duplicate": 2}, "written": 7}
            | NOTHING
            | {"read": 9, "ids_given": 2, "ids_matched": 2, "samples_matched": 2},
            "9 samples read, 2 removed, 7 written in 2.0 s; 2 ids given, 2 matched",
        ),
        (
            "remove",
            {"removed": {"duplicate": 3}, "written": 6}
            | NOTHING
            | {"read": 9, "ids_given": 1200, "ids_matched": 2, "samples_matched": 3, "ids_unmatched": 1198}
            | {"ids_null": 4, "samples_without_field": 5},
            "9 samples read, 3 removed, 6 written in 2.0 s; 1,200 ids given, 2 matched (3 samples), 1,198 not in the "
            "dataset, 4 rows without an id; 5 samples without the field were kept",
        ),
    ],
)
def test_a_step_is_told_in_one_line(step, found, line):
    assert counts.in_words(StepRecord(step, "", 2.0, found)) == line


def test_a_step_that_took_no_time_has_a_line_too():
    assert "0.0 images/s" in counts.in_words(StepRecord("embed", "", 0.0, {"samples": 3, "rejected": {}}))


def test_the_resolved_settings_are_yaml_that_loads_back():
    config = parse_config({"input": {"path": ["a", "b"], "root": "r"}, "identify": {"eps": 0.25}})

    assert parse_config(yaml.safe_load(counts.to_yaml(config))) == config
