"""JPEGs decoded on a device: by nvJPEG on CUDA, by torchvision's libjpeg on a CPU."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from PIL.Image import Transpose

from spark_imgdedup.kernels.images import Jpeg
from spark_imgdedup.kernels.orientation import SIDEWAYS

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)


def decode_jpegs(jpegs: Sequence[Jpeg], device: torch.device) -> list[torch.Tensor | None]:
    """RGB pictures (3, H, W) uint8 as they are stored, on the device; None for a file that its decoder refuses.

    nvJPEG's hardware writes at once, whatever still waits in the current stream: so nothing may wait there, and these
    tensors must be recorded for the stream that reads them. Source: pytorch/vision#9606, meta-pytorch/torchcodec#1634.
    """
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    files = [torch.frombuffer(bytearray(jpeg.data), dtype=torch.uint8) for jpeg in jpegs]
    try:
        found = decode_jpeg(files, mode=ImageReadMode.RGB, device=device) if files else []
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # of one file, and it does not say which
        if len(jpegs) > 1:
            half = len(jpegs) // 2
            return [*decode_jpegs(jpegs[:half], device), *decode_jpegs(jpegs[half:], device)]
        log.debug("a JPEG is left to the CPU: %s", error)
        return [None]
    return list(found)


def upright(pixels: torch.Tensor, turn: Transpose | None) -> torch.Tensor:
    """The picture (3, H, W) turned as Pillow's transpose turns it."""
    if turn in SIDEWAYS:
        pixels = pixels.transpose(1, 2)
    if turn in (Transpose.FLIP_TOP_BOTTOM, Transpose.ROTATE_180, Transpose.ROTATE_90, Transpose.TRANSVERSE):
        pixels = pixels.flip(1)
    if turn in (Transpose.FLIP_LEFT_RIGHT, Transpose.ROTATE_180, Transpose.ROTATE_270, Transpose.TRANSVERSE):
        pixels = pixels.flip(2)
    return pixels
