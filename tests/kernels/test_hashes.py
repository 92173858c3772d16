from __future__ import annotations

import hashlib
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageFilter

from spark_imgdedup.kernels.hashes import (
    BandPlan,
    bands,
    connected_components,
    expected_recall,
    hamming_distances,
    perceptual_hash,
    pixel_digest,
    plan_bands,
    view_distances,
    words,
)

N_BITS = st.sampled_from([64, 256])


def photo(seed=0, side=96):
    """Smooth shapes with some grain, of a size that a hash has to reduce."""
    rng = np.random.default_rng(seed)
    smooth = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((side, side), 3)
    grain = rng.integers(-8, 9, (side, side, 3))
    return Image.fromarray(np.clip(np.asarray(smooth) + grain, 0, 255).astype(np.uint8))


def as_row(digest):
    return np.frombuffer(digest, np.uint8)[None]


def bits_apart(image, other, n_bits):
    hashes = [as_row(perceptual_hash(picture, n_bits=n_bits)) for picture in (image, other)]
    return int(hamming_distances(*hashes)[0, 0])


def random_hashes(seed, n, n_bits):
    return np.random.default_rng(seed).integers(0, 256, (n, n_bits // 8), dtype=np.uint8)


def flipped(hashes, places):
    bits = np.unpackbits(hashes, axis=1)
    bits[:, list(places)] ^= 1
    return np.packbits(bits, axis=1)


def share_a_band(hashes, others, radius):
    return (bands(hashes, radius=radius) == bands(others, radius=radius)).any(axis=1)


# Perceptual hash


@pytest.mark.parametrize(("n_bits", "size"), [(64, 8), (256, 16)])
def test_a_perceptual_hash_is_the_published_one(n_bits, size):
    imagehash = pytest.importorskip("imagehash")

    published = bytes.fromhex(str(imagehash.phash(photo(), hash_size=size)))

    assert perceptual_hash(photo(), n_bits=n_bits) == published


@pytest.mark.parametrize("n_bits", [64, 256])
def test_a_blurred_picture_is_near_and_another_one_is_far(n_bits):
    blurred = photo().filter(ImageFilter.GaussianBlur(1))

    assert bits_apart(photo(), blurred, n_bits) <= n_bits // 8
    assert bits_apart(photo(), photo(seed=1), n_bits) > n_bits // 4


@pytest.mark.parametrize("n_bits", [64, 256])
def test_pictures_of_one_colour_have_one_hash_whatever_the_colour(n_bits):
    hashes = {perceptual_hash(Image.new("RGB", (50, 40), colour), n_bits=n_bits) for colour in ("red", "white", "navy")}

    assert hashes == {b"\x80" + bytes(n_bits // 8 - 1)}


@pytest.mark.parametrize("n_bits", [0, 63, 128])
def test_a_hash_of_another_length_is_refused(n_bits):
    with pytest.raises(ValueError, match=f"has 64 or 256 bits, got {n_bits}"):
        perceptual_hash(photo(), n_bits=n_bits)


# Digest of the pixels


def test_a_digest_is_that_of_size_and_pixels():
    image = Image.new("RGB", (2, 1), (1, 2, 3))

    assert pixel_digest(image) == hashlib.sha256(b"2x1 " + bytes([1, 2, 3] * 2)).hexdigest()


def test_one_pixel_or_another_shape_changes_the_digest():
    image, tall, changed = Image.new("RGB", (4, 2)), Image.new("RGB", (2, 4)), Image.new("RGB", (4, 2))
    changed.putpixel((3, 1), (0, 0, 1))

    assert len({pixel_digest(picture) for picture in (image, tall, changed)}) == 3
    assert pixel_digest(image) == pixel_digest(image.copy())


def test_a_picture_that_is_not_rgb_has_no_digest():
    with pytest.raises(ValueError, match=r"of mode RGB, got L\. Decode it with"):
        pixel_digest(Image.new("L", (2, 2)))


# Distances


@given(n_bits=N_BITS, n=st.integers(0, 6), m=st.integers(0, 6), seed=st.integers(0, 99))
def test_distances_are_counted_bit_by_bit(n_bits, n, m, seed):
    a, b = random_hashes(seed, n, n_bits), random_hashes(seed + 1, m, n_bits)

    differing = np.unpackbits(a, axis=1)[:, None] != np.unpackbits(b, axis=1)[None]

    np.testing.assert_array_equal(hamming_distances(a, b), differing.sum(axis=2))


def test_opposite_hashes_differ_in_all_256_bits():
    a = np.zeros((1, 32), np.uint8)

    assert hamming_distances(a, ~a).tolist() == [[256]]


@pytest.mark.parametrize("bad", [np.zeros((2, 7), np.uint8), np.zeros(8, np.uint8), np.zeros((2, 8), np.int64)])
def test_what_is_no_matrix_of_hashes_is_refused(bad):
    with pytest.raises(ValueError, match=r"hashes must be a uint8 matrix .* got"):
        words(bad)


def slow_view_distances(own_a, own_b, views_b, views_a):
    """The definition: of all pairs in which one side is the picture as it is, the nearest."""

    def least(own, views):
        return min(int(hamming_distances(own[None], view[None])[0, 0]) for view in views)

    return [
        [
            min(least(a, [b, *turned_b]), least(b, turned_a)) if len(turned_a) else least(a, [b, *turned_b])
            for b, turned_b in zip(own_b, views_b, strict=True)
        ]
        for a, turned_a in zip(own_a, views_a, strict=True)
    ]


@given(n_bits=N_BITS, n=st.integers(1, 4), m=st.integers(1, 4), k=st.sampled_from([0, 1, 7]), seed=st.integers(0, 99))
def test_the_distance_of_views_is_the_least_in_either_direction(n_bits, n, m, k, seed):
    own_a, own_b = random_hashes(seed, n, n_bits), random_hashes(seed + 1, m, n_bits)
    views_a = random_hashes(seed + 2, n * k, n_bits).reshape(n, k, n_bits // 8)
    views_b = random_hashes(seed + 3, m * k, n_bits).reshape(m, k, n_bits // 8)

    found = view_distances(own_a, own_b, views_b, views_a)

    assert found.tolist() == slow_view_distances(own_a, own_b, views_b, views_a)
    np.testing.assert_array_equal(view_distances(own_b, own_a, views_a, views_b), found.T)


def test_without_the_views_of_a_only_those_of_b_count():
    own, views = random_hashes(0, 3, 64), random_hashes(1, 3, 64)[:, None]

    one_way = view_distances(own, own, views)

    np.testing.assert_array_equal(one_way, np.minimum(hamming_distances(own, own), hamming_distances(own, views[:, 0])))


@pytest.mark.parametrize("shape", [(3, 8), (2, 1, 8), (3, 1, 16)])
def test_views_of_another_shape_are_refused(shape):
    own = random_hashes(0, 3, 64)

    with pytest.raises(ValueError, match=r"views must be of shape \(N, k, B\) .* got .* for \(3, 8\)"):
        view_distances(own, own, np.zeros(shape, np.uint8))


# Bands


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


# Components


def slow_components(n, edges):
    """The definition: give both ends the lower label until nothing changes."""
    labels = list(range(n))
    changed = True
    while changed:
        changed = False
        for u, v in edges:
            low = min(labels[u], labels[v])
            changed |= labels[u] != low or labels[v] != low
            labels[u] = labels[v] = low
    return labels


@given(n=st.integers(1, 30), data=st.data())
def test_components_are_named_by_their_lowest_member(n, data):
    edges = data.draw(arrays.arrays(np.int64, (data.draw(st.integers(0, 40)), 2), elements=st.integers(0, n - 1)))

    assert connected_components(n, edges).tolist() == slow_components(n, edges)


def test_a_long_chain_in_random_order_is_one_component():
    chain = np.random.default_rng(0).permutation(50_000)

    labels = connected_components(len(chain), np.stack([chain[:-1], chain[1:]], axis=1))

    assert not labels.any()


def test_vertices_without_edges_are_components_of_their_own():
    assert connected_components(3, np.empty((0, 2), np.int64)).tolist() == [0, 1, 2]
    assert connected_components(0, np.empty((0, 2), np.int64)).tolist() == []


@pytest.mark.parametrize("edges", [[[0, 3]], [[-1, 0]]])
def test_an_edge_to_nowhere_is_refused(edges):
    with pytest.raises(ValueError, match="edges must name vertices 0 to 2, got"):
        connected_components(3, np.array(edges))


def test_edges_that_are_no_pairs_are_refused():
    with pytest.raises(ValueError, match=r"matrix \(E, 2\), got shape \(2, 3\)"):
        connected_components(3, np.zeros((2, 3), np.int64))
