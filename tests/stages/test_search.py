"""Tiles against the definition: one list of all rows in the order of preference, compared one by one in float64."""

from __future__ import annotations

import numpy as np
import pytest

from spark_imgdedup.kernels.vectors import l2_normalize
from spark_imgdedup.stages.centroids import fit_centroids
from spark_imgdedup.stages.cluster import assign_clusters
from spark_imgdedup.stages.pairwise import score_pairs
from spark_imgdedup.stages.searching import search as stage
from spark_imgdedup.stages.searching.search import search_blocks
from spark_imgdedup.stages.user_input.user_tables import open_table
from tests.stages.vectors import DIM, EPS, blocks_of, crowded, folders, settings, written


def searched(spark, tmp_path, config, **build):
    blocks, sample = blocks_of(spark, tmp_path, config, **build)
    search = search_blocks(blocks, sample, EPS, folders(tmp_path))
    return search, rows_of(search.similarities)


def rows_of(similarities):
    columns = ("max_id", "cosine_sim_score", "cluster_id", "cosine_dist_to_cent")
    return {row["id"]: tuple(row[name] for name in columns) for row in similarities.collect()}


def definition(rows, found, rank=lambda id_, distance: (distance, id_), *, reverse=True):
    """{id: (score, max_id)} of every row against all that are preferred to it."""
    ids = [f"id-{number:04}" for number in range(len(rows))]
    order = sorted(ids, key=lambda id_: rank(id_, found[id_][3]), reverse=reverse)
    unit = l2_normalize(rows).astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    vectors = unit[[int(id_[3:]) for id_ in order]]
    result = {order[0]: (0.0, order[0])}
    for place in range(1, len(order)):
        scores = np.round(vectors[:place] @ vectors[place], 6)
        best = int(scores.argmax())
        result[order[place]] = (float(scores[best]), order[best])
    return result


ROWS = crowded()
LOW = 1 - EPS


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return written(tmp_path_factory.mktemp("vectors") / "embeddings", ROWS)


def test_all_pairs_are_compared_by_probes_all(spark, tmp_path, table):
    search, found = searched(spark, tmp_path, settings(table, pairwise={"probes": "all"}))

    expected = definition(ROWS, found)
    assert {id_: (row[1], row[0]) for id_, row in found.items()} == expected
    assert search.n_pairs == len(ROWS) * (len(ROWS) - 1) // 2
    assert search.recall.value == 1.0


def test_a_whole_margin_finds_every_pair_within_eps_and_its_earliest_partner(spark, tmp_path, table):
    search, found = searched(spark, tmp_path, settings(table, pairwise={"probes": "margin"}))

    expected = definition(ROWS, found)
    near = {id_ for id_, (score, _) in expected.items() if score >= LOW}
    assert len(near) > 50
    assert {id_: (found[id_][1], found[id_][0]) for id_ in near} == {id_: expected[id_] for id_ in near}
    assert not [id_ for id_, row in found.items() if row[1] > expected[id_][0]]
    assert search.n_pairs < len(ROWS) * (len(ROWS) - 1) // 2
    assert search.recall.value == 1.0
    assert search.recall.pairs > 20


@pytest.mark.parametrize("probes", [2, 3])
def test_more_clusters_find_more_and_as_many_as_there_are_find_all(spark, tmp_path, table, probes):
    few, found = searched(spark, tmp_path / "few", settings(table, pairwise={"probes": probes}))
    expected = definition(ROWS, found)

    assert len(found) == len(ROWS)
    assert all(row[1] <= expected[id_][0] for id_, row in found.items() if row[0] != id_)
    all_of_them, whole = searched(spark, tmp_path / "all", settings(table, pairwise={"probes": 9}))
    assert {id_: (row[1], row[0]) for id_, row in whole.items()} == expected
    assert few.recall.value is not None
    assert few.recall.value <= all_of_them.recall.value == 1.0


def test_home_gives_the_rows_of_the_engine_that_compares_one_cluster_at_a_time(spark, tmp_path, table):
    config = settings(table, pairwise={"probes": "home"})
    search, found = searched(spark, tmp_path, config)

    df = open_table(spark, (str(table),))
    clusters = assign_clusters(df, fit_centroids(df, config), config)
    assert rows_of(score_pairs(clusters, config)) == found
    assert 0 < search.recall.value < 1


@pytest.mark.parametrize("which", ["easy", "random", "metadata"])
def test_other_rankings_hold_across_clusters(spark, tmp_path, table, which):
    ranked = {"metadata_columns": ["size"], "ascending": False} if which == "metadata" else {}
    config = settings(
        table,
        cluster={"metadata_columns": ["size"]},
        pairwise={"probes": "margin", "which_to_keep": which, **ranked},
    )
    _, found = searched(spark, tmp_path / "margin", config)
    whole = config.model_copy(update={"pairwise": config.pairwise.model_copy(update={"probes": "all"})})
    _, expected = searched(spark, tmp_path / "all", whole)

    near = {id_ for id_, row in expected.items() if row[1] >= LOW and row[0] != id_}
    assert len(near) > 50
    assert {id_: found[id_] for id_ in near} == {id_: expected[id_] for id_ in near}


def test_clusters_that_are_cut_into_tiles_give_the_same_rows(spark, tmp_path, table, monkeypatch):
    config = settings(table, pairwise={"probes": "margin"})
    _, whole = searched(spark, tmp_path / "whole", config)
    monkeypatch.setattr(stage, "SIDE_BYTES", 4 * DIM * 17)
    _, cut = searched(spark, tmp_path / "cut", config)

    assert cut == whole


def test_vectors_through_rows_and_from_files_give_the_same_rows(spark, tmp_path, table):
    config = settings(table, pairwise={"probes": "margin", "batch_size": 32})
    _, from_files = searched(spark, tmp_path / "files", config)
    _, through_rows = searched(spark, tmp_path / "rows", config, through_rows=True)

    assert from_files == through_rows


def test_other_files_and_another_order_of_rows_give_the_same_rows(spark, tmp_path, table):
    ids = [f"id-{number:04}" for number in range(len(ROWS))]
    mixed = np.random.default_rng(1).permutation(len(ROWS))
    other = written(tmp_path / "other", ROWS[mixed], n_files=2, ids=[ids[place] for place in mixed])
    _, expected = searched(spark, tmp_path / "one", settings(table, pairwise={"probes": 2}))
    _, found = searched(spark, tmp_path / "two", settings(other, pairwise={"probes": 2}))

    assert found == expected


def test_auto_takes_the_cheapest_plan_that_finds_enough_and_says_why(spark, tmp_path, table):
    sure = settings(table, pairwise={"probes": "auto", "target_recall": 1.0}, report={"recall_sample": 4096})
    search, found = searched(spark, tmp_path / "sure", sure)
    easy = settings(table, pairwise={"probes": "auto", "target_recall": 0.1}, report={"recall_sample": 4096})
    plain, _ = searched(spark, tmp_path / "easy", easy)

    assert (str(plain.plan), plain.n_pairs < search.n_pairs) == ("home", True)
    assert str(search.plan) != "home"
    assert "home finds" in search.why
    expected = definition(ROWS, found)
    near = {id_ for id_, (score, _) in expected.items() if score >= LOW}
    missed = {id_ for id_ in near if found[id_][1] < LOW}
    assert len(missed) <= 0.02 * len(near)
