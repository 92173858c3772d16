from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from benchmarks.plain_pictures import plain_pictures
from spark_imgdedup.kernels.borders import trim_borders
from spark_imgdedup.kernels.content import (
    PLAIN_BYTES,
    PLAIN_DETAIL,
    PLAIN_TOLERANCE,
    detail,
    is_grey,
    near_equal,
    plain_keys,
    plain_pixels,
)


@pytest.fixture(scope="module")
def plain():
    return plain_pictures()


def photo(seed=0, side=160):
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def saved(image, image_format, **options):
    file = BytesIO()
    image.save(file, image_format, **options)
    return Image.open(file).convert("RGB")


def rows_of(images):
    return np.stack([np.frombuffer(plain_pixels(image), np.uint8) for image in images])


# Detail


def test_pictures_with_little_in_them_are_plain(plain):
    found = {name: detail(trim_borders(image)[0]) for name, image in plain.items()}

    assert len(found) == 40
    assert max(found.values()) < 0.95 * PLAIN_DETAIL
    assert max(value for name, value in found.items() if not name.startswith("page")) < 0.001


def test_a_picture_with_shapes_everywhere_is_not_plain():
    assert detail(photo()) > 0.2


@pytest.mark.parametrize("options", [{"quality": 50}, {"quality": 90}])
def test_jpeg_does_not_add_detail(plain, options):
    assert max(detail(saved(image, "JPEG", **options)) for image in plain.values()) < PLAIN_DETAIL


def test_two_halves_of_one_colour_each_are_plain_and_a_chessboard_is_not():
    halves, board = Image.new("RGB", (128, 128)), Image.new("RGB", (128, 128))
    ImageDraw.Draw(halves).rectangle((0, 0, 63, 127), fill="yellow")
    for square in range(32):
        x, y = square % 4 * 32 + square // 4 % 2 * 16, square // 4 * 16
        ImageDraw.Draw(board).rectangle((x, y, x + 15, y + 15), fill="yellow")

    assert detail(halves) == pytest.approx(2 * 64 / 7936, abs=1e-4)
    assert detail(board) == pytest.approx(2 * 2 * 7 * 64 / 7936, abs=1e-4)


# Plain pixels


def test_no_two_plain_pictures_that_differ_are_near_equal(plain):
    rows = rows_of(plain.values())

    assert np.array_equal(near_equal(rows, rows), np.eye(40, dtype=bool))


@pytest.mark.parametrize(
    ("image_format", "options"),
    [
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"quality": 80}),
        ("JPEG", {"quality": 90}),
    ],
)
def test_a_plain_picture_saved_again_is_near_equal_to_itself_alone(plain, image_format, options):
    again = [saved(image, image_format, **options) for image in plain.values()]

    assert np.array_equal(near_equal(rows_of(plain.values()), rows_of(again)), np.eye(40, dtype=bool))


def test_noise_of_jpeg_75_leaves_plain_pictures_near_equal_to_themselves(plain):
    again = [saved(image, "JPEG", quality=75) for image in plain.values()]

    found = near_equal(rows_of(plain.values()), rows_of(again))

    assert found.diagonal().all()
    assert found.sum() <= 42  # two invoices that differ in two digits


def test_flat_pictures_of_other_shapes_are_not_near_equal():
    sizes = [(300, 100), (100, 300), (200, 200), (150, 50)]

    rows = rows_of(Image.new("RGB", size, "teal") for size in sizes)

    assert near_equal(rows[:1], rows).tolist() == [[True, False, False, True]]


@given(n=st.integers(0, 5), m=st.integers(0, 5), seed=st.integers(0, 99))
def test_near_equal_means_that_no_cell_differs_by_more_than_the_tolerance(n, m, seed):
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 256, PLAIN_BYTES)

    def rows(count):
        moved = base + rng.integers(-2, 3, (count, PLAIN_BYTES)) // rng.choice([1, 3], (count, 1))
        return np.clip(moved, 0, 255).astype(np.uint8)

    a, b = rows(n), rows(m)
    differing = np.abs(a[:, None].astype(int) - b[None].astype(int))

    assert np.array_equal(near_equal(a, b), (differing <= PLAIN_TOLERANCE).all(axis=2))


def test_many_rows_are_compared_in_parts(monkeypatch):
    monkeypatch.setattr("spark_imgdedup.kernels.content.MOST_BYTES", 3 * 7 * PLAIN_BYTES)
    rows = np.random.default_rng(0).integers(0, 256, (7, PLAIN_BYTES), dtype=np.uint8)

    assert np.array_equal(near_equal(rows, rows), np.eye(7, dtype=bool))


@given(seed=st.integers(0, 999))
def test_near_equal_pictures_share_a_key(seed):
    rng = np.random.default_rng(seed)
    a = np.tile(rng.integers(3, 253, PLAIN_BYTES) // 8 * rng.integers(1, 9), (2, 1))
    b = a + rng.choice([-3, 3], (2, 1)) * (rng.random(a.shape) < 0.9)
    a, b = (np.clip(rows, 0, 255).astype(np.uint8) for rows in (a, b))

    assert near_equal(a, b).diagonal().all()
    assert (plain_keys(a) == plain_keys(b)).any(axis=1).all()


def test_copies_of_plain_pictures_share_a_key_and_few_others_do(plain):
    keys = plain_keys(rows_of(plain.values()))
    saved_again = plain_keys(rows_of(saved(image, "WEBP", quality=80) for image in plain.values()))

    together = (keys[:, None] == saved_again[None]).any(axis=2)

    assert together.diagonal().all()
    assert together.mean() < 0.25


@pytest.mark.parametrize("bad", [np.zeros((2, 9), np.uint8), np.zeros((2, PLAIN_BYTES)), np.zeros(PLAIN_BYTES, "u1")])
def test_what_is_no_matrix_of_plain_pixels_is_refused(bad):
    with pytest.raises(ValueError, match=rf"b must be a uint8 matrix \(N, {PLAIN_BYTES}\), got"):
        near_equal(np.zeros((1, PLAIN_BYTES), np.uint8), bad)


# Grey


@pytest.mark.parametrize(
    ("image_format", "options"),
    [("PNG", {}), ("JPEG", {"quality": 30}), ("WEBP", {"quality": 30}), ("AVIF", {"quality": 60})],
)
def test_a_grey_picture_stays_grey_however_it_is_saved(image_format, options):
    assert is_grey(saved(photo().convert("L").convert("RGB"), image_format, **options))


def test_a_grey_picture_with_a_small_red_mark_has_colour():
    image = photo().convert("L").convert("RGB")
    ImageDraw.Draw(image).rectangle((20, 20, 24, 24), fill="red")

    assert not is_grey(image)
    assert not is_grey(photo())
