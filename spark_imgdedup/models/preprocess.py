"""A picture as the array that a model wants: resize, crop, scale, lay out.

Gives the same numbers as torchvision's Resize, CenterCrop, ToTensor and Normalize, without torch.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_ASPECT = 32  # longest side / shortest side that is resized whole
Colour = tuple[float, float, float]

INTERPOLATION = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class Preprocess(BaseModel):
    """How a model wants its pictures. The pixels are 0..1 before mean and std, or 0..255 with dtype uint8."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Annotated[int, Field(ge=1)] = 224  # pixels, square
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    dtype: Literal["float32", "uint8"] = "float32"
    mean: Colour = (0.0, 0.0, 0.0)
    std: Colour = (1.0, 1.0, 1.0)
    resize: Literal["squash", "crop"] = "crop"  # crop: the shortest side to size / crop_pct, then the centre
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    crop_pct: Annotated[float, Field(gt=0, le=1)] = 1.0

    @model_validator(mode="after")
    def _require_usable_scale(self) -> Preprocess:
        if min(self.std) <= 0:
            raise ValueError(f"std must be above 0 in each channel, got {self.std}")
        if self.dtype == "uint8" and (self.mean != (0.0, 0.0, 0.0) or self.std != (1.0, 1.0, 1.0)):
            raise ValueError(
                "mean and std do not apply to dtype uint8: the model scales its pixels itself; leave them out"
            )
        return self


def limit_aspect(image: Image.Image) -> Image.Image:
    """Cut the ends off a strip before its shortest side is enlarged: 1 x 1,000,000 pixels would become 57 GB.

    Only the middle square is used afterwards, so the result moves by less than one pixel.
    """
    width, height = image.size
    longest = MAX_ASPECT * min(width, height)
    if max(width, height) <= longest:
        return image
    left, top = max(0, (width - longest) // 2), max(0, (height - longest) // 2)
    return image.crop((left, top, left + min(width, longest), top + min(height, longest)))


def to_array(image: Image.Image, how: Preprocess) -> np.ndarray[Any, Any]:
    """An RGB picture as (3, size, size) or (size, size, 3), by how.layout, of how.dtype."""
    pixels = np.asarray(_fit(image, how))
    if how.dtype == "float32":
        mean, std = np.asarray(how.mean, np.float32), np.asarray(how.std, np.float32)
        pixels = (pixels.astype(np.float32) / np.float32(255) - mean) / std
    return np.ascontiguousarray(pixels.transpose(2, 0, 1) if how.layout == "NCHW" else pixels)


def _fit(image: Image.Image, how: Preprocess) -> Image.Image:
    scaled = math.floor(how.size / how.crop_pct)
    if how.resize == "crop":
        image = limit_aspect(image)
    width, height = image.size
    if how.resize == "squash":
        width = height = scaled
    elif width <= height:
        width, height = scaled, int(scaled * height / width)
    else:
        width, height = int(scaled * width / height), scaled
    if (width, height) != image.size:
        image = image.resize((width, height), INTERPOLATION[how.interpolation])
    left, top = round((width - how.size) / 2), round((height - how.size) / 2)
    return image.crop((left, top, left + how.size, top + how.size))
