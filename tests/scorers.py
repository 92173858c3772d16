"""Scorers behind the real Scorer protocol, named in tests as `tests.scorers:FirstNumber`."""

from __future__ import annotations

import numpy as np


class FirstNumber:
    """The first number of each vector; NaN where the second is negative."""

    name = "first-number"

    def score(self, vectors):
        return np.where(vectors[:, 1] < 0, np.nan, vectors[:, 0])


class OneForAll(FirstNumber):
    """Forgets that each vector has a score of its own."""

    def score(self, vectors):
        return vectors[:1, 0]


class Nameless:
    def score(self, vectors):
        return vectors[:, 0]


class Unbuildable(FirstNumber):
    def __init__(self):
        raise ArithmeticError("no weights today")


class Brightness:
    """The mean of all pixels, from the pixels themselves."""

    name = "brightness"

    def __init__(self, *, n_threads, device):
        self.fingerprint = f"brightness {n_threads} {device}"

    def preprocess(self, image):
        return np.array([np.asarray(image, np.float64).mean()])

    def score(self, batch):
        return batch[:, 0]
