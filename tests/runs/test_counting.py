"""What is counted in the tables of a run, in a real Spark."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import yaml

from spark_imgdedup import schemas
from spark_imgdedup.config import parse_config
from spark_imgdedup.counts import ClusterCounts, ImageCounts, PairwiseCounts, SampleCounts
from spark_imgdedup.errors import CountsError, SchemaError
from spark_imgdedup.files.blocks import BlockIndex
from spark_imgdedup.runs import counting
from spark_imgdedup.runs.findings import Findings
from spark_imgdedup.runs.people import People
from spark_imgdedup.stages.local_rows import local_rows
from spark_imgdedup.stages.searching.blocks import Sample, Written
from spark_imgdedup.stages.searching.probes import Plan
from spark_imgdedup.stages.searching.search import Search
from spark_imgdedup.stages.searching.survey import Recall

EMBEDDINGS = schemas.EMBEDDINGS.format(embedding="binary")
NO_HASHES = parse_config({"detect": {"prepass": []}})


def embedding_row(image_id, key, reason=None, error=None, n_bytes=10):
    known = {"image_id": image_id, "shard": "s", "key": key, "width": 4, "height": 4, "image_bytes": n_bytes}
    made = {"sha256": "00", "embedding": b"" if reason else b"12", "rejected_because": reason, "error": error}
    return tuple((known | made).get(name) for name in schemas.column_names(EMBEDDINGS))


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

    found = counting.count_images(local_rows(spark, rows, EMBEDDINGS), NO_HASHES)

    assert found == ImageCounts(
        samples=5,
        embedded=2,
        rejected={"no_image": 2, "unreadable": 1},
        image_bytes=25,
        damaged_shards=("b.tar: cut", "t.tar: cut"),
        n_damaged_shards=2,
        hashes=(),
    )


NOBODY = People(never=None, instead=None, copies=None, apart=())


def test_duplicates_are_counted_by_search_and_held_against_what_they_stand_for(spark):
    # c resembles b and d resembles c, which go themselves, and c is besides what d was given to stay for it.
    rows = [("b", "a", "a", "exact"), ("c", "b", "a", "embedding"), ("d", "c", "c", "embedding")]
    duplicates = local_rows(spark, rows, "image_id string, max_id string, kept_id string, found_by string")
    config = parse_config({"identify": {"eps": 0.1}})

    found = counting.count_duplicates(duplicates, Findings(config, duplicates, NOBODY))
    of_none = counting.count_duplicates(duplicates.limit(0), Findings(config, duplicates, NOBODY))

    assert (found.duplicates, dict(found.found_by)) == (3, {"embedding": 2, "exact": 1})
    assert (found.uncovered, found.groups, found.wiped_out) == (2, 2, 1)
    assert (of_none.duplicates, of_none.found_by, of_none.uncovered, of_none.groups) == (0, {}, 0, 0)


def test_no_images_are_counted_as_none(spark):
    found = counting.count_images(local_rows(spark, [], EMBEDDINGS), NO_HASHES)

    assert found == ImageCounts(samples=0)


def test_an_id_field_that_no_sample_has_is_refused(spark):
    config = parse_config({"input": {"id_field": "uidd"}})
    rows = [embedding_row("s/1", "1", "no_id"), embedding_row("s/2", "2", "no_id")]

    with pytest.raises(SchemaError, match=r"input\.id_field: no sample has a json with a field 'uidd'"):
        counting.count_images(local_rows(spark, rows, EMBEDDINGS), config)


def blocks_of(counts, **rejected):
    index = BlockIndex("blocks", tuple(f"{file}.parquet" for file in range(len(counts))), np.array(counts), 2, "<f4")
    return Written(index, rejected, Sample(pa.array([], pa.string()), np.zeros(0, np.int64), np.zeros((0, 2))))


def test_clusters_are_counted_with_their_largest_and_the_rows_outside():
    found = counting.count_clusters(blocks_of([[2, 0, 1], [1, 0, 0]], zero_embedding=2, wrong_length=1))

    assert found == ClusterCounts(rows=4, clusters=2, largest=3, rejected={"zero_embedding": 2, "wrong_length": 1})


def test_no_clusters_are_counted_as_none():
    assert counting.count_clusters(blocks_of(np.zeros((0, 0), np.int64))) == ClusterCounts(0, 0, 0)


def search_of(n_rows, recall):
    return Search(None, Plan("margin", alpha=0.5), "it is enough", 0.1, False, n_rows, 42, recall)


def test_a_search_is_counted_with_its_recall():
    found = counting.count_search(search_of(9, Recall(0.5, 0.1, 0.9, 4, 2)), 9)

    recall = {"value": 0.5, "low": 0.1, "high": 0.9, "pairs": 4, "rows": 2}
    assert found == PairwiseCounts(9, "margin 0.5", "it is enough", 0.1, False, 42, recall)


def test_rows_that_a_search_has_lost_stop_the_run():
    with pytest.raises(CountsError, match="9 rows were searched, but similarities has 8"):
        counting.count_search(search_of(9, Recall(None, None, None, 0, 2)), 8)


def index(spark, *ids, damaged=()):
    rows = [(image_id, image_id) for image_id in ids] + [(shard, None) for shard in damaged]
    return local_rows(spark, rows, "image_id string, key string")


def ids(spark, *values):
    return local_rows(spark, [(value,) for value in values], "image_id string")


def test_samples_and_ids_are_counted_and_a_damaged_shard_matches_nothing(spark):
    found = counting.count_samples(index(spark, "a", "b", "c", damaged=["t"]), ids(spark, "b", "x", "b", "t", None))

    assert found == SampleCounts(
        read=3, n_damaged_shards=1, ids_given=3, ids_matched=1, ids_unmatched=2, ids_null=1, samples_matched=1
    )


def test_no_ids_at_all_are_no_mistake(spark):
    assert counting.count_samples(index(spark, "a"), ids(spark)) == SampleCounts(read=1)


def test_no_samples_and_no_ids_are_counted_as_none(spark):
    assert counting.count_samples(index(spark), ids(spark)) == SampleCounts()


def test_ids_of_which_none_is_in_the_dataset_are_refused_with_one_of_each(spark):
    with pytest.raises(
        SchemaError, match=r"none of the 1 ids is in .* look like 'x', the dataset's like 'a'.*nothing was"
    ):
        counting.count_samples(index(spark, "a", damaged=["t"]), ids(spark, "x", "x"))


def test_a_list_without_a_single_id_is_refused(spark):
    with pytest.raises(SchemaError, match=r"remove\.id_field: the list of ids has 2 rows and an id in none of them"):
        counting.count_samples(index(spark, "a"), ids(spark, None, None))


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

    found = counting.count_samples(local_rows(spark, rows, MATCHED), ids(spark, "u", "w", "s/3"), "uid")

    assert found == SampleCounts(
        **{"read": 5, "n_damaged_shards": 1, "ids_given": 3, "ids_matched": 1, "ids_unmatched": 2},
        **{"samples_matched": 2, "samples_without_field": 2},
    )


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
        counting.count_samples(local_rows(spark, [("s/0", "0", value)], MATCHED), ids(spark, "x"), "uid")


def test_a_dataset_without_images_is_not_left_out_as_unreadable():
    counting.require_images(3, {"no_image": 2})
    counting.require_images(3, {"duplicate": 3})
    counting.require_images(0, {})
    with pytest.raises(
        SchemaError, match=r"would leave out all 3 samples, .* \(no_id 1, no_image 2\)\. Set it to keep"
    ):
        counting.require_images(3, {"no_id": 1, "no_image": 2})


def test_removed_samples_are_counted_by_reason(spark):
    removed = local_rows(spark, [("unreadable",), ("duplicate",), ("duplicate",)], "reason string")

    assert list(counting.count_removed(removed).items()) == [("duplicate", 2), ("unreadable", 1)]


def test_the_resolved_settings_are_yaml_that_loads_back():
    config = parse_config({"input": {"path": ["a", "b"], "root": "r"}, "identify": {"eps": 0.25}})

    assert parse_config(yaml.safe_load(counting.to_yaml(config))) == config
