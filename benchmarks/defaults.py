"""Which eps, hash radii and lower cosine find most of two corpora: chosen on one, checked on the other.

    python benchmarks/defaults.py --corpora CLIPART PHOTOS

A pair is one of: equal pixels, nearly; a cosine of at least `cosine`; a hash within `small` bits; a hash within `large`
bits with a cosine of at least `low`. Plain pictures pair by equal pixels alone. Rows are taken in the order of more
pixels, more bytes, colour before grey, id; a row goes when a kept row before it is its pair.
"""

from __future__ import annotations

import argparse
import itertools
import json
from dataclasses import asdict, dataclass
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
CLEAR_BITS = 24  # of 64, below which a hash says nothing
PLAIN_STEP = 10  # of 255; reductions of copies differ by 6 at most, those of others by 15 at least
# What is tried; bits are of 64, and four times as many of 256.
COSINES = (0.72, 0.74, 0.76, 0.78, 0.80, 0.82, 0.84)
SMALL = (2, 4, 6, 8)
LARGE = (8, 10, 12, 14, 16, 18, 20)
LOW = (0.50, 0.55, 0.60, 0.65, 0.70)
NEVER = 2.0  # a cosine that no pair has
Matrix = NDArray[Any]


@dataclass(frozen=True)
class Setting:
    """One choice of what makes a pair."""

    cosine: float
    small: int = -1  # no pair by a hash alone
    large: int = -1
    low: float = NEVER


CHOSEN = Setting(0.78, 4, 12, 0.60)
TOLD = {  # what the table of the README has
    "vectors alone, eps 0.22": Setting(0.78),
    "hashes alone, radius 4": Setting(NEVER, 4),
    "hashes alone, radius 10": Setting(NEVER, 10),
    "eps 0.22 or radius 4": Setting(0.78, 4),
    "eps 0.22 or radius 10": Setting(0.78, 10),
    "chosen": CHOSEN,
    "chosen, eps 0.16": Setting(0.84, 4, 12, 0.60),
    "chosen, eps 0.1": Setting(0.90, 4, 12, 0.60),
    "chosen, eps 0.05": Setting(0.95, 4, 12, 0.60),
    "chosen, hashes only": Setting(NEVER, 4, 12, 0.60),
}


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


def measured(folder: Path, kind: str, *, most_bits: int, by_content: bool = False) -> Pairs:
    """The pairs of a corpus by one kind of evidence (see evidence.BITS), which is kept beside its truth."""
    rows, data = _evidence(Corpus(folder))
    grey = np.ptp(data["pixels"].reshape(len(rows), -1, 3).astype(int), axis=2).max(axis=1) <= 8
    size = data["content"].prod(axis=1) if by_content else data["size"].prod(axis=1)
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
    """No hash where it is not clear; of plain pictures a cosine of 1 where the pixels are equal, and nothing else."""
    unclear = data["clear"] < CLEAR_BITS
    bits[unclear | unclear[:, None]] = 999
    plain = data["detail"] < PLAIN_DETAIL
    places = np.flatnonzero(plain)
    pixels = np.hstack([data["pixels"][places], data["fine"][places]]).astype(np.int16)
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
        "f1": round(float(2 * recall * precision / (recall + precision)), 4),
        "recall": round(float(recall), 4),
        "precision": round(precision, 4),
        "singles_lost": int((wiped & (members == 1)).sum()),
        "groups_lost": int((wiped & (members > 1)).sum()),
    }


def found_by_edit(pairs: Pairs, gone: Matrix) -> dict[str, float]:
    """Share of the copies of each edit that were found: all but the kept member that was changed least are misses."""
    severity = np.array([SEVERITY.index(name) for name in pairs.transforms])
    kept = np.flatnonzero(~gone)
    kept = kept[np.lexsort((severity[kept], pairs.groups[kept]))]
    again = np.append(False, pairs.groups[kept][1:] == pairs.groups[kept][:-1])
    missed, planted = (np.bincount(of, minlength=len(SEVERITY)) for of in (severity[kept[again]], severity))
    return {name: round(1 - missed[at] / planted[at], 3) for at, name in enumerate(SEVERITY) if at}


def settings(scale: int) -> list[Setting]:
    """All that are tried, with `scale` times as many bits."""
    mixed = itertools.product(COSINES, SMALL, LARGE, LOW)
    return [
        Setting(cosine, scale * small, scale * large, low)
        for cosine, small, large, low in mixed
        if large > small and low < cosine
    ]


def tried(folders: list[Path], kind: str) -> dict[str, Any]:
    """For each corpus its best setting, with what that gives on the other; and the best of the worse of both."""
    scale = 4 if kind == "256" else 1
    grid, results = settings(scale), []
    for folder in folders:
        pairs = measured(folder, kind, most_bits=scale * max(LARGE))
        results.append([scored(pairs, greedy(pairs, pairs.near(setting))) for setting in grid])
    f1 = np.array([[result["f1"] for result in column] for column in results])
    best = {f"best on {folder.name}": int(row.argmax()) for folder, row in zip(folders, f1, strict=True)}
    best["best of the worse"] = int(f1.min(axis=0).argmax())
    return {
        name: asdict(grid[at]) | {folder.name: column[at] for folder, column in zip(folders, results, strict=True)}
        for name, at in best.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, nargs=2, required=True)
    given = parser.parse_args()
    result: dict[str, Any] = {kind: tried(given.corpora, kind) for kind in BITS}
    for folder in given.corpora:
        for kind in ("64", "whole"):
            pairs = measured(folder, kind, most_bits=max(LARGE))
            told = {name: scored(pairs, greedy(pairs, pairs.near(setting))) for name, setting in TOLD.items()}
            result[f"{folder.name}, {kind}"] = told
            result[f"{folder.name}, {kind}, by edit"] = found_by_edit(pairs, greedy(pairs, pairs.near(CHOSEN)))
    print(json.dumps(result, indent=1))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "defaults.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
