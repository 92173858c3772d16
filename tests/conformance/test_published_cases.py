"""Small cases with the results that NeMo Curator's tests state, or that follow from them by hand.

Rows of T2 to T6: ids 0 to 5, one cluster whose centroid is row 0; rows 4 and 5 repeat it. Each goes through the kernels
alone and through the stages, from a table of embeddings to the duplicates.
"""

from __future__ import annotations

import numpy as np
import pytest

from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import ConfigError, SchemaError
from spark_imgdedup.kernels.kmeans import nearest_centroid
from spark_imgdedup.kernels.pairwise import max_similarity_to_earlier
from spark_imgdedup.kernels.ranking import RankKey, rank_order
from spark_imgdedup.kernels.vectors import l2_normalize
from spark_imgdedup.stages.cluster import assign_clusters
from spark_imgdedup.stages.identify import identify_duplicates
from spark_imgdedup.stages.local_rows import local_rows
from spark_imgdedup.stages.pairwise import score_pairs
from spark_imgdedup.stages.preference import preference, rank_struct, sort_keys
from tests.arrow import computed
from tests.conformance.test_kernels_against_oracle import by_kernels, ours

SIX = l2_normalize(np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11, 12], [1, 2, 3], [1, 2, 3]], np.float64))
CUSTOM_SCORE = [0.1, 0.8, 0.3, 0.9, 0.2, 0.15]
PRIORITY = [3, 1, 2, 1, 3, 2]
DISTANCES = [0, 0.025368, 0.040588, 0.048742, 0, 0]
L2_DISTANCES = [0, 0.225247, 0.284914, 0.312223, 0, 0]
# Cosines between rows 0 to 3.
S01, S12, S13, S23 = 0.974632, 0.998191, 0.996150, 0.999619
EPS = (0.1, 0.01, 0.003, 0.001)

BY_SCORE = {"which_to_keep": "metadata", "metadata_columns": ["custom_score"], "ascending": False}
BY_PRIORITY = {
    "which_to_keep": "metadata",
    "metadata_columns": ["priority", "custom_score"],
    "ascending": [True, False],
}
HARD = ([3, 2, 1, 5, 4, 0], [3, 3, 2, 1, 5, 5], [0, S23, S12, S01, 1, 1])
EASY = ([0, 4, 5, 1, 2, 3], [0, 0, 0, 0, 1, 2], [0, 1, 1, S01, S12, S23])
# pairwise settings -> ids in rank order, their max_id, their cosine_sim_score
RANKED = {
    "hard cosine": ({"which_to_keep": "hard", "distance_metric": "cosine"}, *HARD),
    "hard l2": ({"which_to_keep": "hard", "distance_metric": "l2"}, *HARD),
    "easy cosine": ({"which_to_keep": "easy", "distance_metric": "cosine"}, *EASY),
    "easy l2": ({"which_to_keep": "easy", "distance_metric": "l2"}, *EASY),
    "score": (BY_SCORE, [3, 1, 2, 4, 5, 0], [3, 3, 3, 1, 4, 4], [0, S13, S23, S01, 1, 1]),
    "priority": (BY_PRIORITY, [3, 1, 2, 5, 4, 0], [3, 3, 3, 1, 5, 5], [0, S13, S23, S01, 1, 1]),
}
# The ids that leave at each eps of EPS. Of priority, id 1 stays at 0.003 (T2's cosine to 3 is 0.996150 < 0.997).
REMOVED = {
    "hard cosine": [{0, 1, 2, 4, 5}, {0, 1, 2, 4}, {0, 1, 2, 4}, {0, 2, 4}],
    "easy cosine": [{1, 2, 3, 4, 5}, {2, 3, 4, 5}, {2, 3, 4, 5}, {3, 4, 5}],
    "score": [{0, 1, 2, 4, 5}, {0, 1, 2, 5}, {0, 2, 5}, {0, 2, 5}],
    "priority": [{0, 1, 2, 4, 5}, {0, 1, 2, 4}, {0, 2, 4}, {0, 2, 4}],
}


def settings(pairwise, eps=0.01, metadata=("priority", "custom_score")):
    cluster = {"embeddings_path": "embeddings", "embedding_field": "embedding", "metadata_columns": list(metadata)}
    return parse_config({"cluster": cluster, "pairwise": pairwise, "identify": {"eps": eps}})


def kernels(pairwise):
    """T2 through the kernels, by id."""
    columns = {"custom_score": CUSTOM_SCORE, "priority": PRIORITY}
    section = settings(pairwise).pairwise
    keys = [(columns[name], up) for name, up in section.keys]
    return by_kernels(SIX, list(range(6)), SIX[:1], section.which_to_keep, seed=42, keys=keys)


@pytest.fixture(scope="module")
def stages(_session):
    """T2 through the stages: similarities, kept for all tests. Rows 0 to 2 and 3 to 5 are in two partitions."""
    rows = [(i, SIX[i].tolist(), PRIORITY[i], CUSTOM_SCORE[i]) for i in range(6)]
    schema = "id bigint, embedding array<double>, priority int, custom_score double"
    kept = {}

    def similarities(name, pairwise):
        if name not in kept:
            config = settings(pairwise)
            df = local_rows(_session, rows, schema).repartitionByRange(2, "id")
            scored = score_pairs(assign_clusters(df, SIX[:1], config), config)
            kept[name] = computed(scored).coalesce(1)
        return kept[name]

    return similarities


@pytest.mark.parametrize("batch_size", range(1, 7))
def test_t1_rows_in_input_order(batch_size):
    scores, indices = max_similarity_to_earlier(SIX, batch_size=batch_size)

    assert scores.tolist() == [0, S01, S12, S23, 1, 1]
    assert indices.tolist() == [0, 0, 1, 2, 0, 0]


@pytest.mark.parametrize("batch_size", [100, 512, 2048])
def test_t1_a_thousand_rows_in_batches_of_any_size(batch_size):
    rows = l2_normalize(np.random.default_rng(0).standard_normal((1024, 512)))

    whole, batched = (max_similarity_to_earlier(rows, batch_size=size) for size in (1024, batch_size))

    assert batched[0].tolist() == whole[0].tolist()
    assert batched[1].tolist() == whole[1].tolist()


def test_t2_distances_and_why_l2_ranks_as_cosine_does():
    _, distances = nearest_centroid(SIX, SIX[:1])

    assert distances.tolist() == DISTANCES
    assert np.sqrt(2 * distances) == pytest.approx(L2_DISTANCES, abs=1e-5)
    assert np.linalg.norm(SIX.astype(np.float64) - SIX[0], axis=1) == pytest.approx(L2_DISTANCES, abs=1e-5)


@pytest.mark.parametrize("name", RANKED)
def test_t2_ranking_in_the_kernels(name):
    pairwise, order, max_ids, scores = RANKED[name]

    scored = kernels(pairwise)

    assert sorted(scored, key=lambda id_: scored[id_].rank) == order
    assert [scored[id_].max_id for id_ in order] == max_ids
    assert [scored[id_].cosine_sim_score for id_ in order] == scores


@pytest.mark.parametrize("name", RANKED)
def test_t2_ranking_in_the_stages(stages, name):
    pairwise, order, max_ids, scores = RANKED[name]

    found = {row.id: row for row in stages(name, pairwise).collect()}

    assert [found[id_].max_id for id_ in order] == max_ids
    assert [found[id_].cosine_sim_score for id_ in order] == scores
    assert [found[id_].cosine_dist_to_cent for id_ in range(6)] == DISTANCES
    assert [found[id_].priority for id_ in range(6)] == PRIORITY
    assert [found[id_].custom_score for id_ in range(6)] == CUSTOM_SCORE


def test_t2_a_random_order_repeats_and_names_ids_of_the_cluster(stages):
    scored = kernels({"which_to_keep": "random"})

    assert scored == kernels({"which_to_keep": "random"})
    assert sorted(row.rank for row in scored.values()) == [0, 1, 2, 3, 4, 5]
    assert {row.max_id for row in scored.values()} <= set(range(6))
    assert all(0 <= row.cosine_sim_score <= 1 for row in scored.values())
    found = {
        row.id: (row.max_id, row.cosine_sim_score) for row in stages("random", {"which_to_keep": "random"}).collect()
    }
    assert found == {id_: (row.max_id, row.cosine_sim_score) for id_, row in scored.items()}


@pytest.mark.parametrize("name", REMOVED)
def test_t3_removed_sets_in_the_kernels(name):
    scored = kernels(RANKED[name][0])

    assert [ours.removed_by_semdedup(scored, eps) for eps in EPS] == REMOVED[name]


@pytest.mark.parametrize("name", REMOVED)
def test_t3_removed_sets_in_the_stages(stages, name):
    pairwise = RANKED[name][0]
    similarities = stages(name, pairwise)

    removed = [
        {row.id for row in identify_duplicates(similarities, settings(pairwise, eps)).select("id").collect()}
        for eps in EPS
    ]

    assert removed == REMOVED[name]


def test_t4_a_single_row_names_itself_with_a_score_of_zero_and_stays_at_any_eps(spark):
    config = settings({"which_to_keep": "hard"}, metadata=())
    df = local_rows(spark, [(7, SIX[0].tolist())], "id bigint, embedding array<double>")

    similarities = computed(score_pairs(assign_clusters(df, SIX[1:2], config), config))

    assert by_kernels(SIX[:1], [7], SIX[1:2], "hard") == {7: ours.Scored(0, 0.025368, 0, 7, 0.0)}
    assert [(row.id, row.max_id, row.cosine_sim_score) for row in similarities.collect()] == [(7, 7, 0.0)]
    for eps in (0.0, 0.5, 0.999999):
        assert identify_duplicates(similarities, settings({}, eps, metadata=())).collect() == []


def test_t5_three_rows_by_priority_and_score(spark):
    half = 2**-0.5
    rows = [(1, [1.0, 0.0], 3, 0.9), (2, [0.0, 1.0], 1, 0.5), (3, [half, half], 2, 0.7)]
    config = settings(BY_PRIORITY)
    df = local_rows(spark, rows, "id int, embedding array<double>, priority int, custom_score double")

    found = score_pairs(assign_clusters(df, np.eye(1, 2, dtype=np.float32), config), config).collect()

    order = rank_order(
        [1, 2, 3],
        np.zeros(3),
        which_to_keep="metadata",
        random_state=0,
        keys=[RankKey("priority", [3, 1, 2]), RankKey("custom_score", [0.9, 0.5, 0.7], ascending=False)],
    )
    assert order.tolist() == [1, 2, 0]  # ids 2, 3, 1
    assert {row.id: (row.max_id, row.cosine_sim_score) for row in found} == {
        2: (2, 0.0),
        3: (2, 0.707107),
        1: (3, 0.707107),
    }


@pytest.mark.parametrize(("name", "kept"), [("easy cosine", {0, 1}), ("hard cosine", {3, 5})])
def test_t6_a_chain_leaves_link_by_link_even_where_no_kept_row_is_within_eps(stages, name, kept):
    pairwise = RANKED[name][0]

    duplicates = identify_duplicates(stages(name, pairwise), settings(pairwise, 0.003))

    assert set(range(6)) - {row.id for row in duplicates.collect()} == kept
    assert set(range(6)) - ours.removed_by_semdedup(kernels(pairwise), 0.003) == kept


def test_t7_a_row_opposite_to_all_before_it_keeps_its_negative_score(spark):
    opposite = np.array([[1, 0], [-1, 0]], np.float32)
    config = settings({"which_to_keep": "easy"}, metadata=())
    df = local_rows(spark, [*enumerate(opposite.tolist())], "id bigint, embedding array<double>")

    found = score_pairs(assign_clusters(df, opposite[:1], config), config).collect()

    scores, indices = max_similarity_to_earlier(opposite)
    assert (scores.tolist(), indices.tolist()) == ([0, -1], [0, 0])
    assert {row.id: (row.max_id, row.cosine_sim_score) for row in found} == {0: (0, 0.0), 1: (0, -1.0)}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([("dist", [0.1, 0.8, 0.3, 0.6], False)], [2, 4, 3, 1]),
        ([("dist", [0.1, 0.8, 0.3, 0.6], True)], [1, 3, 4, 2]),
        ([("priority", [2, 1, 3, 1], True), ("score", [0.9, 0.3, 0.7, 0.5], False)], [4, 2, 1, 3]),
        ([("metric", [10, 5, 20], False)], [3, 1, 2]),
    ],
)
def test_t14_ranking_by_columns(keys, expected):
    ids = list(range(1, len(expected) + 1))

    order = rank_order(
        ids, np.zeros(len(ids)), which_to_keep="metadata", random_state=0, keys=[RankKey(*key) for key in keys]
    )

    assert [ids[place] for place in order] == expected


def test_t14_hard_and_easy_rank_by_the_distance_as_the_column_does():
    ids, distances = [1, 2, 3, 4], np.array([0.1, 0.8, 0.3, 0.6])

    orders = [rank_order(ids, distances, which_to_keep=which, random_state=0) for which in ("hard", "easy")]

    assert [[ids[place] for place in order] for order in orders] == [[2, 4, 3, 1], [1, 3, 4, 2]]


@pytest.mark.parametrize(
    ("pairwise", "message"),
    [
        (BY_SCORE | {"metadata_columns": ["quality"]}, r"quality does not reach the clusters"),
        (BY_SCORE | {"ascending": [True, False]}, r"2 directions for 1 metadata_columns"),
        ({"which_to_keep": "worst"}, r"pairwise\.which_to_keep: .*, got 'worst'"),
    ],
)
def test_t14_what_cannot_be_ranked_by_is_refused_when_the_settings_are_read(pairwise, message):
    with pytest.raises(ConfigError, match=message):
        settings(pairwise)


def test_t14_a_column_that_the_table_lacks_is_refused_before_any_work_with_those_it_has(spark):
    df = local_rows(spark, [], "id bigint, embedding array<double>, priority int")

    with pytest.raises(SchemaError, match=r"needs custom_score, but its input has id, embedding, priority"):
        assign_clusters(df, SIX[:1], settings(BY_SCORE))


def test_rows_that_share_no_cluster_are_preferred_in_the_same_order(spark):
    ids = ["a", "B", "é", "\U0001f600", "e", "f", "g", "h"]
    sizes = [2.0, None, float("nan"), -0.0, 0.0, 2.0, float("inf"), None]
    names = ["x", "x", None, "é", "z", "\U0001f600", None, "x"]
    df = local_rows(spark, list(zip(ids, sizes, names, strict=True)), "image_id string, size double, name string")

    for columns, ascending in ((["size", "name"], [True, False]), (["name", "size"], [True, False]), (["size"], False)):
        pairwise = {"which_to_keep": "metadata", "metadata_columns": columns, "ascending": ascending}
        config = parse_config({"pairwise": pairwise, "cluster": {"metadata_columns": columns}})
        order = preference(config, with_distances=False)
        by_spark = df.select(rank_struct(df, order)).orderBy(*sort_keys(order)).select("rank.image_id").collect()

        values = {"size": sizes, "name": names}
        keys = [RankKey(name, values[name], up) for name, up in config.rank_keys]
        ranked = rank_order(ids, np.zeros(len(ids)), which_to_keep="metadata", random_state=0, keys=keys)

        assert [row.image_id for row in by_spark] == [ids[place] for place in ranked], columns
