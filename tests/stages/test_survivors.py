"""Who stays for whom, on tables made by hand."""

from __future__ import annotations

from spark_imgdedup import schemas
from spark_imgdedup.config import parse_config
from spark_imgdedup.stages.grouping.survivors import exchange, final_columns, follow_copies, name_survivors, stand_in
from spark_imgdedup.stages.local_rows import local_rows

CONFIG = parse_config(
    {"detect": {"prepass": ["exact"]}, "pairwise": {"keep": "pixels desc"}, "identify": {"rule": "greedy", "eps": 0.1}}
)
SIZES = {name: 100 * (9 - place) for place, name in enumerate("abcdefgh")}


def rows(spark):
    data = [(name, size, 0) for name, size in SIZES.items()]
    return local_rows(spark, data, "image_id string, pixels bigint, dup_count bigint")


def named(found):
    return {row["image_id"]: (row["max_id"], row["kept_id"], row["group_id"]) for row in found.collect()}


def found_by_scores(spark, pairs):
    data = [(one, other, 0.95, 3, "embedding", SIZES[one], 0) for one, other in pairs]
    columns = "image_id string, max_id string, cosine_sim_score double, cluster_id int, found_by string"
    return local_rows(spark, data, f"{columns}, pixels bigint, dup_count bigint")


def selected(spark, pairs):
    columns = schemas.DUPLICATES.format(id="image_id string", id_type="string")
    data = [
        (*(one, kept, 0.95, 3, "embedding", kept, None, "greedy", kept), SIZES[one], 0, SIZES[kept])
        for one, kept in pairs
    ]
    return local_rows(spark, data, f"{columns}, pixels bigint, dup_count bigint, kept_pixels bigint")


def copies(spark, pairs):
    return local_rows(spark, pairs, "image_id string, max_id string")


def ids(spark, *names):
    return local_rows(spark, [(name,) for name in names], "image_id string")


def test_the_end_of_a_chain_stays_for_all_of_it(spark):
    found = name_survivors(
        found_by_scores(spark, [("b", "a"), ("c", "b"), ("d", "c"), ("f", "e")]), rows(spark), CONFIG
    )

    assert named(found) == {
        "b": ("a", "a", "a"),
        "c": ("b", "a", "a"),
        "d": ("c", "a", "a"),
        "f": ("e", "e", "e"),
    }
    assert found.columns == final_columns(CONFIG)
    assert {row["image_id"]: (row["pixels"], row["kept_pixels"]) for row in found.collect()}["d"] == (600, 900)


def test_a_copy_follows_the_image_that_it_repeats_to_the_one_that_stays(spark):
    gone = selected(spark, [("b", "a")])

    found = follow_copies(copies(spark, [("c", "b"), ("e", "d")]), gone, rows(spark), CONFIG)

    assert named(found) == {"c": ("a", "a", "a"), "e": ("d", "d", "d")}
    scores = {row["image_id"]: (row["cosine_sim_score"], row["found_by"]) for row in found.collect()}
    assert scores == {"c": (0.95, "exact"), "e": (1.0, "exact")}
    assert found.columns == gone.columns == final_columns(CONFIG)


def test_without_a_search_a_copy_goes_for_the_image_that_it_repeats(spark):
    assert named(follow_copies(copies(spark, [("c", "b")]), None, rows(spark), CONFIG)) == {"c": ("b", "b", "b")}


def test_an_image_gives_way_to_a_copy_that_must_stay_unless_it_must_itself(spark):
    among = copies(spark, [("b", "a"), ("c", "a"), ("e", "d"), ("g", "f")])

    found = stand_in(among, ids(spark, "c", "b", "d", "e"), CONFIG)

    assert {(row["survivor"], row["stands"]) for row in found.collect()} == {("a", "b")}


def test_what_stayed_for_an_image_that_gives_way_names_the_one_in_its_place(spark):
    # a stays for x = c; its copy b must stay, so a goes for b, and c too.
    found = selected(spark, [("c", "a"), ("e", "d")])
    instead = stand_in(copies(spark, [("b", "a")]), ids(spark, "b"), CONFIG)

    exchanged = exchange(found, instead, rows(spark), CONFIG)

    assert named(exchanged) == {"a": ("b", "b", "b"), "c": ("b", "b", "b"), "e": ("d", "d", "d")}
    sizes = {row["image_id"]: row["kept_pixels"] for row in exchanged.collect()}
    assert sizes == {"a": 800, "c": 800, "e": 600}
    assert not {row["kept_id"] for row in exchanged.collect()} & set(named(exchanged))
