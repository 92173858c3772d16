"""An encoder whose pictures are resized on its device, and whose work overlaps with decoding."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from spark_imgdedup.kernels.bounds import ImageError
from spark_imgdedup.kernels.images import Jpeg, decode_image
from spark_imgdedup.models.base import Encoder, EncoderSettings
from spark_imgdedup.models.on_device.fixed_shape import FixedShape, cuda_graph
from spark_imgdedup.models.on_device.halves import Halves
from spark_imgdedup.models.on_device.resize import cells_of, fit_into
from spark_imgdedup.models.on_device.staging import Picture
from spark_imgdedup.models.on_device.streams import Streams, empty_cache
from spark_imgdedup.models.on_device.transfer import Transfer
from spark_imgdedup.models.on_device.transforms import ImageTransform, read_transform
from spark_imgdedup.models.preprocess import MAX_ASPECT
from spark_imgdedup.models.torch_encoder import TorchEncoder, TorchParts, torch_dtype

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

# A larger picture is resized in its decode thread, by Pillow: three batches of 256 such pictures are 2.4 GB.
MOST_PIXELS = 1 << 20
# A longer side too: CUDA's filter holds the weights of one output pixel in the memory of a block.
LONGEST_SIDE = 4096
# Of a JPEG that the device decodes: 256 of them take 3.2 GB there, and the same again while they are sorted by size.
MOST_DECODED_PIXELS = 1 << 22


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
        self.name, self.dim, self.fingerprint = settings.model, parts.dim, parts.fingerprint
        self._streams = Streams(settings.device)
        self._transfer = Transfer(self._streams, self._decode)
        self._fit = transform.fit
        with self._streams.computing():
            self._forward = _normalized(parts.forward, transform, torch_dtype(settings), self._streams.device)
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

    def takes(self, jpeg: Jpeg) -> bool:
        """Whether a file is decoded on the device: not strips, and not large ones, which would take its memory."""
        long, short = max(jpeg.width, jpeg.height), min(jpeg.width, jpeg.height)
        return long * short <= MOST_DECODED_PIXELS and long <= min(LONGEST_SIDE, MAX_ASPECT * short)

    def start(self, pictures: Sequence[Picture | Jpeg], batch_size: int) -> Pending:
        """Give pictures of any sizes to the device, and return before it is done with them.

        Args:
            pictures: As `preprocess` makes them, or files that it `takes`; at most `batch_size`.
            batch_size: Rows of each model call; those beyond the pictures are padding.

        Raises:
            DeviceError: the device has not memory enough for two pictures.
        """
        import torch

        with torch.inference_mode():
            return self._halves.run(batch_size, lambda size: self._launch(pictures, size))

    def _launch(self, pictures: Sequence[Picture | Jpeg], size: int) -> Pending:
        starts = range(0, len(pictures), size)
        return Pending(self.dim, [self._launch_part(pictures[start : start + size], size) for start in starts])

    def _launch_part(self, pictures: Sequence[Picture | Jpeg], size: int) -> _Part:
        import torch

        groups = self._transfer.bring(pictures)
        with self._streams.computing():
            model = self._model_for(size)
            order: list[int] = []
            for group in groups:
                fit_into(model.pixels[len(order) : len(order) + len(group.numbers)], group.pixels, self._fit)
                order += group.numbers
            model.pixels[len(order) :].zero_()
            vectors = self._streams.to_host(model.run()[: len(order)])
            decoded = [group for group in groups if group.is_decoded]
            looks = self._streams.to_host(torch.cat([cells_of(group.pixels) for group in decoded])) if decoded else None
            seen = [number for group in decoded for number in group.numbers]
            return _Part(len(pictures), order, vectors, seen, looks, self._streams.mark())

    def _decode(self, jpeg: Jpeg) -> Picture | None:
        """By the CPU, what the device refuses; None where the CPU refuses it too, now that it is decoded in full."""
        try:
            return self.preprocess(decode_image(jpeg.data, max_pixels=jpeg.width * jpeg.height).image)
        except ImageError:
            return None

    def _model_for(self, size: int) -> FixedShape:
        import torch

        if size not in self._by_size:
            shape = (size, 3, self._fit.size, self._fit.size)
            pixels = torch.zeros(shape, dtype=torch.uint8, device=self._streams.device)
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
    """What may still be on its way to the host.

    Attributes:
        n: Pictures.
        order: Which of them each vector is of; not of those that nobody can decode.
        vectors: (len(order), dim) float32.
        seen: Which of them the device has decoded.
        looks: (len(seen), 64, 64, 3) uint8, their cells; None where there are none.
        wait: Waits for both.
    """

    n: int
    order: Sequence[int]
    vectors: torch.Tensor
    seen: Sequence[int]
    looks: torch.Tensor | None
    wait: Callable[[], None]


class Pending:
    """A batch that a device works on."""

    def __init__(self, dim: int, parts: Sequence[_Part]) -> None:
        self._dim, self._parts = dim, parts

    def result(self) -> npt.NDArray[np.float32]:
        """Wait for it: (n, dim) float32, in the order of the pictures; NaN for what could not be decoded."""
        found = np.full((sum(part.n for part in self._parts), self._dim), np.nan, np.float32)
        start = 0
        for part in self._parts:
            part.wait()
            found[start : start + part.n][part.order] = part.vectors.numpy()
            start += part.n
        return found

    def cells(self) -> dict[int, npt.NDArray[np.uint8]]:
        """Of each JPEG that the device has decoded, by its number: (64, 64, 3) uint8, the means of its cells."""
        found: dict[int, npt.NDArray[np.uint8]] = {}
        start = 0
        for part in self._parts:
            part.wait()
            if part.looks is not None:
                found |= {start + number: look for number, look in zip(part.seen, part.looks.numpy(), strict=True)}
            start += part.n
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
