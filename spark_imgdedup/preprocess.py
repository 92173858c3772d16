"""What both settings and models say of encoders: which come with the package, and how a model wants its pictures.

No numeric library: every command reads this.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

LITE0, LITE0_INT8 = "efficientnet-lite0", "efficientnet-lite0-int8"
PACKAGED = (LITE0, LITE0_INT8)

Colour = tuple[float, float, float]


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
