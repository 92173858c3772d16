from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from spark_imgdedup.kernels import lanczos
from spark_imgdedup.kernels.lanczos import MOST_UPRIGHT, reduced


def grey_picture(seed, width, height, contrast):
    """Noise, stripes of black and white that overshoot, or a gradient."""
    rng = np.random.default_rng(seed)
    pixels = {
        "noise": lambda: rng.integers(0, 256, (height, width)),
        "stripes": lambda: 255 * (np.add.outer(np.arange(height) // 7, np.arange(width) // rng.integers(1, 40)) % 2),
        "gradient": lambda: np.add.outer(np.arange(height), np.arange(width)) * 255 // (width + height),
    }[contrast]()
    return Image.fromarray(pixels.astype(np.uint8))


def by_pillow(picture, side):
    return np.asarray(picture.resize((side, side), Image.Resampling.LANCZOS))


@given(
    seed=st.integers(0, 2**32 - 1),
    width=st.integers(1, 1200),
    upright=st.floats(0.01, MOST_UPRIGHT),
    side=st.sampled_from([32, 64]),
    contrast=st.sampled_from(["noise", "stripes", "gradient"]),
)
def test_a_picture_is_reduced_to_the_bytes_that_pillow_gives(seed, width, upright, side, contrast):
    picture = grey_picture(seed, width, max(1, int(upright * width)), contrast)

    assert np.array_equal(np.asarray(reduced(picture, side)), by_pillow(picture, side))


@pytest.mark.parametrize("size", [(300, 900), (6500, 40), (20_000, 9)], ids=["tall", "wide", "too wide"])
def test_what_products_cannot_do_pillow_does(size, monkeypatch):
    picture = grey_picture(0, *size, "noise")
    taken = []
    along_rows = lanczos._along_rows
    monkeypatch.setattr(lanczos, "_along_rows", lambda *given: taken.append(1) or along_rows(*given))

    assert np.array_equal(np.asarray(reduced(picture, 32)), by_pillow(picture, 32))
    assert bool(taken) == (size == (6500, 40))


def test_rows_are_taken_in_parts_that_join(monkeypatch):
    monkeypatch.setattr(lanczos, "_AT_ONCE", 1000)
    picture = grey_picture(1, 301, 203, "noise")

    assert np.array_equal(np.asarray(reduced(picture, 32)), by_pillow(picture, 32))
