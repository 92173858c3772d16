"""The SHA-256 of a picture's pixels: equal for files that decode to the very same picture, whatever their format."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from PIL import Image

from spark_imgdedup.kernels.colours import is_deep, to_rgba

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
        mode, pixels = _pixels(frame)
        digest.update(f"{mode} {frame.width}x{frame.height} ".encode())
        digest.update(pixels)
    return digest.hexdigest()


def _pixels(image: Image.Image) -> tuple[str, bytes]:
    if is_deep(image):
        kind = "<f4" if image.mode == "F" else "<i4"
        return f"{kind} {image.info.get('transparency')}", np.asarray(image).astype(kind).tobytes()
    if image.has_transparency_data:
        rgba = to_rgba(image)
        if rgba.getchannel("A").getextrema() != (255, 255):
            return "RGBA", rgba.tobytes()
        return "RGB", rgba.convert("RGB").tobytes()
    if image.mode in _AS_RGB:
        return "RGB", (image if image.mode == "RGB" else image.convert("RGB")).tobytes()
    return image.mode, image.tobytes()
