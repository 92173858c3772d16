"""Every way an image file can be odd or broken, with files written by Pillow or by hand."""

import pickle
import struct
import threading
import warnings
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from spark_imgdedup.kernels.bounds import ImageError
from spark_imgdedup.kernels.images import decode_image

MAX_PIXELS = 1_000_000
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def photo(width=64, height=48, seed=0):
    """Smooth colours, so that a JPEG of it stays close."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def saved(image, fmt, **options):
    buffer = BytesIO()
    image.save(buffer, fmt, **options)
    return buffer.getvalue()


def decode(data, max_pixels=MAX_PIXELS):
    return decode_image(data, max_pixels=max_pixels)


def difference(a, b):
    return float(np.abs(np.asarray(a, dtype=float) - np.asarray(b, dtype=float)).mean())


@pytest.mark.parametrize("fmt", ["PNG", "BMP", "TIFF", "PPM", "QOI", "JPEG2000", "WEBP"])
def test_a_losslessly_stored_picture_comes_back_unchanged(fmt):
    options = {"lossless": True} if fmt == "WEBP" else {}

    decoded = decode(saved(photo(), fmt, **options))

    assert np.array_equal(np.asarray(decoded.image), np.asarray(photo()))
    assert (decoded.image.mode, decoded.width, decoded.height, decoded.format) == ("RGB", 64, 48, fmt.lower())


@pytest.mark.parametrize("fmt", ["JPEG", "AVIF", "MPO"])
def test_a_lossy_picture_comes_back_alike(fmt):
    decoded = decode(saved(photo(), fmt, quality=95))

    assert difference(decoded.image, photo()) < 3
    assert decoded.format == ("avif" if fmt == "AVIF" else "jpeg")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_a_picture_is_turned_upright(fmt, orientation):
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the Transpose number that stores an upright picture turned
    stored = photo() if orientation == 1 else photo().transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation

    decoded = decode(saved(stored, fmt, exif=exif, **({} if fmt in {"PNG", "TIFF"} else {"quality": 95})))

    assert (decoded.width, decoded.height) == (64, 48)
    assert difference(decoded.image, photo()) < 4


def test_damaged_exif_data_do_not_cost_the_picture():
    decoded = decode(saved(photo(), "JPEG", exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff\x01\x12"))

    assert (decoded.width, decoded.height) == (64, 48)


def test_cmyk_is_converted():
    cmyk = photo().convert("CMYK")

    assert difference(decode(saved(cmyk, "JPEG", quality=95)).image, cmyk.convert("RGB")) < 4
    assert difference(decode(saved(cmyk, "TIFF")).image, cmyk.convert("RGB")) == 0


@pytest.mark.parametrize("mode", ["LAB", "YCbCr"])
def test_other_colour_spaces_are_converted(mode):
    if mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(photo(), srgb, lab, outputMode="LAB")
    else:
        image = photo().convert(mode)

    assert difference(decode(saved(image, "TIFF")).image, photo()) < 4


def test_palettes_and_bits_are_converted():
    palette = photo().quantize(16)
    bits = photo().convert("1")

    assert difference(decode(saved(palette, "PNG")).image, palette.convert("RGB")) == 0
    assert difference(decode(saved(bits, "PNG")).image, bits.convert("RGB")) == 0


def test_sixteen_bit_grey_is_scaled_and_not_clipped():
    values = np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16)

    for data in (saved(Image.fromarray(values), "PNG"), saved(Image.fromarray(values), "TIFF")):
        grey = np.asarray(decode(data).image)[..., 0]
        assert np.abs(grey - values / 257.0).max() <= 0.5


def test_a_sixteen_bit_pgm_is_scaled():
    values = np.linspace(0, 65535, 16).astype(">u2")

    grey = np.asarray(decode(b"P5 4 4 65535\n" + values.tobytes()).image)[..., 0].ravel()

    assert np.abs(grey - values.astype(float) / 257).max() <= 0.5


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0.0, 0.5, 1.0]], np.float32), [0, 128, 255]),  # F is 0..1 by convention
        (np.array([[-10.0, 0.0, 10.0]], np.float32), [0, 128, 255]),
        (np.array([[np.nan, 0.0, 1.0]], np.float32), [0, 0, 255]),
        (np.array([[-100_000, 0, 100_000]], np.int32), [0, 128, 255]),
        (np.array([[0, 32768, 65535]], np.int32), [0, 128, 255]),
        (np.array([[7.0, 7.0, 7.0]], np.float32), [0, 0, 0]),
    ],
)
def test_greys_of_thirty_two_bits_fill_the_eight(values, expected):
    assert np.asarray(decode(saved(Image.fromarray(values), "TIFF")).image)[0, :, 0].tolist() == expected


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_on_white(mode):
    clear = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    clear.putpixel((1, 0), (0, 0, 0, 255))

    decoded = decode(saved(clear.convert(mode), "PNG"))

    assert [decoded.image.getpixel((x, 0)) for x in (0, 1)] == [WHITE, (0, 0, 0)]


def test_a_transparent_palette_entry_is_laid_on_white():
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *BLUE])
    image.putpixel((1, 0), 1)

    for data in (saved(image, "PNG", transparency=0), saved(image, "GIF", transparency=0)):
        assert [decode(data).image.getpixel((x, 0)) for x in (0, 1)] == [WHITE, BLUE]
    partly = decode(saved(image, "PNG", transparency=bytes([128, 255]))).image
    assert partly.getpixel((0, 0)) == pytest.approx((255, 127, 127), abs=1)


def test_a_transparent_colour_key_is_laid_on_white():
    image = Image.new("RGB", (2, 1), RED)
    image.putpixel((1, 0), BLUE)
    deep = Image.fromarray(np.array([[1000, 30000]], np.uint16))

    assert [decode(saved(image, "PNG", transparency=RED)).image.getpixel((x, 0)) for x in (0, 1)] == [WHITE, BLUE]
    assert decode(saved(deep, "PNG", transparency=1000)).image.getpixel((0, 0)) == WHITE


@pytest.mark.parametrize("shade", [255, 248])
def test_a_picture_that_white_would_hide_is_laid_on_black(shade):
    icon = Image.new("RGBA", (9, 9), (255, 255, 255, 0))
    icon.paste((shade, shade, shade, 255), (2, 2, 7, 7))

    decoded = decode(saved(icon, "PNG")).image

    assert [decoded.getpixel(place) for place in ((0, 0), (4, 4))] == [(0, 0, 0), (shade,) * 3]


def test_a_picture_of_nothing_is_laid_on_white():
    assert decode(saved(Image.new("RGBA", (3, 3)), "PNG")).image.getcolors() == [(9, WHITE)]


@pytest.mark.parametrize("fmt", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_of_an_animation_counts(fmt):
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN, BLUE)]
    options = {"lossless": True} if fmt == "WEBP" else {}

    data = saved(frames[0], fmt, save_all=True, append_images=frames[1:], **options)

    assert decode(data).image.getpixel((4, 4)) == RED


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"<!DOCTYPE html><html>Not found</html>", "not an image of a known format: 37 bytes that start with b'<!DOC"),
        (b"\xff\xd8\xff\xe0", "the file is damaged"),
        (saved(photo(), "JPEG")[:400], "the file is damaged: OSError: Truncated File Read"),
        (saved(photo(), "JPEG")[:-100], "the file is damaged: OSError: .*truncated"),
        (saved(photo(), "PNG")[:-60], "the file is damaged"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image of a known format"),
    ],
)
def test_what_cannot_be_read_says_why_in_one_line(data, message):
    with pytest.raises(ImageError, match=message) as caught:
        decode(data)

    assert caught.value.reason == "unreadable"
    assert "\n" not in str(caught.value)


def test_a_picture_above_the_limit_is_refused():
    data = saved(photo(64, 48), "JPEG")

    assert decode(data, max_pixels=64 * 48).width == 64
    with pytest.raises(ImageError, match=r"jpeg of 64 x 48 pixels, more than max_pixels = 3071") as caught:
        decode(data, max_pixels=64 * 48 - 1)
    assert caught.value.reason == "too_large"


def png_that_claims(width, height):
    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(64))) + chunk(b"IEND", b"")
    )


def test_a_decompression_bomb_is_refused_before_it_is_decoded():
    with pytest.raises(ImageError, match="100000 x 100000") as caught:
        decode(png_that_claims(100_000, 100_000))

    assert caught.value.reason == "too_large"


def test_our_limit_rules_and_not_pillows(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)

    assert decode(saved(photo(), "PNG")).width == 64
    assert Image.MAX_IMAGE_PIXELS == 100


def test_an_error_survives_pickling():
    error = pickle.loads(pickle.dumps(ImageError("too_large", "why")))

    assert (error.reason, str(error)) == ("too_large", "why")


def test_no_warning_reaches_the_user():
    large_palette_key = saved(photo().quantize(8), "PNG", transparency=bytes(8))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        decode(large_palette_key)
        decode(saved(photo(), "JPEG", exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x03\x01\x12\x00\x03"))

    assert seen == []


def test_threads_do_not_disturb_each_other():
    files = [saved(photo(seed=seed), fmt) for seed in range(4) for fmt in ("JPEG", "PNG", "WEBP", "GIF")]
    expected = [np.asarray(decode(data).image) for data in files]
    wrong = []

    def work():
        for _ in range(10):
            for data, pixels in zip(files, expected, strict=True):
                if not np.array_equal(np.asarray(decode(data).image), pixels):
                    wrong.append(data)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []


FILES = {
    "jpeg": saved(photo(), "JPEG"),
    "cmyk": saved(photo().convert("CMYK"), "JPEG"),
    "progressive": saved(photo(), "JPEG", progressive=True),
    "png": saved(photo(), "PNG"),
    "palette": saved(photo().quantize(8), "PNG", transparency=0),
    "deep": saved(Image.fromarray(np.arange(3072, dtype=np.uint16).reshape(48, 64) * 20), "PNG"),
    "gif": saved(photo(), "GIF", save_all=True, append_images=[photo(seed=1)]),
    "webp": saved(photo(), "WEBP"),
    "tiff": saved(photo(), "TIFF", compression="tiff_lzw"),
    "bmp": saved(photo(), "BMP"),
    "jpeg2000": saved(photo(), "JPEG2000"),
    "avif": saved(photo(), "AVIF"),
    "ppm": saved(photo(), "PPM"),
    "qoi": saved(photo(), "QOI"),
}


def outcome(data):
    try:
        return decode(data)
    except ImageError as error:
        return error


def decodes_or_says_why(data):
    result = outcome(data)
    if isinstance(result, ImageError):
        assert result.reason in {"unreadable", "too_large"}
        assert "\n" not in str(result)
    else:
        assert result.image.mode == "RGB"
        assert (result.width, result.height) == result.image.size
        assert result.width * result.height <= MAX_PIXELS


@given(data=st.binary(max_size=300), head=st.sampled_from([data[:16] for data in FILES.values()] + [b""]))
def test_any_bytes_decode_or_say_why(data, head):
    decodes_or_says_why(head + data)


@given(
    data=st.sampled_from(list(FILES.values())),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=6),
    kept=st.floats(0, 1),
)
@settings(max_examples=400)
def test_damaged_files_decode_or_say_why(data, flips, kept):
    damaged = bytearray(data)
    for position, mask in flips:
        # half of the flips hit the headers
        spot = int(position * 2 * len(damaged)) if position < 0.5 else int((position - 0.5) * 2 * min(64, len(damaged)))
        damaged[spot] ^= mask
    decodes_or_says_why(bytes(damaged[: max(1, int(kept * len(damaged)))] if kept < 0.5 else damaged))
