"""Which files count as one and the same picture, byte for byte of their pixels."""

from __future__ import annotations

import hashlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from spark_imgdedup.kernels.digests import pixel_digest
from spark_imgdedup.kernels.images import decode_image


def photo(seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8))


def icon(alpha, under=(255, 255, 255)):
    image = Image.new("RGBA", (12, 9), (*under, 0))
    image.paste((255, 255, 255, alpha), (3, 2, 9, 7))
    return image


def saved(image, image_format, **options):
    file = BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def animated(frames, image_format, **options):
    return saved(frames[0], image_format, save_all=True, append_images=frames[1:], **options)


def digest(data, max_pixels=1_000_000):
    return decode_image(data, max_pixels=max_pixels, with_digest=True).pixel_sha256


def test_a_digest_is_that_of_mode_size_and_pixels():
    image = Image.new("RGB", (2, 1), (1, 2, 3))

    assert pixel_digest([image]) == hashlib.sha256(b"RGB 2x1 " + bytes([1, 2, 3] * 2)).hexdigest()


def test_one_pixel_or_another_shape_changes_the_digest():
    image, tall, changed = Image.new("RGB", (4, 2)), Image.new("RGB", (2, 4)), Image.new("RGB", (4, 2))
    changed.putpixel((3, 1), (0, 0, 1))

    assert len({pixel_digest([picture]) for picture in (image, tall, changed)}) == 3
    assert pixel_digest([image]) == pixel_digest([image.copy()])


def test_no_digest_is_taken_unless_it_is_asked_for():
    assert decode_image(saved(photo(), "PNG"), max_pixels=1000).pixel_sha256 is None


def test_lossless_formats_of_one_picture_have_one_digest():
    files = [
        saved(photo(), "PNG"),
        saved(photo(), "BMP"),
        saved(photo(), "WEBP", lossless=True),
        saved(photo(), "TIFF"),
    ]

    assert len({digest(data) for data in files}) == 1


def test_an_opaque_alpha_a_palette_and_a_grey_are_equal_to_their_rgb():
    grey, few = photo().convert("L"), photo().quantize(8)

    for image, mode in [(photo(), "RGBA"), (grey, "LA"), (grey, "RGBA")]:
        assert digest(saved(image.convert(mode), "PNG")) == digest(saved(image.convert("RGB"), "PNG"))
    assert digest(saved(few, "PNG")) == digest(saved(few.convert("RGB"), "PNG")) == digest(saved(few, "GIF"))
    assert digest(saved(grey, "PNG")) == digest(saved(grey.convert("RGB"), "PNG"))


def test_icons_that_differ_only_in_alpha_or_in_what_lies_under_it_are_no_copies():
    files = [saved(icon(255), "PNG"), saved(icon(128), "PNG"), saved(icon(255, under=(0, 0, 0)), "PNG")]

    assert len({digest(data) for data in files}) == 3
    assert digest(files[0]) == digest(saved(icon(255), "WEBP", lossless=True, exact=True))


def test_a_turned_copy_has_the_digest_of_what_is_shown():
    exif = Image.Exif()
    exif[0x0112] = 3

    turned = saved(photo().transpose(Image.Transpose.ROTATE_180), "PNG", exif=exif)

    assert digest(turned) == digest(saved(photo(), "PNG"))


def test_greys_of_sixteen_bits_count_in_full():
    values = np.arange(108, dtype=np.uint16).reshape(9, 12)

    files = [saved(Image.fromarray(values), "PNG"), saved(Image.fromarray(values // 2), "PNG")]

    assert digest(files[0]) != digest(files[1])
    assert digest(files[0]) == digest(saved(Image.fromarray(values), "TIFF"))


def test_colours_for_print_are_equal_to_their_own_kind_only():
    cmyk = photo().convert("CMYK")

    assert digest(saved(cmyk, "TIFF")) == digest(saved(cmyk, "TIFF", compression="tiff_lzw"))
    assert digest(saved(cmyk, "TIFF")) != digest(saved(cmyk.convert("RGB"), "TIFF"))


@pytest.mark.parametrize(
    ("image_format", "options"), [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {}), ("TIFF", {})]
)
def test_files_that_share_a_first_frame_are_no_copies(image_format, options):
    frames = [photo(seed).quantize(16).convert("RGB") for seed in range(3)]
    files = [animated(list(taken), image_format, **options) for taken in (frames, frames[:2], [*frames[:2], frames[0]])]

    assert len({digest(data) for data in [*files, saved(frames[0], image_format, **options)]}) == 4
    assert digest(files[0]) == digest(animated(frames, image_format, **options))
    first = decode_image(files[0], max_pixels=1000, with_digest=True).image
    assert np.array_equal(np.asarray(first), np.asarray(decode_image(files[0], max_pixels=1000).image))


def test_an_animation_in_two_lossless_formats_has_one_digest():
    frames = [photo(seed) for seed in range(3)]

    assert digest(animated(frames, "PNG")) == digest(animated(frames, "WEBP", lossless=True))


def test_pages_of_several_sizes_all_count():
    pages = [photo(0), photo(1).resize((5, 7)), photo(2)]

    files = [animated(pages, "TIFF"), animated([pages[0], pages[2], pages[1]], "TIFF")]

    assert digest(files[0]) not in (None, digest(files[1]))


def test_frames_of_more_pixels_than_the_limit_have_no_digest_and_the_picture_is_there():
    data = animated([photo(seed) for seed in range(3)], "PNG")

    assert digest(data, max_pixels=3 * 108) is not None
    assert digest(data, max_pixels=3 * 108 - 1) is None
    assert decode_image(data, max_pixels=108, with_digest=True).width == 12


def test_a_damaged_later_frame_costs_the_digest_and_not_the_picture():
    frames = [Image.fromarray(np.random.default_rng(n).integers(0, 256, (40, 40), dtype=np.uint8)) for n in range(2)]
    data = animated(frames, "TIFF")
    damaged = saved(frames[0], "TIFF")
    whole = decode_image(data, max_pixels=10_000, with_digest=True)

    cut = decode_image(data[: len(damaged) + 100], max_pixels=10_000, with_digest=True)

    assert whole.pixel_sha256 is not None
    assert cut.pixel_sha256 is None
    assert np.array_equal(np.asarray(cut.image), np.asarray(whole.image))
