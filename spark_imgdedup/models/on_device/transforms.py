"""What torchvision's transforms do with a picture, read off them so that a device can do it instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from spark_imgdedup.models.preprocess import Fit
from spark_imgdedup.preprocess import Colour

# open_clip and timm have classes of their own for these two.
TO_RGB, TO_TENSOR = {"MaybeConvertMode"}, {"MaybeToTensor", "ToTensor"}


@dataclass(frozen=True)
class ImageTransform:
    """A transform from an RGB picture to a model's input.

    Attributes:
        fit: Which pixels the model gets.
        mean: Taken off the pixels of 0 to 1, by channel.
        std: What they are divided by then.
    """

    fit: Fit
    mean: Colour
    std: Colour


def read_transform(transform: Any) -> ImageTransform | None:
    """What a torchvision Compose does: Resize, CenterCrop or none, ToTensor, Normalize; None for anything else.

    Only squares are known, which all CLIP models and nearly all timm models take.
    """
    steps = [step for step in getattr(transform, "transforms", ()) if type(step).__name__ not in TO_RGB]
    names = ["ToTensor" if type(step).__name__ in TO_TENSOR else type(step).__name__ for step in steps]
    if names not in (["Resize", "CenterCrop", "ToTensor", "Normalize"], ["Resize", "ToTensor", "Normalize"]):
        return None
    resize, normalize, crops = steps[0], steps[-1], len(steps) == 4
    scaled, squash = _side(resize.size)
    size = _side(steps[1].size)[0] if crops else scaled
    interpolation = _interpolation(resize)
    if scaled is None or size is None or interpolation is None or size > scaled or not (squash or crops):
        return None
    return ImageTransform(
        Fit(scaled, size, squash, interpolation),
        (float(normalize.mean[0]), float(normalize.mean[1]), float(normalize.mean[2])),
        (float(normalize.std[0]), float(normalize.std[1]), float(normalize.std[2])),
    )


def _side(size: int | Sequence[int]) -> tuple[int | None, bool]:
    """Pixels a side, and whether both sides are given; None for what is no square."""
    if isinstance(size, int):
        return size, False
    return (int(size[0]) if len(set(size)) == 1 else None), len(size) == 2


def _interpolation(resize: Any) -> Literal["bilinear", "bicubic"] | None:
    """The filter; None where it is another one, takes no account of all pixels, or has a limit of its own."""
    if resize.max_size is not None or not resize.antialias:
        return None
    name = resize.interpolation.value
    return name if name in ("bilinear", "bicubic") else None
