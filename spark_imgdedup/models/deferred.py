"""JPEGs whose pixels only the encoder's device sees: what is told of them before, and afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy.typing as npt
from PIL import Image

from spark_imgdedup.kernels.bounds import ImageError
from spark_imgdedup.kernels.content import PLAIN_DETAIL, cells, detail, is_grey, plain_pixels
from spark_imgdedup.kernels.images import Jpeg, decode_image, peek_jpeg
from spark_imgdedup.models.base import DecodingEncoder, Encoder

if TYPE_CHECKING:
    from spark_imgdedup.models.stream import EmbeddedImage

# Cells of other pixels, and made otherwise, have other detail: below that many times PLAIN_DETAIL the CPU looks too.
# Measured: by at most 0.035 on the 286 pictures of the sample shards, which have 0.11 and more.
MAYBE_PLAIN = 2


def defer(row: EmbeddedImage, data: bytes, encoder: Encoder | None, max_pixels: int) -> Jpeg | None:
    """The file for the encoder, where it takes it, with what its header says put into the row.

    Raises:
        ImageError: as `decode_image`.
    """
    if not isinstance(encoder, DecodingEncoder):
        return None
    jpeg = peek_jpeg(data, max_pixels=max_pixels)
    if jpeg is None or not encoder.takes(jpeg):
        return None
    row.width, row.height = jpeg.upright_size
    row.pixels, row.image_format = jpeg.width * jpeg.height, "jpeg"
    return jpeg


def look(row: EmbeddedImage, jpeg: Jpeg, seen: npt.NDArray[Any] | None) -> None:
    """Put colour and detail into the row.

    Plain pictures are judged by their pixels, and these are the CPU's, wherever a picture is embedded. So is the reason
    for a file that the device has refused.

    Args:
        row: Of the file.
        jpeg: The file.
        seen: Its cells, from the device; None where that could not decode it.
    """
    if seen is not None:
        small = Image.fromarray(seen)
        row.is_grey, row.detail = is_grey(small), detail(small)
        if row.detail >= MAYBE_PLAIN * PLAIN_DETAIL:
            return
    try:
        whole = decode_image(jpeg.data, max_pixels=jpeg.width * jpeg.height).image
    except ImageError as error:
        row.rejected_because, row.error = error.reason, str(error)
        row.width = row.height = row.pixels = row.image_format = None
        return
    small = cells(whole)
    row.is_grey, row.detail = is_grey(small), detail(small)
    if row.detail < PLAIN_DETAIL:
        row.plain_pixels = plain_pixels(whole)
