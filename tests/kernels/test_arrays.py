from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_imgdedup.kernels.arrays import best_per_column, fold_sum, slices, to_host


@given(n=st.integers(1, 5), dim=st.integers(1, 70), seed=st.integers(0, 100))
def test_fold_sum_adds_up_every_column(xp, n, dim, seed):
    terms = np.random.default_rng(seed).integers(-1000, 1000, (n, dim)).astype(np.float64)

    assert to_host(fold_sum(xp.asarray(terms.copy()))).tolist() == terms.sum(axis=1).tolist()


@given(dim=st.integers(1, 900), start=st.integers(0, 40), seed=st.integers(0, 100))
def test_fold_sum_of_a_row_has_the_same_bits_whatever_rows_come_with_it(xp, dim, start, seed):
    terms = np.random.default_rng(seed).standard_normal((41, dim))

    together = to_host(fold_sum(xp.asarray(terms.copy())))
    alone = to_host(fold_sum(xp.asarray(terms[start : start + 1].copy())))

    assert together[start] == alone[0]


@given(n=st.integers(0, 50), size=st.integers(1, 60))
def test_slices_cover_everything_once_and_in_order(n, size):
    assert [i for part in slices(n, size) for i in range(n)[part]] == list(range(n))
    assert all(part.stop - part.start <= size for part in slices(n, size))


def test_the_best_of_a_column_is_its_highest_value_and_then_its_lowest_row():
    rows, columns = np.array([5, 2, 9, 1]), np.array([0, 0, 3, 0])

    winners, values, best_rows = best_per_column(rows, columns, np.array([0.7, 0.7, -0.4, 0.1]))

    assert winners.tolist() == [0, 3]
    assert values.tolist() == pytest.approx([0.7, -0.4])
    assert best_rows.tolist() == [2, 9]
