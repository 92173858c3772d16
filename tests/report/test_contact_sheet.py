import io

import numpy as np
import pytest
from PIL import Image, ImageColor

from spark_imgdedup.kernels.images import ImageError
from spark_imgdedup.report.contact_sheet import REPEATED, SHEET_WIDTH, PicturePair, contact_sheet, shorten

RED, BLUE = (200, 30, 30), (30, 60, 200)


def png(width, height, colour=RED, mode="RGB"):
    buffer = io.BytesIO()
    Image.new(mode, (width, height), colour).save(buffer, "PNG")
    return buffer.getvalue()


def pair(removed=None, repeated=None, **given):
    return PicturePair(removed or png(40, 30), "b/000001", repeated or png(40, 30, BLUE), "a/000001", 0.9123, **given)


def colours_of(path, box):
    with Image.open(path) as sheet:
        return {colour for _, colour in sheet.crop(box).getcolors(maxcolors=1 << 20)}


def drawn(path, colour):
    """Where a colour is on the sheet: left, upper, right, lower."""
    with Image.open(path) as sheet:
        rows, columns = np.nonzero((np.asarray(sheet) == colour).all(axis=2))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def test_a_sheet_is_as_wide_as_a_readme_and_grows_by_rows_of_three(tmp_path):
    sizes = []
    for n in (1, 3, 4, 7):
        contact_sheet([pair()] * n, tmp_path / f"{n}.png")
        with Image.open(tmp_path / f"{n}.png") as sheet:
            sizes.append(sheet.size)
    assert {width for width, _ in sizes} == {SHEET_WIDTH}
    one, three, four, seven = (height for _, height in sizes)
    assert one == three
    assert four - three == seven - four > 0


def test_the_removed_image_is_left_of_the_one_it_repeats(tmp_path):
    contact_sheet([pair()], tmp_path / "sheet.png")
    removed, repeated = drawn(tmp_path / "sheet.png", RED), drawn(tmp_path / "sheet.png", BLUE)
    assert removed[2] <= repeated[0]
    assert removed[1::2] == repeated[1::2]


@pytest.mark.parametrize(("width", "height"), [(1, 1), (600, 3), (3, 600), (1000, 400), (20, 90)])
def test_an_image_of_any_shape_is_shown_whole_and_within_its_box(tmp_path, width, height):
    fills_its_box = png(500, 400, BLUE)
    contact_sheet([pair(removed=png(width, height), repeated=fills_its_box)], tmp_path / "sheet.png")
    removed, box = drawn(tmp_path / "sheet.png", RED), drawn(tmp_path / "sheet.png", BLUE)
    shown = removed[2] - removed[0], removed[3] - removed[1]
    scale = min((box[2] - box[0]) / width, (box[3] - box[1]) / height, 2)
    assert shown == pytest.approx((max(1, width * scale), max(1, height * scale)), abs=1)
    assert removed[2] <= box[0]
    assert box[1] <= removed[1] < removed[3] <= box[3]


def test_transparent_grey_and_palette_images_are_drawn(tmp_path):
    images = [png(30, 30, (10, 20, 30, 128), "RGBA"), png(30, 30, 99, "L"), png(30, 30, 3, "P")]
    contact_sheet([pair(removed=image) for image in images], tmp_path / "sheet.png")
    assert (99, 99, 99) in colours_of(tmp_path / "sheet.png", (0, 0, SHEET_WIDTH, 200))


def test_score_and_note_change_what_is_written_beneath(tmp_path):
    contact_sheet([pair(note="cropped")], tmp_path / "a.png")
    contact_sheet([pair(note="brighter")], tmp_path / "b.png")
    contact_sheet([pair(note="cropped")], tmp_path / "c.png")
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a == c != b


def test_a_repeated_image_that_was_removed_too_is_not_marked_as_kept(tmp_path):
    contact_sheet([pair()], tmp_path / "kept.png")
    contact_sheet([pair(is_kept=False)], tmp_path / "removed.png")

    green = ImageColor.getrgb(REPEATED)
    whole = (0, 0, SHEET_WIDTH, 200)
    assert green in colours_of(tmp_path / "kept.png", whole)
    assert green not in colours_of(tmp_path / "removed.png", whole)


def test_a_long_id_keeps_its_end_which_tells_it_from_others():
    text = "s3-bucket/laion/2026/part-00012/shard-000123/000451"
    short = shorten(text, 140)
    assert short.startswith("…")
    assert text.endswith(short[1:])
    assert 10 < len(short) < len(text)


def test_a_short_id_stays_as_it_is():
    assert shorten("photos/000451", 140) == "photos/000451"


def test_text_without_any_room_is_an_ellipsis():
    assert shorten("photos/000451", 1) == "…"


def test_the_folder_is_made_and_the_suffix_names_the_format(tmp_path):
    contact_sheet([pair()], tmp_path / "new" / "sheet.webp")
    with Image.open(tmp_path / "new" / "sheet.webp") as sheet:
        assert sheet.format == "WEBP"


def test_no_pairs_is_an_error():
    with pytest.raises(ValueError, match="at least one pair"):
        contact_sheet([], "nowhere.png")


def test_bytes_that_are_no_image_are_an_error(tmp_path):
    with pytest.raises(ImageError, match="not an image"):
        contact_sheet([pair(removed=b"no picture at all")], tmp_path / "sheet.png")
