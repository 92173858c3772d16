"""Any mode of Pillow -> 8-bit RGB."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Levels of 255 between the darkest and the lightest pixel of a picture that white hides: icons are not all pure white.
HIDDEN = 12
# A picture of more is worked on in bands of about as many: else a 16-bit grey takes 28 bytes a pixel, and RGBA 16.
BAND_PIXELS = 2**20


def bands(image: Image.Image) -> Iterator[Image.Image]:
    """The picture in full-width parts, from top to bottom, of so many pixels that the copy of one is of no weight."""
    height = max(1, BAND_PIXELS // image.width)
    if height >= image.height:
        yield image
        return
    for top in range(0, image.height, height):
        yield image.crop((0, top, image.width, min(top + height, image.height)))


def to_rgb(image: Image.Image) -> Image.Image:
    """The picture as RGB; one with transparency is laid on white, or on black where white leaves next to nothing of it.

    16-bit and 32-bit greys are scaled to 8 bits. A picture that is RGB is given back itself. Beside what is given, and
    what is made, a band is held.
    """
    if is_deep(image):
        image = _to_8_bit_grey(image)
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    on_white = _laid_on(image, "white")
    white_contrast = _contrast([on_white])
    if white_contrast > HIDDEN or _contrast(_bands_on(image, "black")) <= white_contrast:
        return on_white
    del on_white
    return _laid_on(image, "black")


def to_rgba(image: Image.Image) -> Image.Image:
    """A picture with transparency of any kind (a channel, a palette's, one colour) as RGBA."""
    return image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA")


def is_deep(image: Image.Image) -> bool:
    """Whether it is a grey of 16 or 32 bits."""
    return image.mode == "F" or image.mode.startswith("I")


def _bands_on(image: Image.Image, colour: str) -> Iterator[Image.Image]:
    for band in bands(image):
        rgba = to_rgba(band)
        yield Image.alpha_composite(Image.new("RGBA", rgba.size, colour), rgba).convert("RGB")


def _laid_on(image: Image.Image, colour: str) -> Image.Image:
    return _stacked("RGB", image.size, _bands_on(image, colour))


def _stacked(mode: str, size: tuple[int, int], parts: Iterable[Image.Image]) -> Image.Image:
    """One picture of its bands."""
    whole, top = Image.new(mode, size), 0
    for part in parts:
        if part.size == size:
            return part
        whole.paste(part, (0, top))
        top += part.height
    return whole


def _contrast(parts: Iterable[Image.Image]) -> int:
    """Levels between the extremes of the channel that has most."""
    extremes = np.array([part.getextrema() for part in parts])  # (parts, channels, 2)
    return int((extremes[..., 1].max(axis=0) - extremes[..., 0].min(axis=0)).max())


def _to_8_bit_grey(image: Image.Image) -> Image.Image:
    """Scale grey values of 16 or more bits to 0..255; Pillow's convert clips them there.

    Modes I;16* and I hold 0..65535 by convention, F 0..1. Values outside of that are stretched from their minimum to
    their maximum; NaN is black.
    """
    extremes = np.array([(values.min(), values.max()) for values in map(_values, bands(image))])
    low, high = float(extremes[:, 0].min()), float(extremes[:, 1].max())
    top = 1.0 if image.mode == "F" else 65535.0
    if low >= 0 and high <= top:
        low, high = 0.0, top
    width = max(high - low, np.finfo(np.float64).tiny)

    def scale(band: Image.Image) -> Image.Image:
        return Image.fromarray(np.rint((_values(band) - low) / width * 255).astype(np.uint8))

    scaled = _stacked("L", image.size, map(scale, bands(image)))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):  # PNG names one 16-bit grey as transparent
        alpha = (
            Image.fromarray(np.where(np.asarray(band) == transparent, 0, 255).astype(np.uint8)) for band in bands(image)
        )
        scaled.putalpha(_stacked("L", image.size, alpha))
    return scaled


def _values(image: Image.Image) -> NDArray[np.float64]:
    return np.nan_to_num(np.asarray(image).astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
