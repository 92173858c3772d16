"""The SHA-256 of a picture's pixels: equal for files that decode to the very same picture, whatever their format."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from PIL import Image

from spark_imgdedup.kernels.colours import bands, is_deep, to_rgba

# Modes that RGB holds without loss, where nothing is transparent.
_AS_RGB = {"1", "L", "P", "RGB", "RGBX", "RGBA", "LA", "PA"}


def pixel_digest(frames: Iterable[Image.Image]) -> str:
    """SHA-256 in hexadecimal of mode, size and pixels of each frame, one after the other.

    The pixels are those that the file holds, before transparency is laid on a background: what lies under alpha 0
    counts too. RGB where every pixel is opaque, so that a palette, a grey and an opaque RGBA are equal to their RGB;
    else RGBA. Greys of 16 and 32 bits count in full. CMYK and other colour spaces are only equal to their own kind.

    A frame may be the same object as the one before, moved on.
    """
    digest = hashlib.sha256()
    for frame in frames:
        mode = _mode_of(frame)
        digest.update(f"{mode} {frame.width}x{frame.height} ".encode())
        for band in bands(frame):
            digest.update(_pixels(band, mode))
    return digest.hexdigest()


def _mode_of(image: Image.Image) -> str:
    """What the pixels are taken as; of deep greys the type, and the value that is transparent."""
    if is_deep(image):
        return f"{'<f4' if image.mode == 'F' else '<i4'} {image.info.get('transparency')}"
    if image.has_transparency_data:
        is_opaque = all(to_rgba(band).getchannel("A").getextrema() == (255, 255) for band in bands(image))
        return "RGB" if is_opaque else "RGBA"
    return "RGB" if image.mode in _AS_RGB else image.mode


def _pixels(image: Image.Image, mode: str) -> bytes:
    if is_deep(image):
        return np.asarray(image).astype(mode.split()[0]).tobytes()
    if image.has_transparency_data:
        rgba = to_rgba(image)
        return (rgba if mode == "RGBA" else rgba.convert("RGB")).tobytes()
    return (image if image.mode == mode else image.convert(mode)).tobytes()
