"""Encoders that are TorchScript files, run by torch without the code that they were made from."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from spark_imgdedup.errors import ModelError
from spark_imgdedup.models.base import EncoderSettings, fingerprint
from spark_imgdedup.models.model_file import local_copy
from spark_imgdedup.models.preprocess import Preprocess, to_array
from spark_imgdedup.models.torch_encoder import TorchEncoder, TorchParts, on_device, prepare_torch, torch_dtype

PREFIX = "torchscript:"


def load_torchscript(settings: EncoderSettings) -> TorchEncoder:
    """The encoder of spec torchscript:<path or URL>; settings.preprocess says what the file takes.

    Raises:
        ModelError: the file is missing or no TorchScript, does not take what preprocess makes, or gives no (B, dim).
        DeviceError: the device is not there.
    """
    prepare_torch(settings)
    how = settings.preprocess
    if how is None:
        raise ModelError(
            f"'{settings.model}' needs embed.preprocess: a TorchScript file does not say how to resize and scale. "
            "Set its size, layout, dtype, mean, std, resize and interpolation."
        )
    with local_copy(settings.model.removeprefix(PREFIX), settings.storage_options) as path:
        model = _load(path, settings)
        identity = fingerprint({"kind": "torchscript", "preprocess": how.model_dump()}, [path])
    parts = TorchParts(
        forward=model,
        transform=lambda image: to_array(image, how),
        dim=_probe_dim(model, settings, how),
        crops=False,  # to_array cuts strips itself
        fingerprint=identity,
    )
    return TorchEncoder(settings, parts)


def _load(path: Path, settings: EncoderSettings) -> Any:
    """The module of a file, on the device and in the precision of the settings."""
    import torch

    try:
        with warnings.catch_warnings():
            # torch 2.15 advises other formats and still reads this one, which published models have.
            warnings.filterwarnings("ignore", message=".*torch.jit.load.* is deprecated")
            model = torch.jit.load(str(path), map_location=settings.device)
        return model.eval().to(settings.device, torch_dtype(settings))
    except Exception as error:  # torch raises RuntimeError, ValueError, … for damaged files
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise ModelError(
            f"'{settings.model}' cannot be loaded as TorchScript: {reason}. Give a file that torch.jit.save wrote; "
            "weights alone are none."
        ) from error


def _probe_dim(model: Any, settings: EncoderSettings, how: Preprocess) -> int:
    """Numbers in an embedding, by running two pictures."""
    import torch

    batch = np.stack([to_array(Image.new("RGB", (8, 8)), how)] * 2)
    given = f"{batch.dtype} of shape (2, {', '.join(map(str, batch.shape[1:]))})"
    try:
        with torch.inference_mode():
            output = model(on_device(batch, settings))
    except Exception as error:  # what its operations raise
        # The reason stands last, below a traceback through the model.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1][:300]
        raise ModelError(
            f"'{settings.model}' does not take {given} in precision {settings.precision}: {reason}. Set "
            "embed.preprocess and embed.precision to what it takes."
        ) from error
    if not isinstance(output, torch.Tensor) or not output.is_floating_point():
        got = f"{output.dtype}" if isinstance(output, torch.Tensor) else type(output).__name__
    elif output.ndim == 2 and len(output) == len(batch):
        return int(output.shape[1])
    else:
        got = f"a tensor of shape {tuple(output.shape)}"
    raise ModelError(
        f"'{settings.model}' gives {got} for {given}, but an encoder gives floats of shape (2, dim): export the pooled "
        "embedding alone, for any number of pictures."
    )
