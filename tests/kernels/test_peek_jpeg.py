"""Which files another decoder may be given, by their header alone."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from spark_imgdedup.kernels.bounds import ImageError
from spark_imgdedup.kernels.images import decode_image, peek_jpeg

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8))
APP0_JFIF, APP14_ADOBE = b"\xff\xe0", b"\xff\xee"


def jpeg(image=PICTURE, **options):
    buffer = BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def peek(data, max_pixels=10_000):
    return peek_jpeg(data, max_pixels=max_pixels)


def adobe(transform):
    return APP14_ADOBE + (14).to_bytes(2, "big") + b"Adobe\0d\0\0\0\0" + bytes([transform])


def with_header(data, header):
    """The file with another segment in place of JFIF's."""
    length = int.from_bytes(data[4:6], "big")
    assert data[2:4] == APP0_JFIF
    return data[:2] + header + data[4 + length :]


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 100}], ids=str)
def test_an_ordinary_colour_jpeg_is_left_to_others(options):
    data = jpeg(**options)
    found = peek(data)

    assert (found.data, found.width, found.height, found.turn, found.upright_size) == (data, 64, 48, None, (64, 48))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_says_what_makes_the_picture_upright(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = jpeg(exif=exif)
    found, whole = peek(data), decode_image(data, max_pixels=10_000)

    assert (found.width, found.height) == (64, 48)
    assert found.upright_size == (whole.width, whole.height)
    stored = decode_image(jpeg(), max_pixels=10_000).image
    assert (stored if found.turn is None else stored.transpose(found.turn)).tobytes() == whole.image.tobytes()


@pytest.mark.parametrize("header", [b"", adobe(1)], ids=["none", "adobe"])
def test_other_signs_of_the_usual_colours_do(header):
    assert peek(with_header(jpeg(), header)) is not None


@pytest.mark.parametrize(
    "data",
    [
        jpeg(PICTURE.convert("L")),
        jpeg(PICTURE.convert("CMYK")),
        jpeg(keep_rgb=True),
        with_header(jpeg(), adobe(0)),
        jpeg()[:2] + adobe(0) + jpeg()[2:],
    ],
    ids=["grey", "cmyk", "rgb", "adobe-rgb", "jfif-and-adobe-rgb"],
)
def test_colours_that_decoders_read_differently_are_not(data):
    decode_image(data, max_pixels=10_000)

    assert peek(data) is None


@pytest.mark.parametrize("missing", [1, 2, 100, 1000])
def test_a_file_that_was_cut_off_is_not(missing):
    assert peek(jpeg()[:-missing]) is None


def test_nor_one_whose_only_end_is_that_of_its_thumbnail():
    exif = b"Exif\0\0" + jpeg(PICTURE.resize((8, 8)))
    assert peek(jpeg(exif=exif)) is not None
    assert peek(jpeg(exif=exif)[:-2]) is None


@pytest.mark.parametrize("fmt", ["PNG", "WEBP", "GIF", "TIFF"])
def test_other_formats_are_not(fmt):
    buffer = BytesIO()
    PICTURE.save(buffer, fmt)

    assert peek(buffer.getvalue()) is None


@pytest.mark.parametrize(
    ("data", "max_pixels", "reason"),
    [(jpeg(), 3000, "too_large"), (b"", 10_000, "unreadable"), (jpeg()[:30], 10_000, "unreadable")],
)
def test_what_the_header_rules_out_has_the_reasons_of_decoding(data, max_pixels, reason):
    with pytest.raises(ImageError) as found:
        peek(data, max_pixels)
    with pytest.raises(ImageError) as expected:
        decode_image(data, max_pixels=max_pixels)

    assert (found.value.reason, str(found.value)) == (reason, str(expected.value))
