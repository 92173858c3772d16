"""Which of the ways to search is the cheapest that finds enough, judged by a sample of the rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spark_imgdedup.files import artifacts
from spark_imgdedup.gpu import to_host
from spark_imgdedup.kernels.assignment import nearest_centroid
from spark_imgdedup.kernels.packing import count_pairs
from spark_imgdedup.kernels.vectors import UnitRows, l2_normalize
from spark_imgdedup.stages.searching.blocks import Blocks, Sample
from spark_imgdedup.stages.searching.probes import Plan, copies_of
from spark_imgdedup.stages.searching.survey import NearPairs, measure_recall, needed

Numbers = npt.NDArray[np.int64]

CHOICES = (
    Plan("home"),
    *(Plan("margin", alpha=alpha) for alpha in (0.3, 0.5, 0.7, 1.0)),
    *(Plan("nearest", n_nearest=n) for n in (2, 3, 4)),
    Plan("all"),
)
# With fewer pairs than these, plans are judged by pairs made for it.
MIN_PAIRS = 100
# A plan that costs so many times the plainest is not chosen for want of pairs to judge by.
MOST_TIMES = 20.0


@dataclass(frozen=True)
class Choice:
    """A plan, what it costs and why it was taken.

    Attributes:
        plan: The plan.
        pairs: Comparisons, about.
        why: In words.
    """

    plan: Plan
    pairs: float
    why: str


def choose_plan(blocks: Blocks, sample: Sample, pairs: NearPairs, eps: float) -> Choice:
    """The cheapest plan that reaches `pairwise.target_recall` on the pairs of the sample.

    Where the sample has fewer than MIN_PAIRS, plans are judged by pairs made for it: each sampled row with some at eps
    in the direction of other sampled rows, which is farther than most true pairs.

    Args:
        blocks: What is searched.
        sample: Rows of it.
        pairs: What `near_pairs` found of them.
        eps: What the search is for.
    """
    rows, cents = UnitRows.normalized(sample.vectors), UnitRows.of(artifacts.load(blocks.centroids))
    judged = pairs if len(pairs) >= MIN_PAIRS else made_pairs(sample, rows, cents, eps)
    source = f"{round(pairs.weights.sum()):,} pairs of {len(sample):,} sampled rows"
    if judged is not pairs:
        source = f"{len(judged):,} pairs made at eps {eps:g}, since {source} are too few"
    costs = {plan: _plan_pairs(plan, sample, (rows, cents), blocks.index.sizes, eps) for plan in CHOICES}
    recalls = {plan: measure_recall(judged, plan, len(sample)).value or 0.0 for plan in CHOICES}
    target, home = blocks.config.pairwise.target_recall, CHOICES[0]
    enough = [plan for plan in CHOICES if plan.is_lossless or recalls[plan] >= target]
    plan = min(enough, key=costs.__getitem__)
    if judged is not pairs and costs[plan] > MOST_TIMES * costs[home]:
        affordable = (plan for plan in CHOICES if costs[plan] <= MOST_TIMES * costs[home])
        plan = max(affordable, key=lambda plan: (recalls[plan], -costs[plan]))
    found = "finds every pair" if plan.is_lossless else f"finds {recalls[plan]:.2%} of {source}"
    why = (
        found
        if plan == home
        else f"{found}; home finds {recalls[home]:.2%} at {costs[home] / costs[plan]:.0%} of the cost"
    )
    return Choice(plan, costs[plan], why)


def _plan_pairs(plan: Plan, sample: Sample, rows: tuple[UnitRows, UnitRows], sizes: Numbers, eps: float) -> float:
    """Comparisons of a plan, by the copies of the sample (unit rows, and centroids); to find them costs as well."""
    n_rows = int(sizes.sum())
    if plan.probes == "all":
        return n_rows * (n_rows - 1) / 2
    home = float(count_pairs(sizes))
    if not plan.copies or not len(sample):
        return home
    unit, centroids = rows
    _, clusters = copies_of(plan, unit, sample.clusters, centroids, eps)
    return home + n_rows * (float(sizes[clusters].sum()) / len(sample) + len(sizes))


def made_pairs(sample: Sample, rows: UnitRows, centroids: UnitRows, eps: float) -> NearPairs:
    """A pair at eps for each two neighbours of the sample: a row, and one at that distance in the other's direction."""
    vectors = to_host(rows.vectors).astype(np.float64)
    made = []
    for shift in (1, 2, 3, 5, 8):
        aside = np.roll(vectors, shift, axis=0)
        aside = aside - (aside * vectors).sum(axis=1, keepdims=True) * vectors
        length = np.linalg.norm(aside, axis=1, keepdims=True)
        has = length[:, 0] > 1e-6  # copies of each other show no direction
        cosine = 1 - eps
        near = cosine * vectors[has] + math.sqrt(1 - cosine**2) * aside[has] / length[has]
        made.append((np.flatnonzero(has), UnitRows.of(l2_normalize(near))))
    parts = []
    for at, others in made:
        home = sample.clusters[at]
        there, _ = nearest_centroid(others.vectors, centroids.vectors) if len(at) else (home, None)
        alphas, nearest = needed(rows[at], others, (home, to_host(there).astype(np.int64)), centroids, eps)
        parts.append(NearPairs(at, np.ones(len(at)), alphas, nearest))
    return NearPairs(*(np.concatenate(column) for column in zip(*(vars(part).values() for part in parts), strict=True)))
