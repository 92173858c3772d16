"""What a picture may cost, and files that would cost more: each made here, in a few lines."""

from __future__ import annotations

import base64
import struct
import subprocess
import sys
import textwrap
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from spark_imgdedup.formats import IMAGE_SUFFIXES, SUFFIXES_OF
from spark_imgdedup.kernels import bounds, colours, images, orientation
from spark_imgdedup.kernels.bounds import BYTES_PER_PIXEL, MAX_SCANS, ImageError, count_scans
from spark_imgdedup.kernels.colours import to_rgb
from spark_imgdedup.kernels.digests import pixel_digest
from spark_imgdedup.kernels.images import decode_image
from spark_imgdedup.kernels.jpeg2000 import MOST_HEADERS, count_blocks

MAX_PIXELS = 1_000_000
# 64 x 48, blue above red, written by libheif and x265.
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAX1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAA"
    "ACJpbG9jAAAAAERAAAEAAQAAAAABoQABAAAAAAAAACsAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRt"
    "AAAAAAABAAAA/WlwcnAAAADdaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMA"
    "AAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5j"
    "bHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAAEAAAAABAAAAMAAAAAEAAAAAAAAAAv////AAAAACAAAAEHBp"
    "eGkAAAAAAwgICAAAABhpcG1hAAAAAAAAAAEAAQWBAgMFhAAAADNtZGF0AAAAJygBrxmA94RJf+88CNZjeIM1eK+wjPPtR8kFay58"
    "51XwcD7vsjRiKw=="
)


def photo(width=64, height=48):
    coarse = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def saved(image, fmt, **options):
    buffer = BytesIO()
    image.save(buffer, fmt, **options)
    return buffer.getvalue()


def refused(data, max_pixels=MAX_PIXELS):
    with pytest.raises(ImageError) as caught:
        decode_image(data, max_pixels=max_pixels, with_digest=True)
    assert caught.value.reason == "too_large"
    return str(caught.value)


def chunk(name, body=b""):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_of(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes((width + 1) * height))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND")


def with_scans(n, image):
    """A progressive JPEG whose last scan comes n times more."""
    data = saved(image, "JPEG", progressive=True)
    end, start = data.rindex(b"\xff\xd9"), data.rindex(b"\xff\xda")
    return data[:end] + data[start:end] * n + data[end:]


# --- suffixes


def test_the_suffixes_are_those_that_pillow_knows_for_the_formats_that_are_decoded():
    Image.init()
    theirs = {}
    for suffix, name in Image.registered_extensions().items():
        theirs.setdefault({"MPO": "JPEG"}.get(name, name), set()).add(suffix[1:])

    ours = {name: set(suffixes) for name, suffixes in SUFFIXES_OF.items()}

    assert {name: theirs.get(name, ours[name]) for name in ours} == ours
    assert {"jpg", "jfif", "jpe", "avif", "jp2", "ppm", "heic", "tif"} <= IMAGE_SUFFIXES
    assert len(IMAGE_SUFFIXES) == sum(map(len, SUFFIXES_OF.values()))


# --- scans


def test_a_jpeg_of_very_many_scans_is_refused_by_scans_times_pixels():
    image = photo(400, 300)

    most = MAX_SCANS * MAX_PIXELS // (400 * 300)
    usual = count_scans(saved(image, "JPEG", progressive=True), 100)

    assert decode_image(with_scans(most - usual, image), max_pixels=MAX_PIXELS).width == 400
    assert f"jpeg of 400 x 300 pixels with more than {most} scans" in refused(with_scans(most - usual + 1, image))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 1}, {"quality": 100}])
def test_scans_are_counted_as_the_standard_has_them(options):
    data = saved(photo(), "JPEG", **options)
    expected = count_scans(data, 100)
    thumbnail = data[:2] + b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data + data[2:]

    assert expected == (10 if "progressive" in options else 1)
    assert count_scans(thumbnail + data * 3, 100) == expected  # in a segment, and behind the end
    assert count_scans(b"\xff\xd8junk" + data[2:], 100) == expected
    assert count_scans(data, 0) == 1


def test_a_film_behind_a_photo_is_no_scan():
    film = np.random.default_rng(0).bytes(4 * 2**20)

    found = decode_image(saved(photo(1000, 1000), "JPEG") + film, max_pixels=MAX_PIXELS)

    assert film.count(b"\xff\xda") > MAX_SCANS
    assert found.width == 1000


# --- steps and seconds


@pytest.mark.parametrize(
    "data",
    [
        saved(photo(), "PNG")[:33] + chunk(b"teSt") * 2000 + saved(photo(), "PNG")[33:],
        b"\xff\xd8" + b"\xff\xfe\x00\x02" * 2000 + saved(photo(), "JPEG")[2:],
        b"qoif" + struct.pack(">IIBB", 50, 50, 3, 0) + b"\x6a" * 2500 + bytes(7) + b"\1",
        b"P6\n#" + b" " * 2000 + b"\n2 2 255\n" + bytes(12),
        b"P5 50 50 65534\n" + bytes(5000),
        b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6) + b"!\xfe\x01a\0" * 2000 + b";",
        b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2000) + struct.pack("<HHQQ", 65000, 1, 1, 1) * 2000,
    ],
    ids=["png chunks", "jpeg comments", "qoi pixels", "ppm header", "pgm values", "gif comments", "tiff tags"],
)
def test_a_file_of_very_many_pieces_is_refused_in_every_format(monkeypatch, data):
    monkeypatch.setattr(bounds, "MAX_READS", 1500)

    assert refused(data) == "it is made of more than 1,500 pieces"


def test_usual_files_take_few_steps(monkeypatch):
    monkeypatch.setattr(bounds, "MAX_READS", 200)

    for fmt in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000", "PPM"):
        assert decode_image(saved(photo(300, 200), fmt), max_pixels=MAX_PIXELS, with_digest=True).pixel_sha256


def test_a_file_that_takes_too_long_is_refused(monkeypatch):
    monkeypatch.setattr(bounds, "MAX_SECONDS", 0.0)

    assert refused(saved(photo(), "PNG")) == "reading it takes more than 0 s"


def test_numbers_as_text_are_read_up_to_a_bound(monkeypatch):
    data = b"P3 2 1 255\n255 0 0  0 0 255\n"
    monkeypatch.setattr(bounds, "MAX_PLAIN_BYTES", len(data))

    assert decode_image(data, max_pixels=MAX_PIXELS).image.getpixel((1, 0)) == (0, 0, 255)
    assert "holds its pixels as text" in refused(data + b"\n")


def test_very_many_frames_have_no_digest_and_the_first_is_read(monkeypatch):
    frames = [Image.new("RGB", (2, 2), (shade, 0, 0)) for shade in range(6)]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])

    assert decode_image(data, max_pixels=MAX_PIXELS, with_digest=True).pixel_sha256 is not None
    monkeypatch.setattr(images, "MAX_FRAMES", 5)
    assert decode_image(data, max_pixels=MAX_PIXELS, with_digest=True).pixel_sha256 is None


def test_very_large_exif_data_says_nothing_of_the_orientation(monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(photo(64, 48), "WEBP", exif=exif.tobytes())

    assert decode_image(data, max_pixels=MAX_PIXELS).width == 48
    monkeypatch.setattr(orientation, "MAX_EXIF_BYTES", 8)
    assert decode_image(data, max_pixels=MAX_PIXELS).width == 64


# --- memory


def test_a_picture_of_one_line_is_refused_before_its_weights_fill_the_memory():
    assert "more than 1,000,000 along a side" in refused(png_of(1_000_001, 1), max_pixels=2_000_000)
    assert decode_image(png_of(100_000, 1), max_pixels=MAX_PIXELS).width == 100_000


@pytest.mark.parametrize("fmt", ["WEBP", "JPEG2000"])
def test_a_format_whose_decoder_takes_more_has_fewer_pixels(fmt):
    data = saved(photo(60, 50), fmt)
    least = 60 * 50 * bounds.DECODER_BYTES[fmt] // BYTES_PER_PIXEL

    assert decode_image(data, max_pixels=least).width == 60
    assert f"{fmt.lower()} of 60 x 50 pixels, which take" in refused(data, max_pixels=least - 1)


def test_a_jpeg_2000_in_very_small_blocks_has_fewer_pixels():
    image, size = photo(400, 300), (400, 300)
    usual, small, in_tiles = (
        saved(image, "JPEG2000", **options)
        for options in ({}, {"precinct_size": (4, 4), "codeblock_size": (4, 4)}, {"tile_size": (8, 8)})
    )
    least = 120_000 * bounds.DECODER_BYTES["JPEG2000"] // BYTES_PER_PIXEL + 10_000  # the usual blocks are within it

    assert count_blocks(usual, size) == (39, 1)
    assert count_blocks(in_tiles, size)[1] == 50 * 38
    assert 120_000 // 16 < count_blocks(small, size)[0] < 120_000 // 4
    assert decode_image(usual, max_pixels=least).width == 400
    assert decode_image(small, max_pixels=MAX_PIXELS).width == 400
    assert "blocks and 1,900 tiles: more than" in refused(in_tiles, max_pixels=least)
    assert "blocks and 1 tiles: more than 12 bytes times max_pixels" in refused(small, max_pixels=least)


def test_blocks_are_found_in_the_headers_of_tiles_too():
    data = saved(photo(64, 64), "JPEG2000", tile_size=(32, 32), codeblock_size=(32, 32), num_resolutions=1)
    start = data.index(b"\xff\x93")
    for marker, head in ((b"\xff\x52", b"\1\0\0\1\0"), (b"\xff\x53", b"\1\1")):
        body = head + b"\0\4\4\0\1\x11"
        changed = data[:start] + marker + struct.pack(">H", len(body) + 2) + body + data[start:]

        assert count_blocks(changed, (64, 64)) == (64 * 64 // 4, 4)
    assert count_blocks(data, (64, 64)) == (4, 4)
    assert count_blocks(b"no picture", (64, 64)) == (0, 1)
    endless = b"\xff\x4f\xff\x51\0\2" + b"\xff\x64\0\2" * (MOST_HEADERS + 1)
    with pytest.raises(OverflowError, match="headers"):
        count_blocks(endless, (64, 64))


def deep(kind, seed=0):
    return np.random.default_rng(seed).integers(0, 60_000, (60, 50)).astype(kind)


def transparent(image, alpha=None):
    with_alpha = image.convert("RGBA")
    values = np.random.default_rng(1).integers(0, 256, (image.height, image.width), dtype=np.uint8)
    with_alpha.putalpha(Image.fromarray(values) if alpha is None else alpha)
    return with_alpha


def icon():
    image = Image.new("RGBA", (50, 60), (255, 255, 255, 0))
    image.paste((250, 250, 250, 255), (10, 10, 30, 50))
    return image


@pytest.mark.parametrize(
    "image",
    [
        photo(50, 60),
        transparent(photo(50, 60)),
        transparent(photo(50, 60), 255),
        transparent(photo(50, 60)).convert("LA"),
        icon(),
        photo(50, 60).quantize(16),
        photo(50, 60).convert("CMYK"),
        photo(50, 60).convert("1"),
        Image.fromarray(deep(np.uint16)),
        Image.fromarray(deep(np.int32) - 30_000),
        Image.fromarray(deep(np.float32) / 60_000),
    ],
    ids=lambda image: image.mode,
)
def test_a_picture_in_bands_is_the_whole_picture(monkeypatch, image):
    whole, digest = to_rgb(image).tobytes(), pixel_digest([image])
    monkeypatch.setattr(colours, "BAND_PIXELS", 350)

    assert len(list(colours.bands(image))) == 9
    assert to_rgb(image).tobytes() == whole
    assert pixel_digest([image]) == digest


LOOK = """
    import resource, sys
    from PIL import Image
    from spark_imgdedup.kernels.images import decode_image
    from spark_imgdedup.models.stream import EmbeddedImage, PixelWork

    def look(data):
        found = decode_image(data, max_pixels=100_000_000, with_digest=True)
        PixelWork(phash_bits=64, trim_borders=True).prepare(EmbeddedImage("", None, None), found)

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB

    look(b"P6 64 64 255 " + bytes(64 * 64 * 3))
    before = peak()
    for name in sys.argv[1:]:
        with open(name, "rb") as file:
            look(file.read())
        print(peak() - before)
"""


def large_files(side):
    turned = Image.Exif()
    turned[0x0112] = 6
    colour = Image.new("RGB", (side, side), (9, 99, 200))
    grey = Image.fromarray(np.full((side, side), 999, np.uint16))
    return {
        "turned, progressive": saved(colour, "JPEG", progressive=True, subsampling=0, exif=turned),
        "transparent": saved(transparent(Image.new("RGB", (side, side)), 128), "PNG", compress_level=1),
        "16-bit grey": saved(grey, "PNG", compress_level=1),
        "16-bit grey with a transparent value": saved(grey, "PNG", compress_level=1, transparency=999),
        "palette": saved(Image.new("P", (side, side)), "GIF", transparency=0),
    }


def test_decoding_and_what_is_made_of_the_pixels_takes_twelve_bytes_a_pixel(tmp_path):
    files = large_files(4000)
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)

    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LOOK), *(tmp_path / name for name in files)],
        capture_output=True,
        check=True,
    )

    peaks = dict(zip(files, (int(line) / 4000**2 for line in found.stdout.split()), strict=True))
    slack = 3  # bytes a pixel at this size: a band, in float64
    assert {name: peak for name, peak in peaks.items() if peak > BYTES_PER_PIXEL + slack} == {}


# --- HEIF and AVIF


def test_heic_is_decoded_where_pi_heif_is_there():
    pytest.importorskip("pi_heif")

    found = decode_image(HEIC, max_pixels=MAX_PIXELS, with_digest=True)

    assert (found.format, found.width, found.height) == ("heif", 64, 48)
    assert found.image.getpixel((5, 5)) == pytest.approx((20, 40, 220), abs=8)
    assert found.pixel_sha256 is not None
    with pytest.raises(ImageError, match="the file is damaged"):
        decode_image(HEIC[:-20], max_pixels=MAX_PIXELS)


@pytest.mark.parametrize(("data", "extra"), [(HEIC, "heic"), (saved(photo(), "AVIF"), "avif")])
def test_what_an_extra_would_decode_says_which(monkeypatch, data, extra):
    known = {name: opener for name, opener in images._openers().items() if name not in ("HEIF", "AVIF")}
    monkeypatch.setattr(images, "_openers", lambda: known)

    with pytest.raises(ImageError, match=rf"pip install 'spark-imgdedup\[{extra}\]'") as caught:
        decode_image(data, max_pixels=MAX_PIXELS)

    assert caught.value.reason == "unreadable"


def test_a_container_is_told_by_all_its_brands():
    avif = saved(photo(), "AVIF")

    assert images._container(avif[:8] + b"mif1" + avif[12:]) == "AVIF"
    assert images._container(HEIC[:8] + b"mif1" + HEIC[12:]) == "HEIF"
    assert images._container(b"\0\0\0\x14ftypisom\0\0\0\0mp41") is None
    assert images._container(b"\xff\xff\xff\xffftypisom") is None
