from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_imgdedup.kernels.ranking import STRATEGIES, RankKey, hash_ids, rank_order

IDS = st.lists(st.text(max_size=4), unique=True, max_size=25) | st.lists(st.integers(-(2**62), 2**62), unique=True)


def ranked(ids, distances, which_to_keep, seed=0):
    keys = [RankKey("length", [len(str(id_)) for id_ in ids])]
    order = rank_order(ids, np.array(distances), which_to_keep=which_to_keep, random_state=seed, keys=keys)
    return [ids[i] for i in order]


def by_keys(ids, *keys):
    """ids in the order of (values, ascending)."""
    keys = [RankKey(f"key{place}", values, ascending) for place, (values, ascending) in enumerate(keys)]
    order = rank_order(ids, np.zeros(len(ids)), which_to_keep="metadata", random_state=0, keys=keys)
    return [ids[i] for i in order]


def test_hard_puts_the_farthest_first_and_breaks_ties_by_the_higher_id():
    assert ranked(["a", "b", "c", "d"], [0.1, 0.8, 0.1, 0.3], "hard") == ["b", "d", "c", "a"]


def test_easy_puts_the_nearest_first_and_breaks_ties_by_the_lower_id():
    assert ranked(["c", "b", "a", "d"], [0.1, 0.8, 0.1, 0.3], "easy") == ["a", "c", "d", "b"]


def test_integer_ids_are_ordered_as_numbers_and_texts_as_texts():
    assert ranked([10, 9], [0.5, 0.5], "easy") == [9, 10]
    assert ranked(["10", "9"], [0.5, 0.5], "easy") == ["10", "9"]


def test_distances_that_differ_below_the_sixth_decimal_tie():
    assert ranked(["b", "a"], [0.1000001, 0.1000004], "easy") == ["a", "b"]


@given(IDS.filter(bool))
def test_text_ties_are_ordered_as_their_utf8_bytes_are(ids):
    key = (lambda id_: id_.encode()) if isinstance(ids[0], str) else (lambda id_: id_)

    assert ranked(ids, [0.0] * len(ids), "easy") == sorted(ids, key=key)


@given(IDS, st.sampled_from(STRATEGIES), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_change_the_ranking(ids, which_to_keep, random):
    distances = {id_: len(str(id_)) % 3 / 10 for id_ in ids}
    shuffled = random.sample(ids, len(ids))

    one = ranked(ids, [distances[id_] for id_ in ids], which_to_keep)
    other = ranked(shuffled, [distances[id_] for id_ in shuffled], which_to_keep)

    assert one == other


@pytest.mark.parametrize("which_to_keep", STRATEGIES)
def test_lists_and_arrays_of_objects_or_of_fixed_width_text_rank_alike(which_to_keep):
    ids, distances = ["b", "aa", "c", "é", "\U0001f600"], np.array([0.2, 0.2, 0.2, 0.1, 0.1])
    forms = (ids, np.array(ids, dtype=object), np.array(ids))

    keys = [RankKey("size", [1, 2, 1, 2, 1])]
    orders = [
        rank_order(form, distances, which_to_keep=which_to_keep, random_state=1, keys=keys).tolist() for form in forms
    ]

    assert orders[0] == orders[1] == orders[2]


def test_random_depends_on_the_seed_and_not_on_the_distances():
    ids = [f"shard/{i}" for i in range(50)]
    zeros, ramp = [0.0] * 50, list(np.linspace(0, 1, 50))

    assert ranked(ids, zeros, "random", 1) == ranked(ids, ramp, "random", 1) != ranked(ids, zeros, "random", 2)


def test_the_hash_of_an_id_is_fixed_for_all_time():
    # A change of these numbers would rank every stored run anew.
    assert hash_ids(["a/0", "ü"], -3).tolist() == [2580198782807055820, 17273937582033593533]
    assert hash_ids([7], 0).tolist() == hash_ids(["7"], 0).tolist()


@pytest.mark.parametrize("which_to_keep", STRATEGIES)
def test_no_rows_rank_to_no_rows(which_to_keep):
    order = rank_order([], np.empty(0), which_to_keep=which_to_keep, random_state=0, keys=[RankKey("size", [])])

    assert order.shape == (0,)
    assert order.dtype == np.int64


@pytest.mark.parametrize(
    ("ids", "distances", "which_to_keep", "seed", "message"),
    [
        (["a"], [0.1], "best", 0, r"one of hard, easy, random, metadata, got 'best'"),
        (["a", "b"], [0.1], "hard", 0, r"got 2 ids and distances of shape \(1,\)"),
        (["a", "b"], [0.1, np.nan], "easy", 0, r"finite, but row 1 is not.*invalid_rows"),
        (["a", None], [0.1, 0.1], "easy", 0, r"all text or all integers"),
        (["a"], [0.1], "metadata", 0, r"'metadata' needs at least one key"),
        (["a"], [0.1], "random", 2**70, r"signed 64-bit integer, got 1180591620717411303424"),
    ],
)
def test_what_cannot_be_ranked_is_refused_with_the_remedy(ids, distances, which_to_keep, seed, message):
    with pytest.raises(ValueError, match=message):
        rank_order(ids, np.array(distances), which_to_keep=which_to_keep, random_state=seed)


@pytest.mark.parametrize(("ascending", "expected"), [(True, ["b", "d", "a", "c"]), (False, ["a", "b", "d", "c"])])
@pytest.mark.parametrize(
    "values",
    [
        [2, 1, None, 1],
        [0.5, -0.5, np.nan, -0.5],
        np.array([0.5, -0.5, np.nan, -0.5]),
        [2**53 + 1, 2**53, None, 2**53],
        ["b", "a", None, "a"],
        [True, False, None, False],
        [Decimal("1.10"), Decimal("1.05"), None, Decimal("1.05")],
        [dt.date(2024, 2, 1), dt.date(2024, 1, 31), None, dt.date(2024, 1, 31)],
        np.array(["2024-02-01", "2024-01-31", "NaT", "2024-01-31"], "M8[D]"),
        np.array(["2024-01-01T00:00:00.000000001", "2024-01-01", "NaT", "2024-01-01"], "M8[ns]"),
        np.ma.masked_array([7, 5, 9, 5], [False, False, True, False]),
    ],
    ids=lambda values: f"{type(values).__name__} of {type(values[0]).__name__}",
)
def test_values_of_every_kind_rank_either_way_with_the_missing_last_and_ties_by_the_lower_id(
    values, ascending, expected
):
    assert by_keys(["a", "b", "c", "d"], (values, ascending)) == expected


def test_a_later_key_decides_only_where_all_earlier_ones_tie():
    ids = [1, 2, 3, 4, 5]

    # priority ascending, then score descending, then the lower id
    assert by_keys(ids, ([2, 1, 2, 1, 1], True), ([0.9, 0.3, 0.9, 0.5, None], False)) == [4, 2, 5, 1, 3]


def test_minus_zero_ties_with_zero_and_infinities_are_numbers():
    assert by_keys(["d", "c", "b", "a"], ([0.0, -0.0, np.inf, -np.inf], True)) == ["a", "c", "d", "b"]


def test_text_is_ordered_by_code_point():
    assert by_keys([1, 2, 3, 4], (["é", "z", "Z", "\U0001f600"], True)) == [3, 2, 1, 4]


SOME = st.none() | st.integers(0, 3)


@given(st.lists(st.tuples(SOME, SOME), max_size=20), st.booleans(), st.booleans(), st.randoms(use_true_random=False))
def test_keys_rank_as_pairwise_comparison_does_whatever_the_order_of_the_rows(rows, first_up, second_up, random):
    def precedes(x, y):
        """Whether row x is preferred to row y: one key at a time, then the id."""
        for one, other, up in zip(rows[x], rows[y], (first_up, second_up), strict=True):
            if one != other:
                return other is None or (one is not None and (one < other) == up)
        return x < y

    ids = random.sample(range(len(rows)), len(rows))
    order = by_keys(ids, ([rows[i][0] for i in ids], first_up), ([rows[i][1] for i in ids], second_up))

    assert all(precedes(one, other) for place, one in enumerate(order) for other in order[place + 1 :])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, "a"], r"The values of quality cannot be put in order: .*Cast the column"),
        ([1], r"Each id needs one quality, got 2 ids and 1 values"),
    ],
)
def test_a_key_that_cannot_be_ranked_by_is_named(values, message):
    with pytest.raises(ValueError, match=message):
        rank_order(
            ["a", "b"],
            np.zeros(2),
            which_to_keep="metadata",
            random_state=0,
            keys=[RankKey("quality", values)],
        )
