from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_imgdedup.kernels.ranking import STRATEGIES, hash_ids, rank_order

IDS = st.lists(st.text(max_size=4), unique=True, max_size=25) | st.lists(st.integers(-(2**62), 2**62), unique=True)


def ranked(ids, distances, which_to_keep, seed=0):
    return [ids[i] for i in rank_order(ids, np.array(distances), which_to_keep=which_to_keep, random_state=seed)]


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

    orders = [rank_order(form, distances, which_to_keep=which_to_keep, random_state=1).tolist() for form in forms]

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
    order = rank_order([], np.empty(0), which_to_keep=which_to_keep, random_state=0)

    assert order.shape == (0,)
    assert order.dtype == np.int64


@pytest.mark.parametrize(
    ("ids", "distances", "which_to_keep", "seed", "message"),
    [
        (["a"], [0.1], "best", 0, r"one of hard, easy, random, got 'best'"),
        (["a", "b"], [0.1], "hard", 0, r"got 2 ids and distances of shape \(1,\)"),
        (["a", "b"], [0.1, np.nan], "easy", 0, r"finite, but row 1 is not.*invalid_rows"),
        (["a", None], [0.1, 0.1], "easy", 0, r"all text or all integers"),
        (["a"], [0.1], "random", 2**70, r"signed 64-bit integer, got 1180591620717411303424"),
    ],
)
def test_what_cannot_be_ranked_is_refused_with_the_remedy(ids, distances, which_to_keep, seed, message):
    with pytest.raises(ValueError, match=message):
        rank_order(ids, np.array(distances), which_to_keep=which_to_keep, random_state=seed)
