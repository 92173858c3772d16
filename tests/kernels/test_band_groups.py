from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_imgdedup.kernels.band_groups import BandGroups
from spark_imgdedup.kernels.bands import bands
from spark_imgdedup.kernels.hashes import hamming_distances


def related_hashes(seed, n, n_bits):
    """(n, n_bits / 8) uint8, all distinct: few seeds with some bits flipped."""
    rng = np.random.default_rng(seed)
    seeds = rng.integers(0, 256, (3, n_bits // 8), dtype=np.uint8)
    rows = np.unpackbits(seeds, axis=1)[rng.integers(0, 3, n)]
    rows ^= rng.random(rows.shape) < rng.choice([0.02, 0.06, 0.12], (n, 1))
    return np.unique(np.packbits(rows, axis=1), axis=0)


def definition(hashes, is_own, radius):
    """Pairs i < j that share a band and are near, one of them its own, with their distance."""
    keys, distances = bands(hashes, radius=radius), hamming_distances(hashes, hashes)
    return sorted(
        (i, j, int(distances[i, j]))
        for i, j in itertools.combinations(range(len(hashes)), 2)
        if distances[i, j] <= radius and (keys[i] == keys[j]).any() and (is_own[i] or is_own[j])
    )


def found_by(groups, hashes, is_own, n_tasks):
    """The same, by tasks that each have some of the groups."""
    rows, numbers = groups.of(hashes)
    pairs = []
    for task in range(n_tasks):
        members = np.flatnonzero(numbers % np.uint64(n_tasks) == task)
        here = rows[members]
        left, right, distances = groups.near(numbers[members], hashes[here], is_own[here])
        pairs += [
            (*sorted((int(here[i]), int(here[j]))), int(distance))
            for i, j, distance in zip(left, right, distances, strict=True)
        ]
    return sorted(pairs)


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 40),
    n_bits=st.sampled_from([64, 256]),
    radius=st.sampled_from([0, 1, 3, 6, 12, 15, 20]),
    n_tasks=st.sampled_from([1, 2, 7]),
    crowds=st.lists(st.tuples(st.integers(0, 1000), st.integers(1, 5)), max_size=3),
)
def test_each_pair_of_a_band_is_found_once_however_groups_are_cut_and_placed(seed, n, n_bits, radius, n_tasks, crowds):
    hashes = related_hashes(seed, n, n_bits)
    is_own = np.random.default_rng(seed).random(len(hashes)) < 0.6
    numbers = BandGroups(radius).of(hashes)[1]
    cut = {int(numbers[place % len(numbers)]): n_parts for place, n_parts in crowds}

    found = found_by(BandGroups(radius, cut), hashes, is_own, n_tasks)

    assert found == definition(hashes, is_own, radius)


def test_the_tiles_of_a_crowd_are_smaller_than_it():
    hashes = related_hashes(1, 400, 64)
    hashes[:, :2] = 9
    hashes = np.unique(hashes, axis=0)
    numbers, sizes = np.unique(BandGroups(3).of(hashes)[1], return_counts=True)
    crowd = int(numbers[np.argmax(sizes)])

    cut = np.unique(BandGroups(3, {crowd: 4}).of(hashes)[1], return_counts=True)

    assert sizes.max() == len(hashes)
    assert crowd not in cut[0]
    assert cut[1].max() < 0.65 * len(hashes)
    assert len(cut[0]) == len(numbers) - 1 + 4 * 5 // 2


def test_many_in_one_group_are_found_as_by_brute_force():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 256, (3000, 8), dtype=np.uint8)
    hashes[:, :2] = 7
    hashes[2000:] = hashes[:1000]
    hashes[2000:, 5] ^= 17

    found = found_by(BandGroups(3), hashes, np.ones(3000, np.bool_), 1)

    assert found == definition(hashes, np.ones(3000, np.bool_), 3)
    assert len(found) == 1000


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_hashes_give_no_pair(n):
    hashes = np.zeros((n, 8), np.uint8)

    assert found_by(BandGroups(3), hashes, np.ones(n, np.bool_), 1) == []
