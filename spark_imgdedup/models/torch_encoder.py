"""What the torch encoders share: threads, precision, and one batch through a model."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from spark_imgdedup.errors import DeviceError, ModelError
from spark_imgdedup.models.base import EncoderSettings
from spark_imgdedup.models.cpu import cpu_has_bf16, cpuinfo
from spark_imgdedup.models.on_device.halves import Halves
from spark_imgdedup.models.on_device.streams import current, empty_cache
from spark_imgdedup.models.preprocess import limit_aspect

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TorchParts:
    """A model ready to run.

    Attributes:
        forward: (B, …) tensor -> (B, dim) tensor, for what transform makes.
        transform: RGB picture -> (3, H, W) float32 tensor or array; for a TorchScript file what preprocess says.
        dim: Length of an embedding.
        crops: Whether transform enlarges the shortest side and takes the centre.
        fingerprint: See Encoder.
    """

    forward: Callable[[Any], Any]
    transform: Callable[[Image.Image], Any]
    dim: int
    crops: bool
    fingerprint: str


class TorchEncoder:
    """A torch model that maps pictures to vectors."""

    def __init__(self, settings: EncoderSettings, parts: TorchParts) -> None:
        self.name, self.dim, self.fingerprint = settings.model, parts.dim, parts.fingerprint
        self._settings, self._parts = settings, parts
        self._halves = Halves(empty_cache)

    def preprocess(self, image: Image.Image) -> np.ndarray[Any, Any]:
        """One RGB picture as the model's input, by the transform that the model was evaluated with."""
        return np.asarray(self._parts.transform(limit_aspect(image) if self._parts.crops else image))

    def encode(self, batch: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """(B, …) preprocessed pictures -> (B, dim) float32, computed in the precision of the settings."""
        if not len(batch):
            return np.empty((0, self.dim), np.float32)
        import torch

        def run(size: int) -> np.ndarray[Any, Any]:
            found = [self._forward(batch[start : start + size], size) for start in range(0, len(batch), size)]
            return np.concatenate(found)

        with torch.inference_mode(), current(torch.device(self._settings.device)):
            return self._halves.run(len(batch), run)

    def _forward(self, batch: np.ndarray[Any, Any], size: int) -> np.ndarray[Any, Any]:
        padding = [(0, size - len(batch)), *[(0, 0)] * (batch.ndim - 1)]
        padded = np.pad(batch, padding) if len(batch) < size else batch
        vectors = self._parts.forward(on_device(padded, self._settings)).float().cpu().numpy()
        return np.asarray(vectors)[: len(batch)]


def on_device(batch: np.ndarray[Any, Any], settings: EncoderSettings) -> Any:
    """Pictures as a tensor on the device: floats in the settings' precision, bytes as they are."""
    import torch

    images = torch.from_numpy(np.ascontiguousarray(batch))
    dtype = torch_dtype(settings) if images.is_floating_point() else images.dtype
    return images.to(settings.device, dtype, non_blocking=True)


def prepare_torch(settings: EncoderSettings) -> None:
    """Hold torch to the task's threads, and check the device.

    Raises:
        ModelError: torch is not installed.
        DeviceError: a CUDA device was asked for, and this torch has none.
    """
    try:
        import torch
    except ImportError as error:
        raise ModelError(f"'{settings.model}' needs torch: pip install 'spark-imgdedup[clip]'.") from error
    torch.set_num_threads(max(1, settings.n_threads))
    if settings.device != "cpu" and not torch.cuda.is_available():
        raise DeviceError(
            f"The device is {settings.device}, but torch {torch.__version__} sees no CUDA: install its CUDA build "
            "on the workers, or set embed.device to 'cpu'."
        )
    if settings.device == "cpu" and settings.precision != "fp32":
        if settings.precision == "fp16":
            log.warning("precision fp16 is slow on a CPU: use fp32, or a GPU")
        elif not cpu_has_bf16(cpuinfo()):
            log.warning("this CPU has no bf16, so precision bf16 is about 8 times as slow as fp32: use fp32, or a GPU")


def laid_out(model: Any, settings: EncoderSettings) -> Any:
    """The model for inference; on CUDA with weights of convolutions as its tensor cores want them."""
    import torch

    return model.eval() if settings.device == "cpu" else model.eval().to(memory_format=torch.channels_last)


def refuse_preprocess(settings: EncoderSettings) -> None:
    """For models that bring a transform of their own.

    Raises:
        ModelError: preprocess was set.
    """
    if settings.preprocess is not None:
        raise ModelError(f"'{settings.model}' knows its own preprocessing: remove embed.preprocess.")


def torch_dtype(settings: EncoderSettings) -> Any:
    """The torch type of the settings' precision."""
    import torch

    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[settings.precision]


def require_library(name: str, spec: str) -> Any:
    """Import a library of the clip extra.

    Raises:
        ModelError: it is not installed.
    """
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ModelError(f"'{spec}' needs {name}: pip install 'spark-imgdedup[clip]' ({error}).") from error
