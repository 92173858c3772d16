from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_imgdedup.kernels.arrays import to_host
from spark_imgdedup.kernels.cosines import cosine_error, fast_pair_cosines, pair_cosines, round_cosine
from spark_imgdedup.kernels.vectors import UnitRows, first_occurrences, invalid_rows, l2_normalize


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rows_of_any_float_type_come_back_as_float32_of_unit_length(xp, dtype):
    vectors = (np.random.default_rng(0).standard_normal((2000, 33)) * 7).astype(dtype)

    unit = to_host(l2_normalize(xp.asarray(vectors)))

    assert unit.dtype == np.float32
    assert np.linalg.norm(unit.astype(np.float64), axis=1) == pytest.approx(np.ones(2000), abs=2e-7)


def test_a_float16_row_is_divided_by_its_exact_length(xp):
    row = np.array([[3.0, 4.0]], np.float16)

    assert to_host(l2_normalize(xp.asarray(row))).tolist() == [[np.float32(0.6), np.float32(0.8)]]


def test_a_row_without_a_direction_is_named_and_its_neighbours_are_not(xp):
    vectors = np.array([[1, 2], [0, 0], [np.nan, 1], [np.inf, 1], [-np.inf, 0], [0, 1e-30]], np.float32)

    reasons = invalid_rows(xp.asarray(vectors))

    assert reasons.tolist() == [None, "zero_embedding", "nan_embedding", "nan_embedding", "nan_embedding", None]


def test_normalising_leaves_zero_rows_zero_and_spoils_no_other_row(xp):
    vectors = np.array([[0, 0], [np.inf, 1], [np.nan, 1], [0, 5]], np.float32)

    unit = to_host(l2_normalize(xp.asarray(vectors)))

    assert unit[[0, 3]].tolist() == [[0, 0], [0, 1]]
    assert np.isnan(unit[[1, 2]]).all()


@pytest.mark.parametrize("bad", [np.ones(3, np.float32), np.ones((2, 3), np.int64), np.ones((2, 0), np.float32)])
def test_what_is_not_a_matrix_of_floats_is_refused(bad):
    with pytest.raises(ValueError, match=r"must be a float matrix \(N, D\), got .* cast them"):
        l2_normalize(bad)
    with pytest.raises(ValueError, match=r"must be a float matrix \(N, D\), got"):
        invalid_rows(bad)


def test_rows_off_unit_length_propose_by_their_normalised_form_and_keep_their_own_values(xp):
    vectors = l2_normalize(np.random.default_rng(1).standard_normal((5, 8))) * np.float32(1.0005)

    rows = UnitRows.of(xp.asarray(vectors))

    assert to_host(rows.vectors).tolist() == vectors.tolist()
    assert np.linalg.norm(to_host(rows.proposals), axis=1) == pytest.approx(np.ones(5), abs=3e-7)


@given(seed=st.integers(0, 1000), dim=st.integers(1, 300))
def test_a_pair_has_one_cosine_whatever_pairs_are_asked_for_with_it(xp, seed, dim):
    rows = UnitRows.of(xp.asarray(l2_normalize(np.random.default_rng(seed).standard_normal((6, dim)))))
    i, j = xp.asarray([0, 5, 2, 1]), xp.asarray([1, 4, 2, 0])

    cosines = to_host(pair_cosines(rows, i, rows, j))

    assert cosines[0] == cosines[3] == to_host(pair_cosines(rows, i[:1], rows, j[:1]))[0]
    a, b = (to_host(rows.vectors)[k].astype(float) for k in (5, 4))
    exact = math.fsum(a * b) / math.sqrt(math.fsum(a * a) * math.fsum(b * b))
    assert abs(cosines[1] - exact) <= cosine_error(dim)
    assert abs(to_host(fast_pair_cosines(rows, i, rows, j))[1] - exact) <= cosine_error(dim)
    assert round_cosine(cosines)[2] == 1.0


def test_rounding_never_leaves_a_negative_zero(xp):
    assert np.signbit(to_host(round_cosine(xp.asarray([-1e-9, -0.0, 1e-9])))).tolist() == [False] * 3


@given(st.lists(st.integers(0, 4), max_size=60), st.integers(1, 5))
def test_each_row_finds_the_first_row_with_its_bytes(xp, picks, dim):
    choices = np.random.default_rng(0).standard_normal((5, dim)).astype(np.float32)
    vectors = choices[picks].reshape(-1, dim)

    assert first_occurrences(xp.asarray(vectors)).tolist() == [picks.index(pick) for pick in picks]


def test_copies_are_found_in_a_matrix_that_is_a_view_with_gaps(xp):
    wide = xp.asarray(np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32))

    assert first_occurrences(wide[[0, 1, 0, 2]][:, ::2]).tolist() == [0, 1, 0, 3]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_normalising_and_wrapping_in_one_pass_gives_what_the_two_steps_give(xp, dtype):
    vectors = xp.asarray((np.random.default_rng(0).standard_normal((700, 33)) * 7).astype(dtype))

    at_once, in_steps = UnitRows.normalized(vectors), UnitRows.of(l2_normalize(vectors))

    assert to_host(at_once.vectors).tolist() == to_host(in_steps.vectors).tolist()
    assert to_host(at_once.lengths).tolist() == to_host(in_steps.lengths).tolist()
    assert at_once.proposals is at_once.vectors


def test_float32_rows_can_be_normalised_in_place(xp):
    vectors = xp.asarray(np.array([[3, 4], [0, 0], [0, 2]], np.float32))

    assert l2_normalize(vectors, out=vectors) is vectors
    assert to_host(vectors).tolist() == [[np.float32(0.6), np.float32(0.8)], [0, 0], [0, 1]]


@pytest.mark.parametrize("out", [np.empty((2, 3), np.float64), np.empty((3, 3), np.float32)])
def test_a_matrix_that_does_not_fit_the_result_is_refused(out):
    with pytest.raises(ValueError, match=r"out must be float32 of shape \(2, 3\), got .* Leave it out"):
        l2_normalize(np.ones((2, 3)), out=out)


@pytest.mark.parametrize("bad", [[0, 0], [np.nan, 1], [np.inf, 1]])
def test_a_row_without_a_direction_cannot_be_wrapped(xp, bad):
    with pytest.raises(
        ValueError, match=r"raw rows must have unit length, but 1 of 2 rows have not: row 1 .*invalid_rows"
    ):
        UnitRows.normalized(xp.asarray(np.array([[1, 2], bad], np.float32)), "raw rows")


def test_rows_that_propose_as_they_are_keep_doing_so_when_cut(xp):
    rows = UnitRows.of(xp.asarray(l2_normalize(np.random.default_rng(1).standard_normal((9, 8)))))

    for some in (rows[2:5], rows[xp.asarray([4, 4, 0])]):
        assert some.proposals is some.vectors
        assert UnitRows.of(some) is some


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=40))
def test_copies_in_another_group_do_not_count(xp, picks):
    choices = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    vectors = choices[[pick for pick, _ in picks]].reshape(-1, 4)
    groups = np.array([group for _, group in picks], dtype=np.int64)

    assert first_occurrences(xp.asarray(vectors), groups).tolist() == [picks.index(each) for each in picks]
