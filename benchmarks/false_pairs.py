"""How many pairs of pictures that are not copies a setting takes for copies, against the number of pictures.

    python benchmarks/false_pairs.py --pools POOL ... [--sheet PAIRS.csv]

Each pool is of real_pictures.py with the evidence of evidence.py. Photographs that were cut into tiles are left out,
their tiles stay. Two pictures of different families can still be copies (one texture in two games), so a pair on which
hash, vector and pixels all agree is taken for one picture, and its later member dropped. `--sheet` writes all pairs,
with what was taken for copies, for a person to look at.

Pictures of one package are often a series (playing cards, flags, one screen in ten states), so pairs of different
packages are told apart: they stand for what a crawl has, and grow with the square of the number.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from evidence import BITS, Arrays
from numpy.typing import NDArray
from real_pictures import SHEETS

from spark_imgdedup.kernels.hashes import hamming_distances

RESULTS = Path(__file__).parent / "results"
PLAIN_DETAIL = 10  # of 100
CLEAR_BITS = 24  # of 64, below which a hash says nothing: stripes, grids
SAME_BITS, SAME_COSINE, SAME_PIXELS = 10, 0.80, 0.90  # of 64; of vectors; correlation of 16 x 16 pixels
RADII = range(0, 13, 2)  # two hashes of 32 ones each differ in an even number of bits
COSINES = (0.70, 0.72, 0.74, 0.76, 0.78, 0.80, 0.82, 0.84, 0.86, 0.88, 0.90, 0.92, 0.95, 0.98)
LOW = (0.50, 0.55, 0.60, 0.65, 0.70)
SIZES = (1_250, 2_500, 5_000, 10_000, 20_000)
BLOCK = 2_000
MILLION = 1e6
DRAWS = 5
SEED = 11
Matrix = NDArray[Any]


@dataclass(frozen=True)
class Near:
    """Pairs that any setting takes, one row each."""

    first: Matrix
    second: Matrix
    cosine: Matrix
    own: Matrix  # bits of 64 in which the two differ as they are
    either: Matrix  # the least of both orientations
    large: Matrix  # of 256, both orientations

    def only(self, mask: Matrix) -> Near:
        """Some of the pairs."""
        return Near(*(getattr(self, name)[mask] for name in self.__dataclass_fields__))


def pictures(pools: list[Path]) -> tuple[list[dict[str, str]], Arrays]:
    """Rows and evidence of all pools, less photographs that tiles were cut from."""
    rows, parts = [], []
    for pool in pools:
        with (pool / "pictures.csv").open(newline="") as table:
            described = {int(row["number"]): {**row, "pool": str(pool)} for row in csv.DictReader(table)}
        found = np.load(pool / "evidence.npz")
        numbers = found["number"] if "number" in found.files else np.arange(len(found["vector"]))
        wanted = [at for at, number in enumerate(numbers) if _wanted(described[int(number)])]
        rows += [described[int(numbers[at])] for at in wanted]
        names = ("vector", "detail", "clear", "pixels", *BITS["64"], *BITS["256"])
        parts.append({name: found[name][wanted] for name in names})
    return rows, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _wanted(row: dict[str, str]) -> bool:
    return row["piece"] != "tiled" and not SHEETS.search(row["path"])


def near(data: Arrays) -> Near:
    """All pairs within the largest radius or above the lowest cosine."""
    return Near(*(np.concatenate(column) for column in zip(*_blocks(data), strict=True)))


def _blocks(data: Arrays) -> Iterator[tuple[Matrix, ...]]:
    vectors, rows = data["vector"].astype(np.float32), len(data["vector"])
    for start in range(0, rows, BLOCK):
        here, rest = slice(start, start + BLOCK), slice(start, rows)
        cosine = vectors[here] @ vectors[rest].T
        bits = {kind: [_bits(data, name, kind, here, rest) for name in BITS[kind]] for kind in ("64", "256")}
        own, either, large = bits["64"][0], np.minimum(*bits["64"]), np.minimum(*bits["256"])
        taken = (cosine >= min(COSINES)) | (either <= max(RADII)) | (large <= 4 * max(RADII))
        first, second = np.nonzero(np.triu(taken, 1))
        values = (matrix[first, second] for matrix in (cosine, own, either, large))
        yield first + start, second + start, *values


def _bits(data: Arrays, name: str, kind: str, here: slice, rest: slice) -> Matrix:
    """Bits in which rows of `here` under `name` differ from the own hashes of `rest`, as bytes."""
    return hamming_distances(data[name][here], data[BITS[kind][0]][rest]).astype(np.uint8)


def same_picture(data: Arrays, pairs: Near) -> Matrix:
    """Which pairs hash, vector and pixels all take for copies."""
    close = (pairs.either <= SAME_BITS) & (pairs.cosine >= SAME_COSINE)
    same = np.zeros(len(close), bool)
    grids = data["pixels"].reshape(-1, 16, 16, 3).astype(np.float32)
    for at in np.flatnonzero(close):
        one, other = grids[pairs.first[at]], grids[pairs.second[at]]
        same[at] = max(_correlation(one, other), _correlation(one[:, ::-1], other)) >= SAME_PIXELS
    return same


def _correlation(one: Matrix, other: Matrix) -> float:
    one, other = one - one.mean(), other - other.mean()
    return float((one * other).sum() / (np.sqrt((one**2).sum() * (other**2).sum()) + 1e-6))


def counts(pairs: Near) -> dict[str, int]:
    """How many pairs each setting takes."""
    taken = {f"hash 64 <= {radius}, as it is": pairs.own <= radius for radius in RADII}
    taken |= {f"hash 64 <= {radius}": pairs.either <= radius for radius in RADII}
    taken |= {f"hash 256 <= {4 * radius}": pairs.large <= 4 * radius for radius in RADII}
    taken |= {f"cosine >= {cosine:.2f}": pairs.cosine >= cosine for cosine in COSINES}
    for radius in RADII[2:]:
        for low in LOW:
            taken[f"hash 64 <= {radius} and cosine >= {low:.2f}"] = (pairs.either <= radius) & (pairs.cosine >= low)
    return {name: int(mask.sum()) for name, mask in taken.items()}


def curve(pairs: Near, members: Matrix) -> dict[str, dict[str, float]]:
    """Pairs at each size, means over draws of `members`, and what that makes of a million pictures."""
    chance, sizes = np.random.default_rng(SEED), [size for size in SIZES if size < len(members)]
    at: dict[int, list[dict[str, int]]] = {}
    for size in [*sizes, len(members)]:
        for _ in range(DRAWS if size < len(members) else 1):
            drawn = np.zeros(members.max() + 1, bool)
            drawn[chance.choice(members, size, replace=False)] = True
            at.setdefault(size, []).append(counts(pairs.only(drawn[pairs.first] & drawn[pairs.second])))
    found: dict[str, dict[str, float]] = {}
    for name in at[len(members)][0]:
        found[name] = {str(size): float(np.mean([count[name] for count in drawn])) for size, drawn in at.items()}
        found[name]["at 10^6"] = float(f"{found[name][str(len(members))] * (MILLION / len(members)) ** 2:.3g}")
    return found


def removed(pairs: Near, clear: Matrix, members: Matrix) -> dict[str, dict[str, int]]:
    """How many pictures go by the greedy rule, in the order of the pools, by some settings at each size."""
    by_hash = clear & ((pairs.either <= 4) | (pairs.either <= 12) & (pairs.cosine >= 0.60))
    taken = {f"cosine >= {cosine:.2f}": pairs.cosine >= cosine for cosine in (0.78, 0.84, 0.90, 0.95)}
    taken |= {"hash <= 4": clear & (pairs.either <= 4), "hash <= 4, or <= 12 and cosine >= 0.60": by_hash}
    taken |= {f"these hashes, or {name}": by_hash | mask for name, mask in taken.items() if name.startswith("cosine")}
    taken["hash <= 10"] = clear & (pairs.either <= 10)
    chance, found = np.random.default_rng(SEED), {}
    for size in [*(size for size in SIZES if size < len(members)), len(members)]:
        drawn = np.zeros(members.max() + 1, bool)
        drawn[chance.choice(members, size, replace=False)] = True
        here = drawn[pairs.first] & drawn[pairs.second]
        found[str(size)] = {name: _greedy(pairs.only(here & mask), len(drawn)) for name, mask in taken.items()}
    return found


def _greedy(pairs: Near, rows: int) -> int:
    order = np.argsort(pairs.first, kind="stable")
    first, second = pairs.first[order], pairs.second[order]
    gone, ends = np.zeros(rows, bool), np.searchsorted(first, np.arange(rows + 1))
    for row in np.unique(first):
        if not gone[row]:
            gone[second[ends[row] : ends[row + 1]]] = True
    return int(gone.sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pools", type=Path, nargs="+", required=True)
    parser.add_argument("--sheet", type=Path)
    given = parser.parse_args()
    rows, data = pictures(given.pools)
    pairs = near(data)
    same = same_picture(data, pairs)
    dropped = np.zeros(len(rows), bool)
    dropped[pairs.second[same]] = True
    if given.sheet:
        np.savez(given.sheet, same=same, **vars(pairs))
        given.sheet.with_suffix(".json").write_text(json.dumps(rows))
    kept = pairs.only(~(dropped[pairs.first] | dropped[pairs.second]))
    plain, package = data["detail"] < PLAIN_DETAIL, np.array([row["package"] for row in rows])
    full = kept.only(~(plain[kept.first] | plain[kept.second]))
    unrelated = full.only(package[full.first] != package[full.second])
    clear = (data["clear"][unrelated.first] >= CLEAR_BITS) & (data["clear"][unrelated.second] >= CLEAR_BITS)
    members = np.flatnonzero(~dropped & ~plain)
    result = {
        "packages": sorted(set(package.tolist())),
        "pictures": len(rows),
        "tiles": sum(row["piece"] == "tile" for row in rows),
        "taken for copies and dropped": int(dropped.sum()),
        "plain": int((plain & ~dropped).sum()),
        "unclear hashes": int((data["clear"][members] < CLEAR_BITS).sum()),
        "removed, different packages": removed(unrelated, clear, members),
        "different packages, clear hashes": curve(unrelated.only(clear), members),
        "different packages": curve(unrelated, members),
        "all": curve(full, members),
        "all, plain ones too": curve(kept, np.flatnonzero(~dropped)),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "false_pairs.json").write_text(json.dumps(result, indent=1) + "\n")
    for setting, sizes in result["different packages"].items():
        clear_only = result["different packages, clear hashes"][setting]["at 10^6"]
        print(
            f"  {setting}: {sizes}, clear {clear_only:.3g}, of one package too {result['all'][setting]['at 10^6']:.3g}"
        )


if __name__ == "__main__":
    main()
