"""A file -> a small picture that stands in the page itself: upright, at most so many bytes."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from PIL import Image

from spark_imgdedup.kernels.images import decode_image

# Pixels of the longer side: cards are about half as wide, and screens have two pixels in one.
LONGEST = 360
_SMALLEST = 48
# Bytes of all pictures of a page as files; in base64 a third more. The page may have 8 MB.
ALL_BYTES = 4_500_000
MOST_BYTES = 24_000
_QUALITIES = (78, 60, 42)


@dataclass(frozen=True)
class Thumbnails:
    """Makes a data URI of a file.

    Attributes:
        max_bytes: Of a picture.
        max_pixels: A larger image is not decoded.
    """

    max_bytes: int
    max_pixels: int

    @classmethod
    def of(cls, n: int, max_pixels: int) -> Thumbnails:
        """For a page that shows n of them."""
        return cls(min(MOST_BYTES, ALL_BYTES // max(n, 1)), max_pixels)

    def __call__(self, data: bytes) -> str:
        """The data URI of a file's first frame, upright, in RGB, as WebP.

        Raises:
            ImageError: it is no picture, or too large.
        """
        image = decode_image(data, max_pixels=self.max_pixels).image
        longest = float(LONGEST)
        while True:
            small = _shrunk(image, longest)
            for quality in _QUALITIES:
                found = io.BytesIO()
                small.save(found, "WEBP", quality=quality, method=4)
                if found.tell() <= self.max_bytes or (longest <= _SMALLEST and quality == _QUALITIES[-1]):
                    return f"data:image/webp;base64,{base64.b64encode(found.getvalue()).decode()}"
            longest = max(longest * 0.7, _SMALLEST)


def _shrunk(image: Image.Image, longest: float) -> Image.Image:
    """Of the same shape, but one side of at least a pixel; small images stay as they are."""
    scale = min(1.0, longest / max(image.size))
    size = tuple(max(1, round(side * scale)) for side in image.size)
    return image if scale == 1.0 else image.resize((size[0], size[1]), Image.Resampling.LANCZOS, reducing_gap=3.0)
