"""Parts of what hangs together: no part has two pictures in it that people have called different."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.sparse.csgraph import connected_components

from spark_imgdedup.kernels.evidence import Apart, Evidence, Reach
from spark_imgdedup.kernels.parting import set_apart
from spark_imgdedup.kernels.selection import join
from spark_imgdedup.kernels.vectors import UnitRows
from tests.kernels.test_selection import REACHES, called_different, near_by_definition, pictures


@settings(deadline=None)
@given(pictures(), REACHES)
def test_parts_hold_together_have_nothing_different_in_them_and_are_as_large_as_that_allows(case, reach):
    evidence, starts, _ = case
    near, different = near_by_definition(evidence, starts, reach), called_different(evidence)
    whole = join(evidence, starts, reach)

    found = set_apart(evidence, whole, reach)

    same = found[:, None] == found[None, :]
    assert not (same & different).any()
    within = connected_components(near & same, directed=False)[1]
    assert ((within[:, None] == within[None, :]) == same).all()
    assert (found[found] == found).all()
    assert (found <= np.arange(len(found))).all()
    for i, j in np.argwhere(near & ~same):
        one, other = np.flatnonzero(found == found[i]), np.flatnonzero(found == found[j])
        assert different[np.ix_(one, other)].any()
    untouched = [first for first in np.unique(whole) if not different[np.ix_(whole == first, whole == first)].any()]
    assert (found[np.isin(whole, untouched)] == whole[np.isin(whole, untouched)]).all()


@pytest.mark.parametrize("n", [5, 1300])
def test_a_pair_that_a_third_picture_joins_is_parted_and_what_hangs_on_each_stays_with_it(n):
    turns = np.concatenate([np.arange(n) * 0.001])
    rows = UnitRows.of(np.stack([np.cos(turns), np.sin(turns)], axis=1).astype(np.float32))
    number = np.full(n, -1)
    number[[0, 2]] = [0, 1]
    chain = Evidence(n, rows, apart=Apart(number, np.array([[0, 1]])))
    two_on = Reach(min_cosine=round(float(np.cos(0.0015)), 6))

    found = set_apart(chain, join(chain, np.zeros(n, np.int64), two_on), two_on)

    assert found.tolist() == [0, 0, *([2] * (n - 2))]


def test_a_crowd_is_parted_once():
    same = UnitRows.of(np.tile(np.float32([1, 0]), (1500, 1)))
    number = np.full(1500, -1)
    number[[3, 1200]] = [1, 0]
    crowd = Evidence(1500, same, apart=Apart(number, np.array([[0, 1]])))

    found = set_apart(crowd, join(crowd, np.zeros(1500, np.int64), Reach(1.0)), Reach(1.0))

    assert np.unique(found).tolist() == [0, 1200]
    assert (found == 1200).sum() == 1


@pytest.mark.parametrize("largest", [3, 34, 10_000])
def test_only_what_was_called_different_is_whatever_numbers_others_have(largest):
    numbers = np.arange(largest + 1)
    said = np.array([[0, 2], [1, 3]])

    one, other = Apart(numbers, said).between(Apart(numbers, said))

    assert sorted(zip(one.tolist(), other.tolist(), strict=True)) == [(0, 2), (1, 3), (2, 0), (3, 1)]
