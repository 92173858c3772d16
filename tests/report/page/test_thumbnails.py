"""Small pictures: upright, bounded, and of whatever can be decoded."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from spark_imgdedup.kernels.bounds import ImageError
from spark_imgdedup.report.page.thumbnails import ALL_BYTES, LONGEST, MOST_BYTES, Thumbnails
from tests.report.page.pages import photo

SMALL = Thumbnails(MOST_BYTES, 10**7)


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def opened(uri):
    head, _, data = uri.partition(",")
    assert head == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def halves(size, first, second, mode="RGB"):
    """The left half in one colour, the right one in another."""
    image = Image.new(mode, size, first)
    image.paste(second, (size[0] // 2, 0, *size))
    return image


def test_a_picture_that_its_camera_turned_stands_upright():
    turned = Image.Exif()
    turned[0x0112] = 6  # a quarter to the right, to be seen upright
    data = encoded(halves((60, 40), "black", "white"), "JPEG", exif=turned)

    small = opened(SMALL(data)).convert("L")

    assert small.size == (40, 60)
    assert small.getpixel((20, 5)) < 60 < 200 < small.getpixel((20, 55))


def test_what_is_transparent_is_laid_on_a_ground():
    small = opened(SMALL(encoded(halves((60, 40), (255, 0, 0, 255), (0, 0, 0, 0), "RGBA"))))

    assert small.mode == "RGB"
    assert min(small.getpixel((55, 20))) > 240


@pytest.mark.parametrize(("size", "expected"), [((1440, 720), (LONGEST, LONGEST // 2)), ((30, 20), (30, 20))])
def test_a_large_picture_shrinks_and_a_small_one_stays(size, expected):
    assert opened(SMALL(encoded(Image.new("RGB", size, "teal")))).size == expected


def test_a_line_of_pixels_keeps_a_pixel_of_width():
    assert opened(SMALL(encoded(Image.new("RGB", (5000, 1))))).size == (LONGEST, 1)


@pytest.mark.parametrize("n", [1, 40, 600, 2000])
def test_all_pictures_of_a_page_together_have_a_bound_even_of_noise(n):
    data = photo(1, (700, 700))

    length = len(Thumbnails.of(n, 10**7)(data))

    assert length * 3 / 4 * n <= ALL_BYTES + 100 * n


def test_what_is_no_picture_or_too_large_says_so():
    with pytest.raises(ImageError):
        SMALL(b"\xff\xd8\xff not a picture")
    with pytest.raises(ImageError, match="pixels"):
        Thumbnails(MOST_BYTES, 100)(encoded(Image.fromarray(np.zeros((20, 20), np.uint8))))
