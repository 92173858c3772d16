"""What every encoder offers, and what it is made from."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from PIL import Image

from spark_imgdedup.kernels.images import Jpeg
from spark_imgdedup.models.preprocess import Preprocess

log = logging.getLogger(__name__)

Precision = Literal["fp32", "bf16", "fp16"]

# Rows of a model call: one alone is another product of matrices, and rounded otherwise, 2.1e-7 in vectors of CLIP.
FEWEST = 2

WHOLE_FILE_BYTES = 64 << 20  # smaller files are hashed whole
SAMPLE_BYTES, N_SAMPLES = 1 << 16, 64  # of larger ones 4 MiB, spread evenly from the first byte to the last


@runtime_checkable
class Encoder(Protocol):
    """An image model: one picture in a decode thread, then many at once on the device.

    Attributes:
        name: The spec the encoder was asked for, e.g. "efficientnet-lite0".
        dim: Length of an embedding.
        fingerprint: Names weights and preprocessing, so that tables of different encoders are not mixed. One
            that the class itself has is read without building it, see `models.identity`.
    """

    name: str
    dim: int
    fingerprint: str

    def preprocess(self, image: Image.Image) -> np.ndarray[Any, Any]:
        """One RGB picture as the array that the model wants. Called from several threads at once."""
        ...

    def encode(self, batch: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """(B, ...) stacked results of preprocess -> (B, dim) float32, not necessarily of unit length."""
        ...


class Pending(Protocol):
    """A batch that a device works on."""

    def result(self) -> np.ndarray[Any, Any]:
        """Wait for it: (n, dim) float32, in the order of the pictures."""
        ...


class PendingLooks(Pending, Protocol):
    """A batch in which JPEGs are decoded too."""

    def cells(self) -> Mapping[int, np.ndarray[Any, Any]]:
        """Of each JPEG that the device has decoded, by its number: (64, 64, 3) uint8, the means of its cells."""
        ...


@runtime_checkable
class OverlappingEncoder(Encoder, Protocol):
    """An encoder that works on one batch while the next is decoded, and takes pictures of any sizes."""

    def start(self, pictures: Sequence[Any], batch_size: int) -> Pending:
        """Give up to `batch_size` results of preprocess to the device, and return before it is done with them."""
        ...


@runtime_checkable
class DecodingEncoder(OverlappingEncoder, Protocol):
    """An encoder whose device decodes JPEGs: `start` takes `Jpeg`s among the pictures.

    A row of NaN comes back for one that neither the device nor the CPU can decode.
    """

    def takes(self, jpeg: Jpeg) -> bool:
        """Whether `start` may be given this file instead of its pixels."""
        ...

    def start(self, pictures: Sequence[Any], batch_size: int) -> PendingLooks:
        """As for any; the result has a look at what was decoded."""
        ...


@dataclass(frozen=True)
class EncoderSettings:
    """Everything that decides which encoder is built, and how it runs.

    Attributes:
        model: The spec, see load_encoder.
        model_dir: Folder of downloaded weights (fetch_model fills it). With one, nothing is downloaded while loading.
        device: "cpu" or "cuda:<index>", see gpu.task_device.
        precision: Of the arithmetic in torch models. An ONNX graph brings its own.
        n_threads: CPU threads of one model call.
        preprocess: Required by onnx: and torchscript:, refused by encoders that know their own.
        storage_options: fsspec options for a model at a URL; secrets, so in no text, and not part of what it is.
    """

    model: str
    model_dir: str | None = None
    device: str = "cpu"
    precision: Precision = "fp32"
    n_threads: int = 1
    preprocess: Preprocess | None = None
    storage_options: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)


def fingerprint(identity: dict[str, Any], files: Iterable[Path] = ()) -> str:
    """16 hex digits for a JSON-able description and the contents of files, without their paths."""
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode())
    for path in files:
        _digest_file(path, digest)
    return digest.hexdigest()[:16]


def _digest_file(path: Path, digest: Any) -> None:
    """Cost: reads at most 64 MiB, and 4 MiB of anything larger."""
    size = path.stat().st_size
    digest.update(size.to_bytes(8, "little"))
    with path.open("rb") as file:
        if size <= WHOLE_FILE_BYTES:
            digest.update(file.read())
            return
        for offset in np.linspace(0, size - SAMPLE_BYTES, N_SAMPLES).astype(np.int64).tolist():
            file.seek(offset)
            digest.update(file.read(SAMPLE_BYTES))
