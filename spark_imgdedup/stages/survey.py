"""Which share of the near pairs a search finds: sampled rows are compared with all rows, by brute force.

For each pair that is found so, it is worked out what a plan must do to compare it. So one pass over the vectors tells
the recall of every plan.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from spark_imgdedup.files import artifacts
from spark_imgdedup.files.blocks import BlockReader
from spark_imgdedup.gpu import task_device, to_device, to_host
from spark_imgdedup.kernels.cosines import PROPOSAL_TOLERANCE, pair_cosines, round_cosine
from spark_imgdedup.kernels.probes import needed_margin, needed_nearest
from spark_imgdedup.kernels.vectors import UnitRows
from spark_imgdedup.stages.blocks import Blocks, Sample
from spark_imgdedup.stages.gpu_tasks import gpu_profile
from spark_imgdedup.stages.identify import similarity_threshold
from spark_imgdedup.stages.probes import Plan
from spark_imgdedup.stages.tasks import map_tasks

# Pairs after which a sample says enough: the share that is missed is then known to a tenth of a percent.
ENOUGH_PAIRS = 3_000
# Of the pairs of one sampled row in one file so many are looked at; each stands for its share.
MOST_LOOKED_AT = 64
_FOUND = "row int, weight double, alpha double, nearest bigint"
Numbers = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float64]
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
        queries = UnitRows.normalized(to_device(sample.vectors, device))
        with BlockReader(index, config.storage_options) as reader:
            for file in numbers:
                for place, (thin, raw) in enumerate(reader.bands(file)):
                    band = _Band(
                        thin, UnitRows.normalized(to_device(raw, device)), np.random.default_rng((file, place))
                    )
                    yield band.look(sample, queries, cents, eps)

    job = map_tasks(blocks.spark, len(index.names), compare, _FOUND, gpu_profile(blocks.spark, config))
    rows, weights, alphas, nearest = list(zip(*job.collect(), strict=True)) or [()] * 4
    return _enough(
        NearPairs(
            np.array(rows, np.int64), np.array(weights, float), np.array(alphas, float), np.array(nearest, np.int64)
        )
    )


@dataclass(frozen=True)
class _Band:
    """Rows that are compared with the sample."""

    thin: pa.Table
    rows: UnitRows
    chance: np.random.Generator

    def look(self, sample: Sample, queries: UnitRows, centroids: UnitRows, eps: float) -> pa.RecordBatch:
        """The pairs of sampled rows with these, as rows of _FOUND."""
        low = similarity_threshold(eps)
        at, number = np.nonzero(to_host(queries.proposals @ self.rows.proposals.T) >= low - PROPOSAL_TOLERANCE)
        at, number, weights = _thinned(at, number, self.chance)
        cosines = to_host(round_cosine(pair_cosines(queries, at, self.rows, number)))
        ids, others = sample.ids.take(pa.array(at)), self.thin["id"].combine_chunks().take(pa.array(number))
        true = (cosines >= low) & np.asarray(pc.not_equal(ids, others))
        at, number, weights = at[true], number[true], weights[true]
        homes = sample.clusters[at], self.thin["cluster_id"].to_numpy().astype(np.int64)[number]
        alphas, nearest = needed(queries[at], self.rows[number], homes, centroids, eps)
        columns = [pa.array(at, pa.int32()), pa.array(weights), pa.array(alphas), pa.array(nearest)]
        return pa.RecordBatch.from_arrays(columns, names=["row", "weight", "alpha", "nearest"])


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


def _thinned(at: Numbers, number: Numbers, chance: np.random.Generator) -> tuple[Numbers, Numbers, Weights]:
    """At most MOST_LOOKED_AT pairs of each sampled row, and how many each stands for."""
    counts = np.bincount(at)
    if not len(at) or counts.max() <= MOST_LOOKED_AT:
        return at, number, np.ones(len(at))
    mixed = np.lexsort((chance.random(len(at)), at))
    place = np.arange(len(at)) - np.searchsorted(at[mixed], at[mixed])
    chosen = np.sort(mixed[place < MOST_LOOKED_AT])
    at, number = at[chosen], number[chosen]
    return at, number, counts[at] / np.bincount(at)[at]


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
