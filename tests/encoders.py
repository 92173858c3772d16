"""Toy image models behind the real Encoder protocol: no weights, and the same bits on every machine.

Name one in a configuration as `tests.encoders:ColourEncoder`. Spark workers import it as they import the package: from
the folder that pytest was started in, or from PYTHONPATH.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import numpy as np

GRID = 4


class ColourEncoder:
    """The colours of a picture of 4 x 4 pixels: 48 numbers, never all zero.

    With a `model_dir`, each load leaves a file there whose name begins with the process id.
    """

    def __init__(self, settings):
        self.name = settings.model
        self.dim = GRID * GRID * 3
        self.fingerprint = f"colours-{GRID}"
        if settings.model_dir is not None:
            (Path(settings.model_dir) / f"{os.getpid()}-{uuid.uuid4().hex}").touch()

    def preprocess(self, image):
        return np.asarray(image.resize((GRID, GRID)), np.float32)

    def encode(self, batch):
        # No number of 0 to 255 is 127.5.
        return (batch - np.float32(127.5)).reshape(len(batch), -1)


class BrokenEncoder(ColourEncoder):
    """A model that gives NaN for what is mostly red and zeros for black."""

    def encode(self, batch):
        vectors = super().encode(batch)
        vectors[batch.max(axis=(1, 2, 3)) == 0] = 0
        vectors[batch[..., 0].mean(axis=(1, 2)) > 2 * batch[..., 1:].mean(axis=(1, 2, 3)) + 1] = np.nan
        return vectors


class RefusingEncoder(ColourEncoder):
    """A model whose preprocessing fails for pictures one pixel wide."""

    def preprocess(self, image):
        if image.width == 1:
            raise ArithmeticError("one pixel wide")
        return super().preprocess(image)
