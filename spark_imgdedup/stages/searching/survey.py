"""Which share of the near pairs a search finds: sampled rows are compared with all rows, by brute force.

For each pair that is found so, it is worked out what a plan must do to compare it. So one pass over the vectors tells
the recall of every plan.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from spark_imgdedup.files import artifacts
from spark_imgdedup.files.block_reader import BlockReader
from spark_imgdedup.gpu import task_device, to_device, to_host
from spark_imgdedup.kernels.cosines import PROPOSAL_TOLERANCE, pair_cosines, round_cosine
from spark_imgdedup.kernels.probes import needed_margin, needed_nearest
from spark_imgdedup.kernels.ranking import hash_ids
from spark_imgdedup.kernels.vectors import UnitRows
from spark_imgdedup.stages.gpu_tasks import gpu_profile
from spark_imgdedup.stages.identify import similarity_threshold
from spark_imgdedup.stages.searching.blocks import Blocks, Sample
from spark_imgdedup.stages.searching.probes import Plan
from spark_imgdedup.stages.tasks import map_tasks

# Pairs after which a sample says enough: the share that is missed is then known to a tenth of a percent.
ENOUGH_PAIRS = 3_000
# Of the pairs of one sampled row so many are looked at; each stands for its share.
MOST_LOOKED_AT = 64
_DRAW_SEED = 13
# How far the float32 product of two rows may be from their cosine.
_PRODUCT_ERROR = PROPOSAL_TOLERANCE / 2
_FOUND = "row int, draw bigint, n bigint, is_near boolean, alpha double, nearest bigint"
# A pair that is looked at: the place of its sampled row, a hash of both ids, how many pairs it and the later ones of
# its row stand for (told by the row's first alone), and what was seen.
_COLUMNS = {"row": "i4", "draw": "i8", "n": "i8", "is_near": "?", "alpha": "f8", "nearest": "i8"}
_LOOK = np.dtype(list(_COLUMNS.items()))
Numbers = npt.NDArray[np.int64]
Looks = npt.NDArray[np.void]
_Z = 1.959963984540054  # of a two-sided interval of 95 %


@dataclass(frozen=True)
class NearPairs:
    """Pairs of a sampled row and any other within eps, and what it takes to compare them.

    Attributes:
        rows: (P,) the sampled row.
        weights: (P,) how many pairs each stands for.
        alphas: (P,) the least margin that compares it; 0 in one home.
        nearest: (P,) the least number of nearest clusters; 1 in one home.
    """

    rows: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]
    alphas: npt.NDArray[np.float64]
    nearest: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def where(self, chosen: npt.NDArray[np.bool_]) -> NearPairs:
        """Some of them."""
        return NearPairs(self.rows[chosen], self.weights[chosen], self.alphas[chosen], self.nearest[chosen])

    def found_by(self, plan: Plan) -> npt.NDArray[np.bool_]:
        """(P,) whether a plan compares the pair."""
        if plan.probes == "all":
            return np.ones(len(self), bool)
        if plan.probes == "margin":
            return self.alphas <= plan.alpha
        return self.nearest <= (plan.n_nearest if plan.probes == "nearest" else 1)


@dataclass(frozen=True)
class Recall:
    """The share of pairs that a search finds, with its interval of 95 % (Wilson's).

    Attributes:
        value: None where there was no pair to look for.
        low: Of the interval.
        high: Of the interval.
        pairs: Looked for.
        rows: Sampled.
    """

    value: float | None
    low: float | None
    high: float | None
    pairs: int
    rows: int


def near_pairs(blocks: Blocks, sample: Sample, eps: float) -> NearPairs:
    """The pairs within eps of sampled rows with all rows; one Spark job, a task for each file.

    Sampled rows count in their order until there are ENOUGH_PAIRS.

    Cost: 2·N·D flop for each sampled row.
    """
    index, config, centroids = blocks.index, blocks.config, blocks.centroids

    def compare(numbers: Iterator[int]) -> Iterator[pa.RecordBatch]:
        device = task_device(config.pairwise.device)
        cents = UnitRows.of(to_device(artifacts.load(centroids), device))
        search = Search.of(sample, UnitRows.normalized(to_device(sample.vectors, device)), cents, eps)
        with BlockReader(index, config.storage_options) as reader:
            for file in numbers:
                bands = reader.bands(file)
                looks = [search.look(thin, UnitRows.normalized(to_device(raw, device))) for thin, raw in bands]
                drawn = first_drawn(looks)
                yield pa.RecordBatch.from_pydict({name: pa.array(drawn[name]) for name in _COLUMNS})

    job = map_tasks(blocks.spark, len(index.names), compare, _FOUND, gpu_profile(blocks.spark, config))
    return _enough(pairs_seen(first_drawn([np.array([tuple(row) for row in job.collect()], _LOOK)])))


@dataclass(frozen=True)
class Search:
    """The sample, and a look at the pairs that it has with any other rows.

    Which pairs are looked at is decided by ids and cosines alone, so it is the same however the rows lie in files.
    """

    sample: Sample
    queries: UnitRows
    centroids: UnitRows
    eps: float
    hashes: npt.NDArray[np.uint64]

    @classmethod
    def of(cls, sample: Sample, queries: UnitRows, centroids: UnitRows, eps: float) -> Search:
        """With the hashes of the sampled ids."""
        return cls(sample, queries, centroids, eps, hash_ids(sample.ids.to_pylist(), _DRAW_SEED))

    def look(self, thin: pa.Table, rows: UnitRows) -> Looks:
        """The pairs of sampled rows with `rows`, whose thin columns those are; at most MOST_LOOKED_AT of each."""
        names, homes = thin["id"].combine_chunks(), thin["cluster_id"].to_numpy().astype(np.int64)
        looks, number = self._drawn(*self._proposed(rows), names)
        at = looks["row"].astype(np.int64)
        others = np.asarray(pc.not_equal(self.sample.ids.take(pa.array(at)), names.take(pa.array(number))))
        cosines = to_host(round_cosine(pair_cosines(self.queries, at, rows, number)))
        looks["is_near"] = (cosines >= similarity_threshold(self.eps)) & others
        near = looks["is_near"]
        at, number = at[near], number[near]
        there = self.sample.clusters[at], homes[number]
        looks["alpha"][near], looks["nearest"][near] = needed(
            self.queries[at], rows[number], there, self.centroids, self.eps
        )
        return looks

    def _proposed(self, rows: UnitRows) -> tuple[Numbers, Numbers]:
        """Places in the sample and in `rows` of the pairs that may be within eps, by the former."""
        bound = similarity_threshold(self.eps) - PROPOSAL_TOLERANCE
        products = to_host(self.queries.proposals @ rows.proposals.T)
        at, number = np.nonzero(products >= bound - _PRODUCT_ERROR)
        # How many there are is counted: at the bound itself the cosine decides, and not the batch's last bits.
        unsure = np.flatnonzero(products[at, number] <= bound + _PRODUCT_ERROR)
        inside = np.ones(len(at), bool)
        inside[unsure] = to_host(pair_cosines(self.queries, at[unsure], rows, number[unsure])) >= bound
        return at[inside], number[inside]

    def _drawn(self, at: Numbers, number: Numbers, names: pa.Array) -> tuple[Looks, Numbers]:
        """Of the pairs of each sampled row those with the lowest draws, and their places in the other rows."""
        told = np.unique(number)
        theirs = np.zeros(len(names), np.uint64)
        theirs[told] = hash_ids(names.take(pa.array(told)).to_pylist(), _DRAW_SEED)
        looks, places = [np.empty(0, _LOOK)], [np.empty(0, np.int64)]
        for row, start, n in zip(*np.unique(at, return_index=True, return_counts=True), strict=True):
            mine = number[start : start + n]
            draws = _mixed(theirs[mine] ^ _mixed(self.hashes[row : row + 1])).view(np.int64)
            first = np.argsort(draws)[:MOST_LOOKED_AT]
            part = np.zeros(len(first), _LOOK)
            part["row"], part["draw"], part["n"][0] = row, draws[first], n
            looks.append(part)
            places.append(mine[first])
        return np.concatenate(looks), np.concatenate(places)


def _mixed(numbers: Any) -> Any:
    """Each bit of unsigned 64-bit numbers, spread over all. Source: Steele, Lea and Flood, OOPSLA 2014 (SplitMix)."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def first_drawn(parts: Sequence[Looks]) -> Looks:
    """The looks of several parts as if they were one: of each row the lowest draws, for all pairs there are."""
    looks = np.concatenate([np.empty(0, _LOOK), *parts])
    looks = looks[np.lexsort((looks["draw"], looks["row"]))]
    rows, starts = np.unique(looks["row"], return_index=True)
    totals = np.bincount(looks["row"], looks["n"])[rows] if len(looks) else 0
    looks["n"] = 0
    looks["n"][starts] = totals
    return looks[np.arange(len(looks)) - np.searchsorted(looks["row"], looks["row"]) < MOST_LOOKED_AT]


def pairs_seen(looks: Looks) -> NearPairs:
    """The pairs that are near, and how many each stands for: all looked at stand for all of their row."""
    rows = looks["row"].astype(np.int64)
    share = np.bincount(rows, looks["n"]) / np.maximum(np.bincount(rows), 1)
    near = looks[looks["is_near"]]
    return NearPairs(rows[looks["is_near"]], share[near["row"]], near["alpha"].copy(), near["nearest"].copy())


def needed(
    one: UnitRows, other: UnitRows, homes: tuple[Numbers, Numbers], centroids: UnitRows, eps: float
) -> tuple[npt.NDArray[np.float64], Numbers]:
    """What compares each pair (P,) of rows: the least margin and the least number of nearest clusters, of either row.

    Args:
        one: (P, D) one row of each pair.
        other: (P, D) the other.
        homes: (P,) and (P,) their homes.
        centroids: (K, D).
        eps: As for `margin_copies`.
    """
    here, there = homes
    alphas = np.minimum(
        needed_margin(one, here, there, centroids, eps=eps), needed_margin(other, there, here, centroids, eps=eps)
    )
    nearest = np.minimum(needed_nearest(one, here, there, centroids), needed_nearest(other, there, here, centroids))
    return alphas, nearest


def _enough(pairs: NearPairs) -> NearPairs:
    """The pairs of the first rows that have ENOUGH_PAIRS together."""
    passed = np.cumsum(np.bincount(pairs.rows, pairs.weights)) if len(pairs) else np.zeros(0)
    last = int(np.searchsorted(passed, ENOUGH_PAIRS))
    return pairs.where(pairs.rows <= last)


def measure_recall(pairs: NearPairs, plan: Plan, n_rows: int) -> Recall:
    """What `plan` finds of `pairs`, which `n_rows` sampled rows had.

    Source of the interval: Wilson, J. Am. Stat. Assoc. 22 (1927). Pairs of one row are not independent, so it is
    narrower than it should be where few rows have many pairs.
    """
    total = float(pairs.weights.sum())
    if not total:
        return Recall(None, None, None, 0, n_rows)
    value = float(pairs.weights[pairs.found_by(plan)].sum()) / total
    n = len(pairs)
    middle, spread = value + _Z**2 / (2 * n), _Z * math.sqrt(value * (1 - value) / n + _Z**2 / (4 * n * n))
    low, high = ((middle + sign * spread) / (1 + _Z**2 / n) for sign in (-1, 1))
    return Recall(round(value, 6), round(max(low, 0.0), 6), round(min(high, 1.0), 6), round(total), n_rows)


def halves(pairs: NearPairs) -> tuple[NearPairs, NearPairs]:
    """Pairs to choose by and pairs to measure with: of the even and of the odd sampled rows."""
    return pairs.where(pairs.rows % 2 == 0), pairs.where(pairs.rows % 2 == 1)
