"""Any mode of Pillow -> 8-bit RGB."""

from __future__ import annotations

import numpy as np
from PIL import Image

# Levels of 255 between the darkest and the lightest pixel of a picture that white hides: icons are not all pure white.
HIDDEN = 12


def to_rgb(image: Image.Image) -> Image.Image:
    """The picture as RGB; one with transparency is laid on white, or on black where white leaves next to nothing of it.

    16-bit and 32-bit greys are scaled to 8 bits. A picture that is RGB is given back itself.
    """
    if is_deep(image):
        image = _to_8_bit_grey(image)
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    rgba = to_rgba(image)
    on_white = _laid_on(rgba, "white")
    if _contrast(on_white) > HIDDEN:
        return on_white
    on_black = _laid_on(rgba, "black")
    return on_black if _contrast(on_black) > _contrast(on_white) else on_white


def to_rgba(image: Image.Image) -> Image.Image:
    """A picture with transparency of any kind (a channel, a palette's, one colour) as RGBA."""
    return image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA")


def is_deep(image: Image.Image) -> bool:
    """Whether it is a grey of 16 or 32 bits."""
    return image.mode == "F" or image.mode.startswith("I")


def _laid_on(rgba: Image.Image, colour: str) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", rgba.size, colour), rgba).convert("RGB")


def _contrast(image: Image.Image) -> int:
    """Levels between the extremes of the channel that has most."""
    extremes = np.array(image.getextrema())
    return int(np.ptp(extremes, axis=1).max())


def _to_8_bit_grey(image: Image.Image) -> Image.Image:
    """Scale grey values of 16 or more bits to 0..255; Pillow's convert clips them there.

    Modes I;16* and I hold 0..65535 by convention, F 0..1. Values outside of that are stretched from their minimum to
    their maximum; NaN is black.
    """
    values = np.nan_to_num(np.asarray(image).astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    top = 1.0 if image.mode == "F" else 65535.0
    if low >= 0 and high <= top:
        low, high = 0.0, top
    grey = np.rint((values - low) / max(high - low, np.finfo(np.float64).tiny) * 255)
    scaled = Image.fromarray(grey.astype(np.uint8))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):  # PNG names one 16-bit grey as transparent
        alpha = np.where(np.asarray(image) == transparent, 0, 255).astype(np.uint8)
        scaled.putalpha(Image.fromarray(alpha))
    return scaled
