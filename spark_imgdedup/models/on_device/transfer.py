"""Pictures of any sizes on their way to a device: as pixels in one block, or as JPEGs that it decodes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spark_imgdedup.kernels.images import Jpeg
from spark_imgdedup.models.on_device.jpegs import decode_jpegs, upright
from spark_imgdedup.models.on_device.staging import MOST_PIXELS, Picture, layout_of
from spark_imgdedup.models.on_device.streams import Streams

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Group:
    """Pictures of one size on the device.

    Attributes:
        numbers: Which they are in the batch.
        pixels: (N, 3, H, W) uint8.
        is_decoded: Whether the device has decoded them.
    """

    numbers: Sequence[int]
    pixels: torch.Tensor
    is_decoded: bool


class Transfer:
    """Brings batches to one device."""

    def __init__(self, streams: Streams, decode: Callable[[Jpeg], Picture | None]) -> None:
        """By these streams.

        Args:
            streams: Those of the device.
            decode: Gives the pixels of a JPEG that the device refuses; None where there are none.
        """
        self._streams, self._decode = streams, decode
        self._has_said = False

    def bring(self, pictures: Sequence[Picture | Jpeg]) -> list[Group]:
        """Those of one size together, for the model's stream to read; what nobody can decode is left out."""
        jpegs = {number: each for number, each in enumerate(pictures) if isinstance(each, Jpeg)}
        decoded, refused = self._decoded(jpegs)
        given = {number: each for number, each in enumerate(pictures) if not isinstance(each, Jpeg)} | refused
        copied, staged = self._copied(given)
        self._streams.hand_over([staged, *decoded.values()])
        with self._streams.computing():
            return [*copied, *_stacked({number: upright(decoded[number], jpegs[number].turn) for number in decoded})]

    def _decoded(self, jpegs: Mapping[int, Jpeg]) -> tuple[dict[int, torch.Tensor], dict[int, Picture]]:
        with self._streams.decoding():
            found = dict(zip(jpegs, decode_jpegs(list(jpegs.values()), self._streams.device), strict=True))
        decoded = {number: pixels for number, pixels in found.items() if pixels is not None}
        self._say_once(len(jpegs) - len(decoded), len(jpegs))
        refused = {number: self._decode(jpegs[number]) for number in jpegs if number not in decoded}
        return decoded, {number: picture for number, picture in refused.items() if picture is not None}

    def _say_once(self, n_refused: int, n: int) -> None:
        if n_refused and not self._has_said:
            self._has_said = True
            log.warning(
                "%s refuses %d of %d JPEGs: the CPU decodes these, and later ones", self._streams.device, n_refused, n
            )

    def _copied(self, pictures: Mapping[int, Picture]) -> tuple[list[Group], torch.Tensor]:
        """The groups, and the block that holds them."""
        import torch

        numbers, layout = list(pictures), layout_of(list(pictures.values()))
        with self._streams.copying():
            # torch's cache of pinned memory hands a block out again when its copy is done: two of them, in turn.
            block = torch.empty(layout.n_bytes, dtype=torch.uint8, pin_memory=self._streams.is_cuda)
            layout.pack(list(pictures.values()), block.numpy())
            staged = block.to(self._streams.device, non_blocking=True)
        groups: list[Group] = []
        for group in layout.groups:
            pixels = staged[group.start : group.stop].view(group.n, group.height, group.width, 3)
            members = [numbers[place] for place in layout.order[group.row : group.row + group.n]]
            groups.append(Group(members, pixels.permute(0, 3, 1, 2), is_decoded=False))
        return groups, staged


def _stacked(pictures: Mapping[int, torch.Tensor]) -> list[Group]:
    """(3, H, W) each, as groups of at most MOST_PIXELS, or one."""
    import torch

    same: dict[tuple[int, ...], list[int]] = {}
    for number, pixels in pictures.items():
        same.setdefault(tuple(pixels.shape), []).append(number)
    groups: list[Group] = []
    for (_, height, width), numbers in same.items():
        size = max(1, MOST_PIXELS // (height * width))
        parts = (numbers[start : start + size] for start in range(0, len(numbers), size))
        groups += [Group(part, torch.stack([pictures[n] for n in part]), is_decoded=True) for part in parts]
    return groups
