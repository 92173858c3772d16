"""Runs without torch: where the pictures of a batch lie in its block of bytes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_imgdedup.models.on_device.staging import layout_of

SIZES = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), max_size=20)


def pictures_of(sizes):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]


@settings(max_examples=60)
@given(SIZES, st.integers(1, 80))
def test_each_picture_is_found_where_its_group_says(sizes, most_pixels):
    pictures = pictures_of(sizes)
    layout = layout_of(pictures, most_pixels)
    block = np.zeros(layout.n_bytes, np.uint8)
    layout.pack(pictures, block)

    found = {}
    for group in layout.groups:
        held = block[group.start : group.stop].reshape(group.n, group.height, group.width, 3)
        found |= {layout.order[group.row + place]: held[place] for place in range(group.n)}

    assert sorted(found) == list(range(len(pictures)))
    assert all(np.array_equal(found[number], picture) for number, picture in enumerate(pictures))
    assert all(group.n * group.height * group.width <= most_pixels or group.n == 1 for group in layout.groups)


def test_pictures_of_one_size_are_one_group():
    layout = layout_of(pictures_of([(2, 3), (3, 2), (2, 3), (2, 3)]))

    assert [(group.n, group.height, group.width) for group in layout.groups] == [(3, 2, 3), (1, 3, 2)]
    assert layout.order == (0, 2, 3, 1)


def test_no_pictures_take_no_bytes():
    assert layout_of([]).n_bytes == 0
