"""An encoder whose pictures are resized on its device, and whose work overlaps with decoding."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from spark_imgdedup.models.base import Encoder, EncoderSettings
from spark_imgdedup.models.on_device.fixed_shape import FixedShape, cuda_graph
from spark_imgdedup.models.on_device.halves import Halves
from spark_imgdedup.models.on_device.resize import fit_into
from spark_imgdedup.models.on_device.staging import Picture, layout_of
from spark_imgdedup.models.on_device.streams import Streams, empty_cache
from spark_imgdedup.models.on_device.transforms import ImageTransform, read_transform
from spark_imgdedup.models.torch_encoder import TorchEncoder, TorchParts, torch_dtype

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

# A larger picture is resized in its decode thread, by Pillow: three batches of 256 such pictures are 2.4 GB.
MOST_PIXELS = 1 << 20
# A longer side too: CUDA's filter holds the weights of one output pixel in the memory of a block.
LONGEST_SIDE = 4096


def encoder_for(settings: EncoderSettings, parts: TorchParts) -> Encoder:
    """The encoder of a torch model: a DeviceEncoder on CUDA, where its transform is one that a device can do."""
    if not settings.device.startswith("cuda"):
        return TorchEncoder(settings, parts)
    transform = read_transform(parts.transform)
    if transform is None:
        log.warning("pictures for '%s' are resized on the CPU: its transform is not a usual one", settings.model)
        return TorchEncoder(settings, parts)
    return DeviceEncoder(settings, parts, transform)


class DeviceEncoder:
    """A torch model that is given pictures as they were decoded.

    Vectors have a cosine of at least 0.9999 to those of a TorchEncoder, so the fingerprint is the same.
    """

    def __init__(self, settings: EncoderSettings, parts: TorchParts, transform: ImageTransform) -> None:
        import torch

        self.name, self.dim, self.fingerprint = settings.model, parts.dim, parts.fingerprint
        self._device = torch.device(settings.device)
        self._streams = Streams(settings.device)
        self._fit = transform.fit
        self._forward = _normalized(parts.forward, transform, torch_dtype(settings), self._device)
        self._halves = Halves(self._free)
        self._by_size: dict[int, FixedShape] = {}

    def preprocess(self, image: Image.Image) -> Picture:
        """One RGB picture as it is, (H, W, 3) uint8, or fitted already where it is large."""
        image = self._fit.limited(image)
        if image.width * image.height > MOST_PIXELS or max(image.size) > LONGEST_SIDE:
            image = self._fit.apply(image)
        return np.asarray(image)

    def encode(self, batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """(B, H, W, 3) uint8 pictures of one size -> (B, dim) float32."""
        return self.start(list(batch), len(batch)).result() if len(batch) else np.empty((0, self.dim), np.float32)

    def start(self, pictures: Sequence[Picture], batch_size: int) -> Pending:
        """Give pictures of any sizes to the device, and return before it is done with them.

        Args:
            pictures: As `preprocess` makes them; at most `batch_size`.
            batch_size: Rows of each model call; those beyond the pictures are padding.

        Raises:
            DeviceError: the device has not memory enough for two pictures.
        """
        import torch

        with torch.inference_mode():
            return self._halves.run(batch_size, lambda size: self._launch(pictures, size))

    def _launch(self, pictures: Sequence[Picture], size: int) -> Pending:
        starts = range(0, len(pictures), size)
        return Pending(self.dim, [self._launch_part(pictures[start : start + size], size) for start in starts])

    def _launch_part(self, pictures: Sequence[Picture], size: int) -> _Part:
        import torch

        layout = layout_of(pictures)
        with self._streams.copying():
            # torch's cache of pinned memory hands a block out again when its copy is done: two of them, in turn.
            block = torch.empty(layout.n_bytes, dtype=torch.uint8, pin_memory=self._streams.is_cuda)
            layout.pack(pictures, block.numpy())
            staged = block.to(self._device, non_blocking=True)
        self._streams.hand_over(staged)
        with self._streams.computing():
            model = self._model_for(size)
            for group in layout.groups:
                shape = (group.n, group.height, group.width, 3)
                rows = model.pixels[group.row : group.row + group.n]
                fit_into(rows, staged[group.start : group.stop].view(shape), self._fit)
            model.pixels[len(pictures) :].zero_()
            vectors = model.run()[: len(pictures)]
            found = torch.empty(vectors.shape, dtype=torch.float32, pin_memory=self._streams.is_cuda)
            found.copy_(vectors, non_blocking=True)
            return _Part(layout.order, found, self._streams.mark())

    def _model_for(self, size: int) -> FixedShape:
        import torch

        if size not in self._by_size:
            shape = (size, 3, self._fit.size, self._fit.size)
            pixels = torch.zeros(shape, dtype=torch.uint8, device=self._device)
            pixels = pixels.contiguous(memory_format=torch.channels_last)
            self._by_size[size] = FixedShape(self._forward, pixels, cuda_graph if self._streams.is_cuda else None)
        return self._by_size[size]

    def _free(self) -> None:
        import torch

        with self._streams.computing():
            if self._streams.is_cuda:
                torch.cuda.synchronize()  # a graph may be running
            self._by_size.clear()
            empty_cache()


@dataclass(frozen=True)
class _Part:
    """Vectors that may still be on their way to the host."""

    order: tuple[int, ...]
    vectors: torch.Tensor
    wait: Callable[[], None]


class Pending:
    """A batch that a device works on."""

    def __init__(self, dim: int, parts: Sequence[_Part]) -> None:
        self._dim, self._parts = dim, parts

    def result(self) -> npt.NDArray[np.float32]:
        """Wait for it: (n, dim) float32, in the order of the pictures."""
        found = np.empty((sum(len(part.order) for part in self._parts), self._dim), np.float32)
        start = 0
        for part in self._parts:
            part.wait()
            rows = found[start : start + len(part.order)]
            rows[list(part.order)] = part.vectors.numpy()
            start += len(part.order)
        return found


def _normalized(
    forward: Callable[[Any], Any], transform: ImageTransform, dtype: torch.dtype, device: torch.device
) -> Callable[[torch.Tensor], torch.Tensor]:
    """The model for (B, 3, S, S) uint8, scaled as ToTensor and Normalize do it."""
    import torch

    mean, std = (torch.tensor(each, device=device).view(1, 3, 1, 1) for each in (transform.mean, transform.std))

    def run(pixels: torch.Tensor) -> torch.Tensor:
        scaled = pixels.float().div_(255).sub_(mean).div_(std)
        vectors: torch.Tensor = forward(scaled.to(dtype)).float()
        return vectors

    return run
