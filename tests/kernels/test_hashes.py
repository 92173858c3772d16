from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageFilter

from spark_imgdedup.kernels.hashes import (
    VIEWS,
    connected_components,
    hamming_distances,
    perceptual_hash,
    perceptual_views,
    telling_views,
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


@pytest.mark.parametrize(("n_bits", "size"), [(64, 8), (256, 16)])
def test_views_are_the_hashes_of_the_turned_picture(n_bits, size):
    imagehash = pytest.importorskip("imagehash")
    image = photo(side=4 * size)  # not reduced, so that nothing is rounded

    own, views = perceptual_views(image, n_bits=n_bits, turns=VIEWS["turns"])

    turned = [image.transpose(turn) for turn in VIEWS["turns"]]
    assert own == perceptual_hash(image, n_bits=n_bits)
    assert views == b"".join(bytes.fromhex(str(imagehash.phash(view, hash_size=size))) for view in turned)


@pytest.mark.parametrize("n_bits", [64, 256])
@pytest.mark.parametrize("turn", VIEWS["turns"])
def test_a_turned_copy_is_near_a_view_of_the_picture_whatever_way_it_was_turned(n_bits, turn):
    hashes = [
        perceptual_views(image, n_bits=n_bits, turns=VIEWS["turns"]) for image in (photo(), photo().transpose(turn))
    ]
    (own_a, views_a), (own_b, views_b) = (
        (as_row(own), np.frombuffer(views, np.uint8).reshape(1, 7, -1)) for own, views in hashes
    )

    assert view_distances(own_a, own_b, views_b, views_a)[0, 0] <= n_bits // 20


def test_a_mirrored_copy_needs_one_view():
    own, views = perceptual_views(photo(), n_bits=64)

    assert len(own) == len(views) == 8
    assert perceptual_views(photo(), n_bits=64, turns=VIEWS["none"]) == (own, b"")


@pytest.mark.parametrize("n_bits", [0, 63, 128])
def test_a_hash_of_another_length_is_refused(n_bits):
    with pytest.raises(ValueError, match=f"has 64 or 256 bits, got {n_bits}"):
        perceptual_hash(photo(), n_bits=n_bits)


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


@pytest.mark.parametrize("n_bits", [64, 256])
def test_hashes_of_stripes_and_flat_colours_tell_nothing_and_those_of_pictures_are_as_ever(n_bits):
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).resize(
        (90, 70), Image.Resampling.BICUBIC
    )
    stripes = Image.fromarray(
        np.repeat(np.uint8([[[200, 0, 0]], [[255, 255, 255]], [[0, 0, 200]]]), 30, axis=0).repeat(90, 1)
    )
    flat = Image.new("RGB", (64, 64), (200, 30, 30))

    assert telling_views(picture, n_bits=n_bits) == perceptual_views(picture, n_bits=n_bits)
    assert [telling_views(each, n_bits=n_bits) for each in (stripes, flat)] == [None, None]
