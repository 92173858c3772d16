"""Against the components of all pairs."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_imgdedup.kernels import forest
from spark_imgdedup.kernels.cosines import rounded_cosines
from spark_imgdedup.kernels.forest import spanning_forest
from spark_imgdedup.kernels.vectors import UnitRows, l2_normalize


def unit_rows(n, dim, seed=0):
    return l2_normalize(np.random.default_rng(seed).standard_normal((n, dim)))


def components(n, edges):
    """The lowest node of each node's component."""
    root = list(range(n))

    def find(node):
        while root[node] != node:
            node = root[node]
        return node

    for left, right in edges:
        one, other = find(left), find(right)
        root[max(one, other)] = min(one, other)
    return [find(node) for node in range(n)]


@st.composite
def chains(draw):
    """Rows a few steps apart, so that components are longer than one pair."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    n, dim = draw(st.integers(1, 50)), draw(st.integers(2, 12))
    steps = rng.standard_normal((n, dim)) * rng.choice([1e-4, 1e-3, 0.1, 3.0], (n, 1))
    return l2_normalize(rng.standard_normal(dim) + np.cumsum(steps, axis=0))[rng.permutation(n)]


SETTINGS = (
    st.sampled_from([0.9999999, 0.999999, 0.9999, 0.95, 0.3, -1.0]),
    st.sampled_from([1, 3, 16, 1024]),
    st.sampled_from([0, 20, 2**18]),
)


@given(chains(), *SETTINGS)
def test_the_forest_joins_what_all_similar_pairs_join_and_has_no_edge_to_spare(xp, rows, min_cosine, batch_size, most):
    rows = UnitRows.of(rows)
    cosines = rounded_cosines(rows, rows)
    left, right = np.nonzero(np.triu(cosines >= min_cosine, 1))
    expected = components(len(rows), zip(left.tolist(), right.tolist(), strict=True))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forest, "_MAX_PAIRS", most)
        found = spanning_forest(UnitRows.of(xp.asarray(rows.vectors)), min_cosine, batch_size=batch_size)

    assert components(len(rows), zip(found.left.tolist(), found.right.tolist(), strict=True)) == expected
    assert len(found.left) == len(rows) - len(set(expected))
    assert (found.left < found.right).all()
    assert found.cosines.tolist() == cosines[found.left, found.right].tolist()
    assert (found.cosines >= min_cosine).all()


@given(chains(), st.floats(0, 1), *SETTINGS)
def test_the_forest_of_two_sets_joins_rows_of_both(xp, rows, share, min_cosine, batch_size, most):
    n_left = round(share * len(rows))
    rows, others = UnitRows.of(rows[:n_left]), UnitRows.of(rows[n_left:])
    cosines = rounded_cosines(rows, others)
    left, right = np.nonzero(cosines >= min_cosine)
    n = len(rows) + len(others)
    expected = components(n, zip(left.tolist(), (right + n_left).tolist(), strict=True))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forest, "_MAX_PAIRS", most)
        a, b = (UnitRows.of(xp.asarray(each.vectors)) for each in (rows, others))
        found = spanning_forest(a, min_cosine, b, batch_size=batch_size)

    assert components(n, zip(found.left.tolist(), (found.right + n_left).tolist(), strict=True)) == expected
    assert len(found.left) == n - len(set(expected))
    assert found.cosines.tolist() == cosines[found.left, found.right].tolist()


def test_a_crowd_takes_far_less_memory_than_its_pairs():
    rows = UnitRows.of(l2_normalize(unit_rows(1, 16) + 1e-3 * unit_rows(4000, 16, seed=1)))

    tracemalloc.start()
    found = spanning_forest(rows, 0.99, batch_size=512)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert len(found.left) == 3999
    assert peak_bytes < 4000 * 4000 / 2 * 16 / 8


def test_what_cannot_be_joined_is_refused():
    rows = UnitRows.of(unit_rows(3, 8))
    with pytest.raises(ValueError, match=r"batch_size must be at least 1, got 0"):
        spanning_forest(rows, 0.9, batch_size=0)
    with pytest.raises(ValueError, match=r"Rows of 8 and 5 numbers cannot be compared"):
        spanning_forest(rows, 0.9, UnitRows.of(unit_rows(3, 5)))
