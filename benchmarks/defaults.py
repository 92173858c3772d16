"""Which eps, hash radii and lower cosine find most of two corpora: chosen on one, checked on the other.

    python benchmarks/defaults.py --corpora CLIPART PHOTOS

A pair is one of: equal pixels, nearly; a cosine of at least `cosine`; a hash within `small` bits; a hash within `large`
bits with a cosine of at least `low`. Plain pictures pair by equal pixels alone. Rows are taken in the order of more
pixels, more bytes, colour before grey, id; a row goes when a kept row before it is its pair.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from corpus import Corpus
from evidence import BITS, Arrays, evidence_of
from numpy.typing import NDArray

from spark_imgdedup.kernels.hashes import hamming_distances
from spark_imgdedup.report.truth import SEVERITY

RESULTS = Path(__file__).parent / "results"
PLAIN_DETAIL = 10  # of 100
PLAIN_STEP = 6  # of 255, the largest mean difference of equal plain pictures' reductions
# What is tried. -1: no pair by a hash alone.
COSINES = (0.70, 0.72, 0.74, 0.76, 0.78, 0.80, 0.82, 0.84, 0.86)
SMALL = (-1, 0, 1, 2, 3, 4, 5, 6, 8, 10)
LARGE = (0, 6, 8, 10, 12, 14, 16, 18, 20)
LOW = (0.45, 0.50, 0.55, 0.60, 0.65, 0.70)
Matrix = NDArray[Any]


@dataclass(frozen=True)
class Setting:
    """One choice of what makes a pair."""

    cosine: float
    small: int
    large: int
    low: float


@dataclass(frozen=True)
class Pairs:
    """A corpus, its rows in the order in which they are kept, and all edges that any setting could want."""

    first: Matrix  # (E,) row, ascending
    second: Matrix  # (E,) later row
    cosines: Matrix  # (E,)
    bits: Matrix  # (E,) the least of both orientations
    groups: Matrix  # (N,) number of each row's group
    transforms: list[str]

    def near(self, setting: Setting) -> Matrix:
        """Which edges are pairs."""
        by_hash = (self.bits <= setting.small) | (self.bits <= setting.large) & (self.cosines >= setting.low)
        near: Matrix = by_hash | (self.cosines >= setting.cosine)
        return near


def measured(folder: Path, kind: str, *, most_bits: int) -> Pairs:
    """The pairs of a corpus by one kind of evidence (see evidence.BITS), which is kept beside its truth."""
    rows, data = _evidence(Corpus(folder))
    grey = np.ptp(data["pixels"].reshape(len(rows), -1, 3).astype(int), axis=2).max(axis=1) <= 8
    size = [int(row["width"]) * int(row["height"]) for row in rows]
    bytes_, ids = [int(row["bytes"]) for row in rows], [row["image_id"] for row in rows]
    order = sorted(range(len(rows)), key=lambda at: (-size[at], -bytes_[at], grey[at], ids[at]))
    data, rows = {name: values[order] for name, values in data.items()}, [rows[at] for at in order]
    own, mirror = BITS[kind]
    vectors = data["vector_whole" if kind == "whole" else "vector"].astype(np.float32)
    cosines = vectors @ vectors.T
    bits = np.minimum(hamming_distances(data[own], data[own]), hamming_distances(data[mirror], data[own]))
    bits = np.minimum(bits, bits.T)
    _settle_plain(data, cosines, bits)
    first, second = np.nonzero(np.triu((cosines >= min(LOW)) | (bits <= most_bits), 1))
    _, groups = np.unique([row["group"] for row in rows], return_inverse=True)
    transforms = [row["transform"] for row in rows]
    return Pairs(first, second, cosines[first, second], bits[first, second], groups, transforms)


def _settle_plain(data: Arrays, cosines: Matrix, bits: Matrix) -> None:
    """Plain pictures: a cosine of 1 where the pixels are equal, and nothing else."""
    plain = data["detail"] < PLAIN_DETAIL
    places = np.flatnonzero(plain)
    pixels = data["pixels"][places].astype(np.float32)
    cosines[plain | plain[:, None]], bits[plain | plain[:, None]] = -1, 999
    for place, one in zip(places, pixels, strict=True):
        cosines[place, places] = np.where(np.abs(pixels - one).max(axis=1) <= PLAIN_STEP, 1, -1)


def _evidence(corpus: Corpus) -> tuple[list[dict[str, str]], Arrays]:
    path, images = corpus.folder / "evidence.npz", list(corpus.images())
    if not path.exists():
        np.savez(path, **evidence_of((file for _, file in images), mirrored=False))
    found = np.load(path)
    return [row for row, _ in images], {name: found[name] for name in found.files}


def greedy(pairs: Pairs, near: Matrix) -> Matrix:
    """Which rows go: (N,) bool."""
    first, second = pairs.first[near], pairs.second[near]
    gone = np.zeros(len(pairs.groups), bool)
    ends = np.searchsorted(first, np.arange(len(gone) + 1))
    for row, (start, end) in enumerate(itertools.pairwise(ends)):
        if start < end and not gone[row]:
            gone[second[start:end]] = True
    return gone


def scored(pairs: Pairs, gone: Matrix) -> dict[str, float]:
    """As report.truth does: copies found, and the share of removed rows whose group keeps a member."""
    members, lost = np.bincount(pairs.groups), np.bincount(pairs.groups, weights=gone).astype(int)
    wiped = lost == members
    wrong = int(lost[wiped].sum())
    copies = members - 1
    recall = np.minimum(lost, copies).sum() / copies.sum()
    precision = 1 - wrong / max(int(gone.sum()), 1)
    return {
        "f1": round(2 * recall * precision / (recall + precision), 4),
        "recall": round(float(recall), 4),
        "precision": round(precision, 4),
        "singles_lost": int((wiped & (members == 1)).sum()),
        "groups_lost": int((wiped & (members > 1)).sum()),
    }


def by_transform(pairs: Pairs, gone: Matrix) -> dict[str, float]:
    """Share of the copies of each edit that went."""
    names = np.array(pairs.transforms)
    return {name: round(float(gone[names == name].mean()), 3) for name in SEVERITY if (names == name).any()}


def settings() -> list[Setting]:
    """All that are tried."""
    alone = [Setting(cosine, -1, 0, 2.0) for cosine in COSINES] + [Setting(2.0, small, 0, 2.0) for small in SMALL[1:]]
    mixed = itertools.product(COSINES, SMALL, LARGE, LOW)
    return alone + [Setting(*each) for each in mixed if each[2] > each[1] and each[3] < each[0]]
