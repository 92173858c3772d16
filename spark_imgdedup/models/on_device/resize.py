"""Pictures of any sizes, fitted to a model's input where they lie: as Pillow does it, to a level."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_imgdedup.kernels.content import CELLS
from spark_imgdedup.models.preprocess import Fit

if TYPE_CHECKING:
    import torch


def fit_into(batch: torch.Tensor, pictures: torch.Tensor, fit: Fit) -> None:
    """Resize and crop pictures of one size.

    Along the rows first, then along the columns, rounded to bytes after each, as Pillow does it: without the first
    rounding sharp edges differ by up to 19 levels, with it by one. Pillow 13 takes the columns first where `squash`
    makes the height alone smaller; there noise differs by up to 22, as it does between Pillow 12 and 13.

    Args:
        batch: (N, 3, size, size) uint8, which is written.
        pictures: (N, 3, H, W) uint8, in any order in memory.
        fit: How.
    """
    _, _, height, width = pictures.shape
    pixels = pictures
    new_width, new_height = fit.scaled_size(width, height)
    left, top = fit.corner(new_width, new_height)
    if new_width != width:
        pixels = _resized(pixels, (height, new_width), fit)
    pixels = pixels[..., left : left + fit.size]
    if new_height != height:
        pixels = _resized(pixels, (new_height, fit.size), fit)
    batch.copy_(pixels[..., top : top + fit.size, :])


def cells_of(pictures: torch.Tensor) -> torch.Tensor:
    """Pictures of one size in cells, the mean of each, as Pillow's BOX makes them: (N, 64, 64, 3) uint8.

    `kernels.content.cells` reduces by whole numbers first.

    Args:
        pictures: (N, 3, H, W) uint8.
    """
    means = _means(_means(pictures.float(), 3), 2)
    return means.add_(0.5).permute(0, 2, 3, 1).byte()


def _means(pixels: torch.Tensor, axis: int) -> torch.Tensor:
    """Along one axis the mean of those pixels whose middle lies in the cell, as of Pillow's BOX; of one at least."""
    import torch

    n = pixels.shape[axis]
    cells = torch.arange(CELLS + 1, device=pixels.device, dtype=torch.float64)
    edges = (cells * (n / CELLS)).add_(0.5).floor_().long()
    middle = (cells[:-1] + 0.5).mul_(n / CELLS).long()
    first, last = torch.minimum(edges[:-1], middle), torch.maximum(edges[1:] - 1, middle)
    sums = pixels.cumsum(axis)  # exact in float32: at most 4,096 times 255
    inside = sums.index_select(axis, last) - sums.index_select(axis, first) + pixels.index_select(axis, first)
    return inside / (last - first + 1).view([-1 if each == axis else 1 for each in range(pixels.ndim)])


def _resized(pixels: torch.Tensor, size: tuple[int, int], fit: Fit) -> torch.Tensor:
    from torch.nn import functional as F

    found = F.interpolate(pixels.float(), size, mode=fit.interpolation, align_corners=False, antialias=True)
    return found.add_(0.5).clamp_(0, 255).floor_()  # halves up, as Pillow's
