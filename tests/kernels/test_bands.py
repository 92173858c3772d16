from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_imgdedup.kernels.bands import BandPlan, bands, expected_recall, plan_bands

N_BITS = st.sampled_from([64, 256])


def random_hashes(seed, n, n_bits):
    return np.random.default_rng(seed).integers(0, 256, (n, n_bits // 8), dtype=np.uint8)


def flipped(hashes, places):
    bits = np.unpackbits(hashes, axis=1)
    bits[:, list(places)] ^= 1
    return np.packbits(bits, axis=1)


def share_a_band(hashes, others, radius):
    return (bands(hashes, radius=radius) == bands(others, radius=radius)).any(axis=1)


@pytest.mark.parametrize(("n_bits", "lossless"), [(64, 6), (256, 15)])
def test_the_search_is_lossless_up_to_the_radius_documented(n_bits, lossless):
    reach = [plan_bands(n_bits, radius).lossless_radius for radius in range(lossless + 3)]

    assert reach == [*range(lossless + 1), lossless, lossless]


@given(n_bits=N_BITS, radius=st.integers(0, 63))
def test_bands_keep_16_bits_and_are_at_most_32(n_bits, radius):
    plan = plan_bands(n_bits, radius)

    assert sum(plan.sizes) == n_bits
    assert min(sum(plan.sizes[block] for block in band) for band in plan.bands) >= 16
    assert len(plan.bands) == math.comb(plan.n_blocks, plan.n_agreeing) <= 32


@given(n_bits=N_BITS, radius=st.integers(0, 15), seed=st.integers(0, 999), data=st.data())
def test_hashes_within_the_lossless_radius_agree_in_a_band(n_bits, radius, seed, data):
    reach = plan_bands(n_bits, radius).lossless_radius
    places = data.draw(st.sets(st.integers(0, n_bits - 1), max_size=reach))
    hashes = random_hashes(seed, 5, n_bits)

    assert share_a_band(hashes, flipped(hashes, places), radius).all()


@pytest.mark.parametrize(("n_bits", "radius"), [(64, 0), (64, 3), (64, 6), (256, 1), (256, 15)])
def test_one_bit_in_each_block_beyond_the_lossless_radius_leaves_no_band(n_bits, radius):
    plan = plan_bands(n_bits, radius)
    starts = np.cumsum((0, *plan.sizes))[: radius + 1]
    hashes = random_hashes(0, 5, n_bits)

    assert not share_a_band(hashes, flipped(hashes, starts), radius).any()


@given(n_bits=N_BITS, radius=st.integers(0, 20), seed=st.integers(0, 99))
def test_keys_are_equal_exactly_where_the_bits_of_the_band_are(n_bits, radius, seed):
    rng = np.random.default_rng(seed)
    hashes = random_hashes(seed, 1, n_bits).repeat(20, axis=0)
    hashes[rng.integers(0, 20, 12), rng.integers(0, n_bits // 8, 12)] ^= 0x10
    plan, ends = plan_bands(n_bits, radius), np.cumsum((0, *plan_bands(n_bits, radius).sizes))
    bits = np.unpackbits(hashes, axis=1)

    keys = bands(hashes, radius=radius)

    for column, members in enumerate(plan.bands):
        width = 64 // plan.n_agreeing
        parts = [bits[:, ends[block] : ends[block + 1]][:, :width] for block in members]
        texts = [b"".join(row.tobytes() for row in rows) for rows in zip(*parts, strict=True)]
        np.testing.assert_array_equal(
            keys[:, column][:, None] == keys[:, column][None], [[a == b for b in texts] for a in texts]
        )


@pytest.mark.parametrize("n_bits", [64, 256])
def test_a_radius_out_of_range_is_refused(n_bits):
    for radius in (-1, n_bits):
        with pytest.raises(ValueError, match=rf"from 0 to {n_bits - 1} of {n_bits} bits, got {radius}\."):
            plan_bands(n_bits, radius)


# Recall


@given(n_blocks=st.integers(1, 5), n_agreeing=st.integers(1, 2), distance=st.integers(0, 5))
def test_recall_counts_every_choice_of_bits(n_blocks, n_agreeing, distance):
    plan = BandPlan(12, max(n_blocks, n_agreeing), n_agreeing)
    block_of = np.repeat(range(plan.n_blocks), plan.sizes)

    choices = [len(set(block_of[list(bits)])) for bits in itertools.combinations(range(12), distance)]
    found = sum(plan.n_blocks - touched >= plan.n_agreeing for touched in choices)

    assert plan.recall(distance) == pytest.approx(found / len(choices))


@pytest.mark.parametrize(("n_bits", "radius"), [(64, 10), (256, 32)])
def test_recall_beyond_the_lossless_radius_is_what_random_flips_show(n_bits, radius):
    n = 4000
    rng = np.random.default_rng(0)
    hashes = random_hashes(1, n, n_bits)
    flips = rng.random((n, n_bits)).argsort(axis=1) < radius
    others = np.packbits(np.unpackbits(hashes, axis=1) ^ flips, axis=1)

    measured = share_a_band(hashes, others, radius).mean()

    assert 0.5 < measured < 0.95
    assert expected_recall(n_bits, radius, radius) == pytest.approx(measured, abs=0.03)  # 4 standard errors


@pytest.mark.parametrize(("n_bits", "radius"), [(64, 6), (256, 15)])
def test_recall_is_one_within_the_lossless_radius(n_bits, radius):
    assert [expected_recall(n_bits, radius, distance) for distance in range(radius + 1)] == [1.0] * (radius + 1)
