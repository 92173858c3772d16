"""Decoded pictures of any sizes as one block of bytes, those of one size side by side, to be copied at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]  # (H, W, 3)

# Pixels that are resized by one call; as float32 of three channels they take 192 MiB.
MOST_PIXELS = 1 << 24


@dataclass(frozen=True)
class Group:
    """Pictures of one size, one after the other.

    Attributes:
        start: Of the first one's bytes.
        row: Of the first one in the batch.
        n: How many.
        height: Pixels.
        width: Pixels.
    """

    start: int
    row: int
    n: int
    height: int
    width: int

    @property
    def stop(self) -> int:
        """Where the last one's bytes end."""
        return self.start + 3 * self.n * self.height * self.width


@dataclass(frozen=True)
class Layout:
    """Where the pictures of a batch lie.

    Attributes:
        order: For each row of the batch, which of the pictures it is.
        groups: In the order of the rows.
    """

    order: tuple[int, ...]
    groups: tuple[Group, ...]

    @property
    def n_bytes(self) -> int:
        """Of all pictures."""
        return self.groups[-1].stop if self.groups else 0

    def pack(self, pictures: Sequence[Picture], block: npt.NDArray[np.uint8]) -> None:
        """Copy the pictures to their places in `block` (n_bytes,)."""
        start = 0
        for number in self.order:
            picture = pictures[number]
            block[start : start + picture.size] = picture.reshape(-1)
            start += picture.size


def layout_of(pictures: Sequence[Picture], most_pixels: int = MOST_PIXELS) -> Layout:
    """Rows by size, so that pictures of one size are resized together, at most `most_pixels` or one by a call."""
    order = sorted(range(len(pictures)), key=lambda number: pictures[number].shape)  # stable
    groups: list[Group] = []
    for row, number in enumerate(order):
        height, width, _ = pictures[number].shape
        last = groups[-1] if groups else None
        fits = last is not None and (last.height, last.width) == (height, width)
        if last is not None and fits and (last.n + 1) * height * width <= most_pixels:
            groups[-1] = Group(last.start, last.row, last.n + 1, height, width)
        else:
            groups.append(Group(last.stop if last is not None else 0, row, 1, height, width))
    return Layout(tuple(order), tuple(groups))
