"""Copies at borders: against the rule in float64, one row and one centroid at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_imgdedup.kernels.kmeans import nearest_centroid
from spark_imgdedup.kernels.probes import margin_copies, nearest_copies, needed_margin, needed_nearest
from spark_imgdedup.kernels.vectors import UnitRows, l2_normalize


def exact(rows):
    wide = rows.astype(np.float64)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)


def homes(rows, centroids):
    return nearest_centroid(rows, centroids)[0].astype(np.int64)


def copied(xp, function, rows, centroids, **settings_):
    home = homes(rows, centroids)
    found = function(UnitRows.of(xp.asarray(rows)), home, UnitRows.of(xp.asarray(centroids)), **settings_)
    return set(zip(*(column.tolist() for column in found), strict=True))


def by_the_rule(rows, centroids, eps, alpha):
    """The margin of semantics.md, with its slack."""
    x, c, home = exact(rows), exact(centroids), homes(rows, centroids)
    return {
        (i, j)
        for i in range(len(x))
        for j in range(len(c))
        if j != home[i]
        and (c[home[i]] - c[j]) @ x[i] <= alpha * math.sqrt((eps + 1e-6) / 2) * np.linalg.norm(c[home[i]] - c[j]) + 2e-6
    }


@st.composite
def spaces(draw):
    """Rows and centroids, with copies among the rows, equal centroids, and pairs at exactly some eps."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    dim, k = draw(st.integers(2, 12)), draw(st.integers(1, 8))
    centroids = l2_normalize(rng.standard_normal((k, dim)))
    if draw(st.booleans()):
        centroids = np.concatenate([centroids, centroids[:1]])
    rows = l2_normalize(rng.standard_normal((draw(st.integers(1, 40)), dim)))
    eps = draw(st.sampled_from([0.0, 1e-6, 0.01, 0.1, 0.4, 0.9]))
    aside = rng.standard_normal(rows.shape)
    aside -= (aside * rows).sum(axis=1, keepdims=True) * rows
    aside /= np.maximum(np.linalg.norm(aside, axis=1, keepdims=True), 1e-9)
    near = (1 - eps) * rows + math.sqrt(1 - (1 - eps) ** 2) * aside
    return np.concatenate([rows, l2_normalize(near), rows[:3]]).astype(np.float32), centroids, eps


@given(spaces())
def test_a_whole_margin_brings_every_pair_within_eps_together(xp, space):
    rows, centroids, eps = space
    home = homes(rows, centroids)
    copies = copied(xp, margin_copies, rows, centroids, eps=eps, alpha=1.0)
    cosines = np.round(exact(rows) @ exact(rows).T, 6)

    for i, j in zip(*np.nonzero(cosines >= round(1 - eps, 6)), strict=True):
        assert home[i] == home[j] or (i, home[j]) in copies or (j, home[i]) in copies


@given(spaces(), st.sampled_from([0.2, 0.5, 1.0]))
def test_the_margin_is_that_of_the_rule_to_a_rounding(xp, space, alpha):
    rows, centroids, eps = space
    copies = copied(xp, margin_copies, rows, centroids, eps=eps, alpha=alpha)
    expected = by_the_rule(rows, centroids, eps, alpha)

    x, c, home = exact(rows), exact(centroids), homes(rows, centroids)
    for i, j in copies ^ expected:
        bound = alpha * math.sqrt((eps + 1e-6) / 2) * np.linalg.norm(c[home[i]] - c[j]) + 2e-6
        assert abs((c[home[i]] - c[j]) @ x[i] - bound) < 1e-7


def test_rows_alone_and_together_have_the_same_copies(xp):
    rng = np.random.default_rng(3)
    rows, centroids = l2_normalize(rng.standard_normal((50, 8))), l2_normalize(rng.standard_normal((9, 8)))

    for function, settings_ in ((margin_copies, {"eps": 0.1, "alpha": 0.5}), (nearest_copies, {"n_nearest": 3})):
        together = copied(xp, function, rows, centroids, **settings_)
        alone = set()
        for place in range(len(rows)):
            found = copied(xp, function, rows[place : place + 1], centroids, **settings_)
            alone |= {(place, cluster) for _, cluster in found}
        assert together == alone


@given(spaces(), st.integers(2, 5))
def test_the_nearest_clusters_are_those_of_float64_and_the_lower_number_among_equals(xp, space, n_nearest):
    rows, centroids, _ = space
    copies = copied(xp, nearest_copies, rows, centroids, n_nearest=n_nearest)
    cosines, home = exact(rows) @ exact(centroids).T, homes(rows, centroids)

    n_others = min(n_nearest, len(centroids)) - 1
    assert len(copies) == n_others * len(rows)
    for i, j in copies:
        assert j != home[i]
        better = np.flatnonzero(cosines[i] > cosines[i, j] + 1e-9)
        assert len(set(better.tolist()) - {int(home[i])}) < n_others


def test_what_a_pair_needs_is_what_the_plans_then_do(xp):
    rng = np.random.default_rng(5)
    rows, centroids = l2_normalize(rng.standard_normal((80, 6))), l2_normalize(rng.standard_normal((7, 6)))
    centroids[5] = centroids[1]
    home = homes(rows, centroids)
    other = rng.integers(0, 7, 80)
    unit, cents = UnitRows.of(xp.asarray(rows)), UnitRows.of(xp.asarray(centroids))
    alphas = needed_margin(unit, home, other, cents, eps=0.1)
    nearest = needed_nearest(unit, home, other, cents)

    for alpha in (0.25, 0.5, 1.0):
        copies = copied(xp, margin_copies, rows, centroids, eps=0.1, alpha=alpha)
        assert [(i, j) in copies or home[i] == j for i, j in enumerate(other)] == (alphas <= alpha).tolist()
    for n in range(2, 8):
        copies = copied(xp, nearest_copies, rows, centroids, n_nearest=n)
        assert [(i, j) in copies or home[i] == j for i, j in enumerate(other)] == (nearest <= n).tolist()
    assert (alphas[home == other] == 0).all()
    assert (nearest[home == other] == 1).all()


def test_no_rows_have_no_copies(xp):
    centroids = UnitRows.of(xp.asarray(np.eye(2, 3, dtype=np.float32)))
    none = UnitRows.of(xp.asarray(np.zeros((0, 3), np.float32)))

    for found in (
        margin_copies(none, np.zeros(0, np.int64), centroids, eps=0.1, alpha=1.0),
        nearest_copies(none, np.zeros(0, np.int64), centroids, n_nearest=2),
    ):
        assert [column.tolist() for column in found] == [[], []]


def test_one_cluster_has_no_others(xp):
    rows = UnitRows.of(xp.asarray(l2_normalize(np.ones((4, 3)))))
    one = UnitRows.of(xp.asarray(l2_normalize(np.ones((1, 3)))))

    assert nearest_copies(rows, np.zeros(4, np.int64), one, n_nearest=2)[0].tolist() == []
    assert margin_copies(rows, np.zeros(4, np.int64), one, eps=0.5, alpha=1.0)[0].tolist() == []


@pytest.mark.parametrize("eps", [0.0, 0.2])
def test_a_row_between_two_equal_centroids_is_copied_to_the_other(xp, eps):
    rows, centroids = l2_normalize(np.ones((1, 2))), l2_normalize(np.array([[1.0, 0.2], [1.0, 0.2]]))

    assert copied(xp, margin_copies, rows, centroids, eps=eps, alpha=1.0) == {(0, 1)}
