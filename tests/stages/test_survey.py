"""What a sample says of plans: no Spark, but for the vectors' homes nothing is computed elsewhere."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from spark_imgdedup.config import parse_config
from spark_imgdedup.files import artifacts
from spark_imgdedup.files.blocks import BlockIndex
from spark_imgdedup.kernels.kmeans import nearest_centroid
from spark_imgdedup.kernels.vectors import UnitRows, l2_normalize
from spark_imgdedup.stages.searching import survey
from spark_imgdedup.stages.searching.blocks import Blocks, Sample
from spark_imgdedup.stages.searching.choice import CHOICES, choose_plan, made_pairs
from spark_imgdedup.stages.searching.probes import Plan
from spark_imgdedup.stages.searching.survey import NearPairs, halves, measure_recall

DIM = 8


def pairs_of(alphas, nearest, weights=None):
    n = len(alphas)
    weights = np.ones(n) if weights is None else np.array(weights, float)
    return NearPairs(np.arange(n), weights, np.array(alphas, float), np.array(nearest))


def space(tmp_path, n=300, k=12, **pairwise):
    """Blocks of which only the index and the centroids are looked at, and a sample of their rows."""
    rng = np.random.default_rng(0)
    centroids = l2_normalize(rng.standard_normal((k, DIM)))
    vectors = l2_normalize(rng.standard_normal((n, DIM)))
    homes = nearest_centroid(vectors, centroids)[0].astype(np.int64)
    counts = np.bincount(homes, minlength=k)[None, :] * 1000
    index = BlockIndex("blocks", ("0.parquet",), counts, DIM, "<f4")
    stored = artifacts.save(str(tmp_path / "centroids"), centroids)
    config = parse_config({"pairwise": pairwise})
    sample = Sample(pa.array([f"{number}" for number in range(n)]), homes, vectors)
    return Blocks(None, config, None, (), index, stored), sample


def test_a_plan_finds_the_pairs_that_need_no_more_than_it_does():
    pairs = pairs_of([0.0, 0.4, 0.9, 1.0, 3.0], [1, 2, 2, 5, 9])

    assert pairs.found_by(Plan("home")).tolist() == [True, False, False, False, False]
    assert pairs.found_by(Plan("nearest", n_nearest=2)).tolist() == [True, True, True, False, False]
    assert pairs.found_by(Plan("margin", alpha=0.9)).tolist() == [True, True, True, False, False]
    assert pairs.found_by(Plan("all")).all()


def test_recall_has_the_interval_of_wilson():
    found = measure_recall(pairs_of([0.0] * 90 + [2.0] * 10, [1] * 90 + [9] * 10), Plan("home"), 50)

    assert (found.value, found.pairs, found.rows) == (0.9, 100, 50)
    assert (found.low, found.high) == pytest.approx((0.825634, 0.944771), abs=1e-6)


def test_pairs_count_by_what_they_stand_for():
    found = measure_recall(pairs_of([0.0, 2.0], [1, 9], weights=[9, 1]), Plan("home"), 2)

    assert (found.value, found.pairs) == (0.9, 10)


def test_without_pairs_there_is_no_recall():
    found = measure_recall(pairs_of([], []), Plan("home"), 7)

    assert (found.value, found.low, found.high, found.pairs, found.rows) == (None, None, None, 0, 7)


def test_all_pairs_found_leave_room_for_one_that_was_not_in_the_sample():
    found = measure_recall(pairs_of([0.0] * 100, [1] * 100), Plan("home"), 50)

    assert (found.value, found.high) == (1.0, 1.0)
    assert 0.95 < found.low < 0.97


def crowd():
    """Rows of which many are near each other, with their ids and homes; each of the first ones is in the sample."""
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((9, DIM))[rng.integers(0, 9, 400)] + 0.02 * rng.standard_normal((400, DIM))
    unit, centroids = l2_normalize(vectors), l2_normalize(rng.standard_normal((5, DIM)))
    homes = nearest_centroid(unit, centroids)[0].astype(np.int32)
    ids = np.array([f"row {number}" for number in range(400)], object)
    return ids, homes, unit, UnitRows.of(centroids)


def looks_of(parts, eps=0.003):
    """What is seen of the crowd where its rows lie in these parts."""
    ids, homes, unit, centroids = crowd()
    sample = Sample(pa.array(ids[:30]), homes[:30].astype(np.int64), unit[:30])
    search = survey.Search.of(sample, UnitRows.of(unit[:30]), centroids, eps)
    found = []
    for rows in parts:
        thin = pa.table({"id": pa.array(ids[rows]), "cluster_id": pa.array(homes[rows])})
        found.append(search.look(thin, UnitRows.of(unit[rows])))
    return survey.pairs_seen(survey.first_drawn(found))


def test_of_the_many_pairs_of_one_row_some_are_looked_at_and_stand_for_all(monkeypatch):
    every = looks_of([np.arange(400)])
    monkeypatch.setattr(survey, "MOST_LOOKED_AT", 8)
    some = looks_of([np.arange(400)])

    _, _, unit, _ = crowd()
    near = np.round(unit[:30].astype(float) @ unit.T.astype(float), 6) >= 0.997
    assert np.bincount(every.rows).tolist() == (near.sum(axis=1) - 1).tolist()  # none is a pair with itself
    assert np.bincount(some.rows).max() <= 8 < near.sum(axis=1).min()
    assert some.weights.sum() == pytest.approx(every.weights.sum(), rel=0.2)


@pytest.mark.parametrize("seed", range(3))
def test_the_pairs_that_are_looked_at_are_the_same_however_rows_lie_in_files(monkeypatch, seed):
    monkeypatch.setattr(survey, "MOST_LOOKED_AT", 8)
    whole = looks_of([np.arange(400)])
    mixed = np.random.default_rng(seed).permutation(400)

    parts = looks_of(np.split(mixed, [1, 30, 90, 250]))

    for name in ("rows", "weights", "alphas", "nearest"):
        assert getattr(parts, name).tobytes() == getattr(whole, name).tobytes(), name


def test_rows_count_in_their_order_until_there_are_enough_pairs(monkeypatch):
    monkeypatch.setattr(survey, "ENOUGH_PAIRS", 5)
    rows = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    pairs = NearPairs(rows, np.ones(8), np.zeros(8), np.ones(8, np.int64))

    assert survey._enough(pairs).rows.tolist() == [0, 0, 0, 1, 1]


def test_rows_choose_or_measure_and_none_does_both():
    pairs = NearPairs(np.array([0, 1, 2, 3, 3]), np.ones(5), np.zeros(5), np.ones(5, np.int64))
    chosen_by, measured_by = halves(pairs)

    assert (chosen_by.rows.tolist(), measured_by.rows.tolist()) == ([0, 2], [1, 3, 3])


def test_made_pairs_are_at_eps_and_know_what_they_need(tmp_path):
    blocks, sample = space(tmp_path)
    rows, centroids = UnitRows.of(sample.vectors), UnitRows.of(artifacts.load(blocks.centroids))
    made = made_pairs(sample, rows, centroids, 0.05)

    assert len(made) == 5 * len(sample)
    assert made.found_by(Plan("margin", alpha=1.0)).all()  # the margin's promise holds for them too
    assert 0 < made.found_by(Plan("home")).mean() < 1


def test_pairs_of_one_home_need_no_more_than_home(tmp_path):
    blocks, sample = space(tmp_path)
    choice = choose_plan(blocks, sample, pairs_of([0.0] * 200, [1] * 200), 0.01)

    assert (choice.plan, "200 pairs of 300 sampled rows" in choice.why) == (Plan("home"), True)


def test_pairs_across_borders_need_the_cheapest_plan_that_finds_enough_of_them(tmp_path):
    blocks, sample = space(tmp_path, target_recall=0.99)
    pairs = pairs_of([0.0] * 900 + [0.45] * 95 + [0.8] * 5, [1] * 900 + [9] * 100)
    choice = choose_plan(blocks, sample, pairs, 0.01)

    assert choice.plan == Plan("margin", alpha=0.5)
    assert "finds 99.50% of 1,000 pairs" in choice.why
    assert "home finds 90.00%" in choice.why


def test_a_large_eps_makes_the_margin_dearer_than_all_pairs(tmp_path):
    blocks, sample = space(tmp_path, target_recall=1.0)
    choice = choose_plan(blocks, sample, pairs_of([0.0] * 150 + [0.99], [1] * 150 + [12]), 0.8)

    n = blocks.index.sizes.sum()
    assert (choice.plan, choice.pairs) == (Plan("all"), n * (n - 1) / 2)


def test_without_pairs_made_ones_judge_and_the_price_has_a_limit(tmp_path, monkeypatch):
    blocks, sample = space(tmp_path, target_recall=1.0)
    few = pairs_of([0.0], [1])
    generous = choose_plan(blocks, sample, few, 0.3)
    monkeypatch.setattr("spark_imgdedup.stages.searching.choice.MOST_TIMES", 1.5)
    limited = choose_plan(blocks, sample, few, 0.3)

    assert generous.plan.is_lossless
    assert "are too few" in generous.why or "finds every pair" in generous.why
    assert limited.pairs <= 1.5 * generous.pairs
    assert not limited.plan.is_lossless


def test_the_margins_of_the_choices_grow_and_all_comes_last():
    margins = [plan.alpha for plan in CHOICES if plan.probes == "margin"]

    assert margins == sorted(margins)
    assert math.isclose(margins[-1], 1.0)
    assert (CHOICES[0], CHOICES[-1]) == (Plan("home"), Plan("all"))
