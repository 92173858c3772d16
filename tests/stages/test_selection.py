"""The rules on files of groups, against a walk through all rows in rank order over every pair."""

from __future__ import annotations

from collections import Counter
from functools import cache

import numpy as np
import pytest

from spark_imgdedup.files import artifacts
from spark_imgdedup.kernels.vectors import l2_normalize
from spark_imgdedup.stages.centroids import fit_centroids
from spark_imgdedup.stages.cluster import assign_clusters
from spark_imgdedup.stages.grouping import group_files, large_groups
from spark_imgdedup.stages.grouping.components import label_in_one_task
from spark_imgdedup.stages.grouping.glue import link_edges
from spark_imgdedup.stages.grouping.group_files import extent_of, write_groups
from spark_imgdedup.stages.grouping.members import reach_at
from spark_imgdedup.stages.grouping.said import said_of
from spark_imgdedup.stages.grouping.selection import select_duplicates, select_in_clusters
from spark_imgdedup.stages.grouping.sweep import Sweep
from spark_imgdedup.stages.searching.search import search_blocks
from spark_imgdedup.stages.user_input.user_tables import open_table
from tests.stages.vectors import EPS, blocks_of, crowded, folders, settings, written

ROWS = crowded()
IDS = [f"id-{number:04}" for number in range(len(ROWS))]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return written(tmp_path_factory.mktemp("vectors") / "embeddings", ROWS)


@pytest.fixture(scope="module")
def grouped(_session, tmp_path_factory, table):
    """Gives the blocks of a table, their groups, and the distance of each row to its centroid; searches once a way."""

    @cache
    def searched(probes):
        folder, config = tmp_path_factory.mktemp("search"), settings(table, pairwise={"probes": probes})
        blocks, sample = blocks_of(_session, folder, config)
        search = search_blocks(blocks, sample, EPS, folders(folder))
        rows = {row["id"]: row["cosine_dist_to_cent"] for row in search.similarities.collect()}
        return blocks, str(folder / "links"), rows

    @cache
    def make(probes="margin", bin_rows=group_files.BIN_ROWS):
        blocks, links, rows = searched(probes)
        labels = label_in_one_task(link_edges(blocks, links)).cache()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(group_files, "BIN_ROWS", bin_rows)
            folder = str(tmp_path_factory.mktemp("groups") / "groups")
            groups = write_groups(blocks, labels, extent_of(labels), folder)
        return blocks, groups, rows

    return make


def walk(distances, eps, never=(), apart=()):
    """{id: id that stays for it} by greedy, in the order of `hard`, over all pairs but those called different."""
    unit = l2_normalize(ROWS).astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    order = sorted(IDS, key=lambda id_: (id_ in never, distances[id_], id_), reverse=True)
    kept, gone = [], {}
    for id_ in order:
        near = [other for other in kept if np.round(unit[int(id_[3:])] @ unit[int(other[3:])], 6) >= round(1 - eps, 6)]
        stays = [other for other in near if frozenset((id_, other)) not in apart]
        if stays and id_ not in never:
            gone[id_] = stays[0]
        else:
            kept.append(id_)
    return gone


def pairs_of(found):
    return {row["id"]: row["kept_id"] for row in found.collect()}


@pytest.mark.parametrize("bin_rows", [16_384, 4])
@pytest.mark.parametrize("eps", [EPS, 0.01, 0.0])
def test_greedy_removes_what_a_walk_through_all_rows_removes(spark, table, grouped, bin_rows, eps):
    config = settings(table, pairwise={"probes": "margin"})
    blocks, groups, distances = grouped(bin_rows=bin_rows)

    found = select_duplicates(blocks, groups, reach_at(eps, config), "greedy").collect()

    expected = walk(distances, eps)
    assert {row["id"]: row["kept_id"] for row in found} == expected
    assert len(expected) >= 30
    unit = l2_normalize(ROWS).astype(np.float64)
    for row in found:
        assert row["max_id"] == row["kept_id"]
        one, other = unit[int(row["id"][3:])], unit[int(row["kept_id"][3:])]
        assert row["cosine_sim_score"] == pytest.approx(one @ other, abs=1e-6)
        assert row["cosine_sim_score"] >= round(1 - eps, 6)
        assert (row["rule"], row["found_by"], row["hamming"]) == ("greedy", "embedding", None)


@pytest.mark.parametrize("head_rows", [20, 50])
def test_groups_too_large_for_a_task_are_settled_by_rounds_with_the_same_result(
    spark, tmp_path, table, grouped, monkeypatch, head_rows
):
    config = settings(table, pairwise={"probes": "margin"})
    blocks, groups, distances = grouped()
    monkeypatch.setattr(large_groups, "BIN_ROWS", 12)
    monkeypatch.setattr(large_groups, "HEAD_ROWS", head_rows)
    never = set(list(walk(distances, EPS))[::5])
    hashes = artifacts.save(str(tmp_path / "never"), said_of(sorted(never)))
    numbers = iter(range(100))

    def store(df):
        path = str(tmp_path / "stored" / str(next(numbers)))
        df.write.parquet(path)
        return spark.read.parquet(path)

    apart = frozenset(map(frozenset, list(walk(distances, EPS).items())[::3]))
    different = artifacts.save(str(tmp_path / "apart"), said_of(sorted(never), map(sorted, apart)))

    for stays, must, cut in ((None, (), ()), (hashes, never, ()), (different, never, apart)):
        reach = reach_at(EPS, config)
        assert large_groups.is_large(groups).any()
        parts, rest = large_groups.Rounds(blocks, reach, stays, store).settle(groups)
        found = pairs_of(select_duplicates(blocks, rest, reach, "greedy", stays))
        for part in parts:
            assert not set(found) & set(pairs_of(part))
            found |= pairs_of(part)
        assert len(parts) > 1
        assert found == walk(distances, EPS, must, cut)


def test_components_keep_one_row_of_all_that_hang_together(spark, table, grouped):
    config = settings(table, pairwise={"probes": "margin"})
    blocks, groups, distances = grouped()

    found = select_duplicates(blocks, groups, reach_at(EPS, config), "components").collect()

    unit = l2_normalize(ROWS).astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    near = np.round(unit @ unit.T, 6) >= round(1 - EPS, 6)
    label = np.arange(len(ROWS))
    while not np.array_equal(lower := np.where(near, label[None, :], len(ROWS)).min(axis=1), label):
        label = lower
    members = {}
    for id_, number in zip(IDS, label.tolist(), strict=True):
        members.setdefault(number, []).append(id_)
    expected = {}
    for ids in members.values():
        first = max(ids, key=lambda id_: (distances[id_], id_))
        expected |= {id_: first for id_ in ids if id_ != first}
    assert {row["id"]: row["kept_id"] for row in found} == expected
    assert {row["id"]: row["group_id"] for row in found} == expected
    assert not {row["kept_id"] for row in found} & set(expected)


def test_rows_that_must_stay_stay_and_take_the_others(spark, tmp_path, table, grouped):
    config = settings(table, pairwise={"probes": "margin"})
    blocks, groups, distances = grouped()
    never = set(list(walk(distances, EPS))[::3])
    hashes = artifacts.save(str(tmp_path / "never"), said_of(sorted(never)))

    found = pairs_of(select_duplicates(blocks, groups, reach_at(EPS, config), "greedy", hashes))

    assert found == walk(distances, EPS, never)
    assert not set(found) & never


def test_a_sweep_counts_what_the_rule_removes_at_each_of_many_eps(spark, table, grouped):
    config = settings(table, pairwise={"probes": "margin"})
    blocks, groups, _ = grouped()
    levels = [round(EPS * step / 20, 6) for step in range(21)]

    survey = Sweep(blocks, groups).survey(levels, n_pairs=2)

    before = set()
    for level in survey:
        found = pairs_of(select_duplicates(blocks, groups, reach_at(level.eps, config), "greedy"))
        assert level.n_removed == len(found)
        assert level.n_new == len(set(found) - before)
        assert len(level.pairs) == min(2, level.n_new)
        assert all(found[pair.id] == pair.max_id for pair in level.pairs)
        stays_for = Counter(found.values())
        assert (level.n_groups, level.largest) == (len(stays_for), max(stays_for.values(), default=-1) + 1)
        before = set(found)
    assert survey[-1].n_removed > survey[0].n_removed > 0


def test_the_eps_that_keeps_a_share_keeps_it_and_a_millionth_more_does_not(spark, grouped):
    blocks, groups, _ = grouped()
    sweep = Sweep(blocks, groups)

    eps = sweep.eps_for_share(0.9, EPS)

    at, beyond = sweep.survey([eps, eps + 1e-6])
    assert len(ROWS) - at.n_removed >= 0.9 * len(ROWS) > len(ROWS) - beyond.n_removed


def test_of_dataframes_the_rule_is_applied_cluster_by_cluster(spark, table, grouped):
    config = settings(table, pairwise={"probes": "home"})
    df = open_table(spark, (str(table),))
    clusters = assign_clusters(df, fit_centroids(df, config), config)
    blocks, groups, _ = grouped("home")

    found = select_in_clusters(clusters, config)

    expected = select_duplicates(blocks, groups, reach_at(EPS, config), "greedy")
    assert pairs_of(found) == pairs_of(expected)
    assert found.columns == expected.columns
