"""Which way up a picture is, by its EXIF data."""

from __future__ import annotations

from PIL import Image

from spark_imgdedup.kernels.bounds import MAX_EXIF_BYTES

EXIF_ORIENTATION = 0x0112
UPRIGHT = {  # EXIF 2.32, tag Orientation: the turn that undoes it
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = {UPRIGHT[number] for number in (5, 6, 7, 8)}  # width and height change places


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """What undoes the EXIF orientation; damaged EXIF data says nothing about it."""
    if len(image.info.get("exif") or b"") > MAX_EXIF_BYTES:
        return None
    try:
        return UPRIGHT.get(image.getexif().get(EXIF_ORIENTATION, 1))
    except Exception:  # read only now: PNG may hold EXIF behind its pixels
        return None


def turned(image: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    """The picture after that turn."""
    if turn is None:
        return image
    result = image.transpose(turn)
    result.info = image.info  # transparency
    return result
