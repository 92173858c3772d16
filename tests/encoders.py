"""Toy image models behind the real Encoder protocol: no weights, and the same bits on every machine.

Name one in a configuration as `tests.encoders:ColourEncoder`. Spark workers import it as they import the package: from
the folder that pytest was started in, or from PYTHONPATH.
"""

from __future__ import annotations

import os
import signal
import time
import uuid
from pathlib import Path

import numpy as np

from spark_imgdedup.errors import ModelError

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


class DyingEncoder(ColourEncoder):
    """A model whose worker is taken away, as by a system short of memory, when it is first loaded."""

    def __init__(self, settings):
        mark = Path(settings.model_dir) / "died"
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        super().__init__(settings)


class WaitingEncoder(ColourEncoder):
    """A model that is ready once there is a file `go` in its `model_dir`: its run lasts as long as a test wants."""

    def __init__(self, settings):
        super().__init__(settings)
        give_up = time.monotonic() + 300
        while not (Path(settings.model_dir) / "go").exists():
            if time.monotonic() > give_up:
                raise ModelError("Nobody said go.")
            time.sleep(0.05)


class UnloadableEncoder(ColourEncoder):
    """A model whose weights are on no worker. With a `model_dir`, each try leaves a file there."""

    def __init__(self, settings):
        super().__init__(settings)
        raise ModelError("The weights\x1b[31m are not here. Copy them to every worker.")


class CountingEncoder(ColourEncoder):
    """A model that counts its pictures in a file of `model_dir`, and whose worker is taken away by a black one.

    The worker lives as long as there is no file `dies` there.
    """

    def __init__(self, settings):
        super().__init__(settings)
        self._folder = Path(settings.model_dir)

    def preprocess(self, image):  # once for each picture; batches are padded
        if (self._folder / "dies").exists() and not image.getbbox():
            os.kill(os.getpid(), signal.SIGKILL)
        with (self._folder / "encoded").open("a") as file:
            file.write("x")
        return super().preprocess(image)
