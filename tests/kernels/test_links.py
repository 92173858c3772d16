"""Against the components of all pairs."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_imgdedup.kernels import links as kernel
from spark_imgdedup.kernels.cosines import rounded_cosines
from spark_imgdedup.kernels.links import Links
from spark_imgdedup.kernels.pairwise import best_across, best_earlier
from spark_imgdedup.kernels.vectors import UnitRows, l2_normalize


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


def found(links):
    """The components that the edges of `links` tell, and how many edges there are."""
    left, right = links.trees.edges()
    n = len(links.rows) + len(links.others or ())
    return components(n, zip(left.tolist(), right.tolist(), strict=True)), len(left)


@st.composite
def chains(draw):
    """Rows a few steps apart, so that components are longer than one pair; some are repeated."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    n, dim = draw(st.integers(1, 50)), draw(st.integers(2, 12))
    steps = rng.standard_normal((n, dim)) * rng.choice([1e-4, 1e-3, 0.1, 3.0], (n, 1))
    rows = l2_normalize(rng.standard_normal(dim) + np.cumsum(steps, axis=0))
    return rows[rng.integers(0, n, n)] if draw(st.booleans()) else rows[rng.permutation(n)]


SETTINGS = (
    st.sampled_from([0.9999999, 0.999999, 0.9999, 0.95, 0.3, -1.0]),
    st.sampled_from([1, 3, 16, 1024]),
    st.sampled_from([1, 20, 2**18]),
)


@given(chains(), st.integers(1, 5), *SETTINGS)
def test_rows_of_a_group_hang_together_as_their_similar_pairs_say(xp, rows, n_groups, min_cosine, batch_size, most):
    rows = UnitRows.of(rows)
    groups = np.sort(np.arange(len(rows)) % n_groups)
    near = (rounded_cosines(rows, rows) >= min_cosine) & (groups[:, None] == groups)
    left, right = np.nonzero(np.triu(near, 1))
    expected = components(len(rows), zip(left.tolist(), right.tolist(), strict=True))
    on_device = UnitRows.of(xp.asarray(rows.vectors))

    links = Links(on_device, min_cosine)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "_MAX_PAIRS", most)
        starts = np.searchsorted(groups, groups)
        scores, partners = best_earlier(on_device, starts, batch_size=batch_size, links=links)

    assert found(links) == (expected, len(rows) - len(set(expected)))
    plain = best_earlier(on_device, starts, batch_size=batch_size)
    assert (scores == plain[0]).all()
    assert (partners == plain[1]).all()


@given(chains(), st.floats(0, 1), st.integers(0, 99), *SETTINGS)
def test_rows_of_two_sets_hang_together_by_pairs_of_both(xp, rows, share, seed, min_cosine, batch_size, most):
    n_left = round(share * len(rows))
    one, other = UnitRows.of(rows[:n_left]), UnitRows.of(rows[n_left:])
    left, right = np.nonzero(rounded_cosines(one, other) >= min_cosine)
    expected = components(len(rows), zip(left.tolist(), (right + n_left).tolist(), strict=True))
    ranks = np.random.default_rng(seed).permutation(len(rows))

    links = Links(UnitRows.of(xp.asarray(one.vectors)), min_cosine, UnitRows.of(xp.asarray(other.vectors)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "_MAX_PAIRS", most)
        sides = np.sort(ranks[:n_left]), np.sort(ranks[n_left:])
        best_across(links.rows, links.others, *sides, batch_size=batch_size, links=links)

    assert found(links) == (expected, len(rows) - len(set(expected)))


def test_a_crowd_is_told_by_one_edge_less_than_it_has_rows_and_in_little_memory():
    rng = np.random.default_rng(0)
    rows = UnitRows.of(l2_normalize(rng.standard_normal(16) + 1e-4 * rng.standard_normal((6000, 16))))
    links = Links(rows, 0.999)

    tracemalloc.start()
    best_earlier(rows, batch_size=512, links=links)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert found(links) == ([0] * 6000, 5999)
    assert peak < 60 * 2**20  # the 18 million pairs alone would take 288 MiB
