"""Small networks that score an image by its embedding: how beautiful, how unsafe for work.

N vectors of D numbers. The arithmetic is float64 and the scores are rounded to 6 decimals, so that no batch size,
partitioning or file format shows in a score or moves a row across a threshold.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from spark_imgdedup.errors import ModelError
from spark_imgdedup.models.weights_file import Tensors, read_tensors

HeadKind = Literal["aesthetic", "nsfw"]
Array = npt.NDArray[np.float64]

DECIMALS = 6
ROWS_PER_PRODUCT = 1024  # 6 MB of float64 at 768 numbers; memory only, never the result
# Source: Keras' Normalization layer divides by max(sqrt(variance), backend.epsilon()), in which the head was trained.
MIN_DEVIATION = 1e-7
# The linear layers of LAION's aesthetic MLP stand at these places of its Sequential; between them is dropout alone.
PUBLISHED_PLACES = (0, 2, 4, 6, 7)
PARTS = {"weight": "weight", "kernel": "weight", "bias": "bias", "mean": "mean", "variance": "variance"}
NOT_USED = ("count", "num_batches_tracked")  # counters of a normalisation, of no use in scoring


@dataclass(frozen=True)
class Linear:
    """One layer, x @ weight + bias."""

    name: str
    weight: Array  # (in, out)
    bias: Array  # (out,)


@dataclass(frozen=True, eq=False)
class Head:
    """A head ready to run. Plain arrays, so it can be pickled to workers that have neither the file nor torch.

    Attributes:
        kind: aesthetic (about 0 to 10) or nsfw (a probability).
        name: Name of the weight file.
        dim: Numbers in an embedding that it takes.
        shape: Width of each layer as the file has them, e.g. (768, 1024, 128, 64, 16, 1).
        tensors: Names of the layers, in the order in which they are applied.
        fingerprint: 16 hex digits of kind and weights, the same for the same weights in another file format.
    """

    kind: HeadKind
    name: str
    shape: tuple[int, ...]
    tensors: tuple[str, ...]
    fingerprint: str
    layers: tuple[Linear, ...] = field(repr=False)  # normalisation and layers without activation are folded together

    @property
    def dim(self) -> int:
        """Numbers in an embedding that it takes."""
        return self.shape[0]

    def score(self, vectors: npt.NDArray[Any]) -> Array:
        """The score of each vector.

        Args:
            vectors: (N, dim) floats, rows of unit length.

        Returns:
            (N,) float64, rounded to 6 decimals; NaN for a row with NaN.

        Raises:
            ModelError: the vectors have another width.

        Cost: dim multiply-adds a row for an aesthetic head of any depth, 213,000 for the published NSFW head.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise ModelError(self.misfit(vectors.shape[-1]))
        scores = np.empty(len(vectors))
        for start in range(0, len(vectors), ROWS_PER_PRODUCT):
            rows = slice(start, start + ROWS_PER_PRODUCT)
            scores[rows] = self._forward(vectors[rows].astype(np.float64))
        return np.round(scores, DECIMALS)

    def misfit(self, dim: int) -> str:
        """What to tell a user whose embeddings have another width."""
        return (
            f"The {self.kind} head '{self.name}' takes embeddings of {self.dim} numbers, but these have {dim}. Score "
            "with the head that was trained on this encoder, or embed with the head's encoder."
        )

    def _forward(self, x: Array) -> Array:
        for layer in self.layers[:-1]:
            x = np.maximum(x @ layer.weight + layer.bias, 0)  # np.maximum lets NaN through
        logit = (x @ self.layers[-1].weight + self.layers[-1].bias)[:, 0]
        # The sigmoid, written so that no large logit overflows.
        return 0.5 * (1 + np.tanh(0.5 * logit)) if self.kind == "nsfw" else logit


def load_head(kind: HeadKind, path: str | Path) -> Head:
    """The head in a weight file: safetensors, npz or a PyTorch state dict, in PyTorch's or Keras' layout.

    aesthetic: any chain of linear layers without activations that ends in one number, such as LAION's linear heads and
    the 768-1024-128-64-16-1 MLP. nsfw: a normalisation (mean, variance), a chain with ReLU between its layers, and a
    sigmoid, such as LAION's 768-64-512-256-1.

    Raises:
        ModelError: the file cannot be read, or what it holds is not such a head.

    Source: github.com/LAION-AI/aesthetic-predictor, github.com/christophschuhmann/improved-aesthetic-predictor,
        github.com/LAION-AI/CLIP-based-NSFW-Detector.
    """
    path = Path(path).expanduser()
    parts = _by_part(read_tensors(path), path)
    chain = _chain(parts, path)
    statistics = {name: _only(parts, name, path) for name in ("mean", "variance")}
    if kind == "aesthetic":
        if statistics["mean"] is not None or statistics["variance"] is not None:
            raise ModelError(f"'{path}' holds a normalisation, as NSFW heads do: it is no aesthetic head.")
        _require_no_activations(chain, path)
        layers: tuple[Linear, ...] = (_collapse(chain),)
    else:
        if statistics["mean"] is None or statistics["variance"] is None:
            raise ModelError(f"'{path}' lacks the mean and variance of an NSFW head. Is it an aesthetic head?")
        layers = (_normalise_first(chain[0], statistics["mean"], statistics["variance"], path), *chain[1:])
    return Head(
        kind=kind,
        name=path.name,
        shape=(chain[0].weight.shape[0], *(len(layer.bias) for layer in chain)),
        tensors=tuple(layer.name for layer in chain),
        fingerprint=_fingerprint(kind, chain, statistics),
        layers=layers,
    )


def _by_part(tensors: Tensors, path: Path) -> dict[tuple[str, str], Array]:
    """The tensors by (layer, part): layers.0.weight, dense_1/kernel:0 and norm.mean are split into the two."""
    parts = {}
    for name, array in tensors.items():
        layer, _, last = name.removesuffix(":0").replace("/", ".").rpartition(".")
        if last in NOT_USED:
            continue
        if last not in PARTS:
            raise ModelError(f"'{path}' holds '{name}', which is no part of a head. Expected weights and biases only.")
        if not np.isfinite(array).all():
            raise ModelError(f"'{path}': '{name}' holds NaN or infinity. Fetch the file again.")
        parts[layer, PARTS[last]] = array
    return parts


def _chain(parts: dict[tuple[str, str], Array], path: Path) -> tuple[Linear, ...]:
    """The linear layers in order, as (in, out) matrices: PyTorch stores (out, in), Keras (in, out)."""
    names = sorted((layer for layer, part in parts if part == "weight"), key=_natural)
    matrices = [parts[name, "weight"] for name in names]
    for turned in (True, False):
        weights = [matrix.T if turned else matrix for matrix in matrices]
        biases = [
            parts.get((name, "bias"), np.zeros(weight.shape[-1])) for name, weight in zip(names, weights, strict=True)
        ]
        if _fits(weights, biases):
            return tuple(map(Linear, names, weights, biases))
    shapes = ", ".join(f"{name or 'weight'} {matrix.shape}" for name, matrix in zip(names, matrices, strict=True))
    raise ModelError(f"'{path}' holds no chain of linear layers that ends in one number: {shapes or 'no weights'}.")


def _fits(weights: list[Array], biases: list[Array]) -> bool:
    if not weights or any(weight.ndim != 2 for weight in weights) or weights[-1].shape[1] != 1:
        return False
    joined = all(left.shape[1] == right.shape[0] for left, right in itertools.pairwise(weights))
    return joined and all(bias.shape == weight.shape[1:] for weight, bias in zip(weights, biases, strict=True))


def _natural(name: str) -> tuple[bool, list[str], list[int]]:
    """Sorts layers.10 after layers.9, dense before dense_1, and Keras' classification_head last."""
    words = re.split(r"[._]?(\d+)", name)
    return "_head" in name, words[::2], [int(number) for number in words[1::2]]


def _only(parts: dict[tuple[str, str], Array], part: str, path: Path) -> Array | None:
    found = [array for (_, name), array in parts.items() if name == part]
    if len(found) > 1:
        raise ModelError(f"'{path}' holds {len(found)} tensors named {part}; a head has one normalisation at most.")
    return found[0] if found else None


def _require_no_activations(chain: tuple[Linear, ...], path: Path) -> None:
    """State dicts don't name activations, but those take a place in a Sequential: a gap between numbers shows them.

    LAION's ava+logos-l14-reluMSE.pth has its layers at 0, 3, 6, 9, 11: without its ReLUs the scores would be wrong.
    """
    numbers = [re.search(r"(\d+)$", layer.name) for layer in chain]
    places = tuple(int(number[1]) for number in numbers if number)
    has_gaps = any(right - left > 1 for left, right in itertools.pairwise(places))
    if has_gaps and places != PUBLISHED_PLACES:
        raise ModelError(
            f"'{path}' has its layers at {', '.join(map(str, places))}: something stands between them, and an "
            "aesthetic head has no activations. If it is dropout, number the layers 0, 1, 2, … and save the file again."
        )


def _collapse(chain: tuple[Linear, ...]) -> Linear:
    """Layers without activations are one layer: ((x A + a) B + b) = x AB + (aB + b)."""
    weight, bias = chain[0].weight, chain[0].bias
    for layer in chain[1:]:
        weight, bias = weight @ layer.weight, bias @ layer.weight + layer.bias
    return Linear("all", np.ascontiguousarray(weight), bias)


def _normalise_first(first: Linear, mean: Array, variance: Array, path: Path) -> Linear:
    """The first layer on vectors as they are, in place of (x - mean) / deviation."""
    mean, variance = mean.ravel(), variance.ravel()
    if not len(mean) == len(variance) == len(first.weight) or (variance < 0).any():
        raise ModelError(
            f"'{path}': a mean of {len(mean)} numbers and a variance of {len(variance)} (none below 0) do not fit a "
            f"first layer that takes {len(first.weight)}."
        )
    weight = first.weight / np.maximum(np.sqrt(variance), MIN_DEVIATION)[:, None]
    return Linear(first.name, weight, first.bias - mean @ weight)


def _fingerprint(kind: HeadKind, chain: tuple[Linear, ...], statistics: dict[str, Array | None]) -> str:
    digest = hashlib.sha256(kind.encode())
    arrays = [*statistics.values(), *(array for layer in chain for array in (layer.weight, layer.bias))]
    for array in arrays:
        if array is not None:
            digest.update(f"{array.shape}".encode() + array.astype("<f8").tobytes())
    return digest.hexdigest()[:16]
