from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from spark_imgdedup.kernels import borders
from spark_imgdedup.kernels.borders import Borders, trim_borders


def photo(width=320, height=240, seed=0):
    """Colours everywhere, up to the edges."""
    coarse = np.random.default_rng(seed).integers(30, 226, (12, 16, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def bordered(image, left, top, right, bottom, colour="black"):
    return ImageOps.expand(image, (left, top, right, bottom), colour)


def jpeg(image, quality):
    file = BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def product(margin=60, size=320):
    """A round thing on white."""
    image = Image.new("RGB", (size, size), "white")
    ImageDraw.Draw(image).ellipse((margin, margin, size - margin, size - margin), fill="navy")
    return image


@pytest.mark.parametrize(
    "cut",
    [(0, 40, 0, 40), (50, 0, 50, 0), (20, 20, 20, 20), (0, 30, 0, 60), (7, 50, 21, 90), (0, 0, 80, 0), (0, 90, 0, 0)],
    ids=["letterbox", "pillars", "frame", "uneven bars", "uneven frame", "padding at the right", "one bar"],
)
@pytest.mark.parametrize("colour", ["black", "white", "red", (120, 130, 140)])
def test_bars_frames_and_padding_are_cut_to_the_pixel(cut, colour):
    trimmed, found = trim_borders(bordered(photo(), *cut, colour))

    assert found == Borders(*cut)
    assert np.array_equal(np.asarray(trimmed), np.asarray(photo()))


@pytest.mark.parametrize("quality", [92, 75, 30])
def test_the_noise_of_jpeg_does_not_hide_a_border(quality):
    found = trim_borders(jpeg(bordered(photo(), 0, 44, 0, 44), quality))[1]

    assert found == pytest.approx((0, 44, 0, 44), abs=2)


def test_noise_in_a_small_picture_leaves_its_border_a_border():
    small = product().resize((80, 80), Image.Resampling.LANCZOS)

    assert trim_borders(jpeg(small, 30))[1] == pytest.approx((15, 15, 15, 15), abs=2)


def test_a_border_is_found_in_a_large_picture_to_a_few_pixels():
    cut = (0, 300, 0, 310)

    trimmed, found = trim_borders(bordered(photo(2400, 1500), *cut))

    assert found == pytest.approx(cut, abs=8)
    assert trimmed.size == (2400, 1500 + 610 - found.top - found.bottom)


def test_bars_may_take_more_than_half_where_the_picture_begins_at_a_sharp_edge():
    found = trim_borders(bordered(photo(), 0, 170, 0, 170))[1]

    assert found == (0, 170, 0, 170)


def test_a_white_margin_is_cut_to_the_thing_in_it():
    found = trim_borders(product())[1]

    assert found == pytest.approx((60, 60, 60, 60), abs=4)


def test_a_margin_with_a_little_thing_in_it_stays():
    assert trim_borders(product(margin=90))[1] is None


def test_a_page_with_a_line_of_text_stays():
    page = Image.new("RGB", (300, 400), "white")
    ImageDraw.Draw(page).text((20, 60), "This page is intentionally left blank " * 2, fill="black")

    assert trim_borders(page)[1] is None


def test_a_page_with_a_ruled_line_stays():
    page = Image.new("RGB", (300, 400), "white")
    ImageDraw.Draw(page).rectangle((20, 60, 280, 72), fill="black")

    assert trim_borders(page)[1] is None


def test_a_page_with_a_line_of_text_is_cut_out_of_bars_so_that_it_still_counts_as_plain():
    page = Image.new("RGB", (300, 300), "white")
    ImageDraw.Draw(page).text((20, 60), "This page is intentionally left blank", fill="black")

    assert trim_borders(bordered(page, 0, 60, 0, 60))[1] == (0, 60, 0, 60)


def test_a_border_around_a_border_is_cut_too():
    once = trim_borders(product())[0]

    trimmed = trim_borders(bordered(product(), 0, 35, 0, 35))[0]

    assert trimmed.size == pytest.approx(once.size, abs=3)


def test_a_sky_is_not_a_border():
    land = Image.new("RGB", (320, 240), (150, 190, 240))
    hills = [(0, 150), (80, 110), (160, 170), (240, 120), (320, 160), (320, 240), (0, 240)]
    ImageDraw.Draw(land).polygon(hills, fill="green")
    land.paste(photo(320, 60), (0, 180))

    assert trim_borders(land.filter(ImageFilter.GaussianBlur(1)))[1] is None


@pytest.mark.parametrize("size", [(320, 240), (1, 1), (2000, 3), (1, 700)])
def test_a_picture_of_one_colour_stays_as_it_is(size):
    flat = Image.new("RGB", size, "teal")

    assert trim_borders(flat) == (flat, None)


@pytest.mark.parametrize("turn", [None, Image.Transpose.ROTATE_90])
def test_a_flag_of_three_bands_stays(turn):
    flag = Image.new("RGB", (300, 200), "white")
    flag.paste("green", (0, 0, 100, 200))
    flag.paste("red", (200, 0, 300, 200))

    assert trim_borders(flag if turn is None else flag.transpose(turn))[1] is None


def test_a_flag_of_many_bands_is_not_cut_to_one_of_them():
    flag = Image.new("RGB", (300, 200), "red")
    for place, colour in enumerate(("blue", "yellow", "green")):
        flag.paste(colour, (0, 50 * place + 50, 300, 50 * place + 100))

    assert trim_borders(flag) == (flag, None)


@pytest.mark.parametrize("quality", [92, 30])
def test_a_dark_picture_keeps_its_edges_in_black_bars(quality):
    night = photo().point(lambda level: 12 + level // 3)

    found = trim_borders(jpeg(bordered(night, 40, 40, 40, 40), quality))[1]

    assert found == pytest.approx((40, 40, 40, 40), abs=2)


def test_writing_on_a_dim_texture_does_not_make_its_edges_borders():
    dim = Image.fromarray(np.random.default_rng(0).integers(20, 48, (256, 256, 3), dtype=np.uint8))
    written = dim.copy()
    ImageDraw.Draw(written).text((30, 40), "CO\nPY", fill="yellow", font_size=80)

    assert (trim_borders(dim)[1], trim_borders(written)[1]) == (None, None)


@pytest.mark.parametrize("quality", [92, 30])
def test_colour_that_jpeg_smears_into_a_thin_border_does_not_hide_it(quality):
    red = ImageOps.colorize(photo(256, 256).convert("L"), "darkred", "orange")

    found = trim_borders(jpeg(bordered(red, 15, 15, 15, 15), quality))[1]

    assert found == pytest.approx((15, 15, 15, 15), abs=2)


def test_a_picture_without_borders_is_the_very_one_that_was_given():
    image = photo()

    assert trim_borders(image)[0] is image


@given(arrays(np.uint8, (40, 3)), st.tuples(*[st.integers(0, 255)] * 3))
def test_the_pixels_of_a_line_are_picture_where_those_of_a_whole_are(pixels, colour):
    line = Image.fromarray(pixels[None])

    assert np.array_equal(
        borders._picture_in_line(pixels.T.astype(np.int32), colour),
        np.asarray(borders._difference(line, colour)[0].point(borders._RAMP))[0],
    )
