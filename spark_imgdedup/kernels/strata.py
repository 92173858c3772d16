"""A share of a population, and how sure it is, from samples of its strata."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_DRAWS = 20_000
_SEED = 0


@dataclass(frozen=True)
class Stratum:
    """A part of a population, of which a random sample without replacement was looked at.

    Attributes:
        n: Members of the part.
        seen: Of these, looked at.
        yes: Of those seen, what is counted.
    """

    n: int
    seen: int
    yes: int

    def __post_init__(self) -> None:
        if not 0 <= self.yes <= self.seen <= self.n:
            raise ValueError(f"0 <= yes <= seen <= n must hold, got {self}.")


@dataclass(frozen=True)
class Share:
    """A share in [0, 1], and an interval that holds the true one; `value` is None where no member was seen."""

    value: float | None
    low: float
    high: float


def share_of(strata: Sequence[Stratum], level: float = 0.95, *, draws: int = _DRAWS) -> Share:
    """The share of all members that are counted, each stratum weighing what it has.

    The interval is the melded one: the lower end is a quantile of a sum over the strata, of each of which the number
    that is counted is drawn from the distribution whose quantiles are exact lower ends for that stratum; likewise the
    upper end. Of one large stratum it is the interval of Clopper and Pearson, of one that was seen whole it is a point,
    and one that was not seen at all may be anything. It is never too narrow where few were seen, or all alike.

    Source: Fay, Proschan and Brittain, Combining one-sample confidence procedures for inference in the two-sample case
    (Biometrics 71, 2015). The distribution for a finite stratum, a beta-binomial, is that of the tail of a
    hypergeometric distribution in the number that is counted.

    Args:
        strata: At least one member in all.
        level: How often the interval should hold the true share.
        draws: For the quantiles; 20,000 make them right to about 0.1 % of the level. The same each time.

    Raises:
        ValueError: there is no member.
    """
    n = sum(each.n for each in strata)
    if not n:
        raise ValueError("A share of nothing is none: the strata have no members.")
    rng = np.random.default_rng(_SEED)
    least, most = np.zeros(draws), np.zeros(draws)
    for each in strata:
        least += each.yes + _more(each, each.yes, each.seen - each.yes + 1, draws, rng)
        most += each.yes + _more(each, each.yes + 1, each.seen - each.yes, draws, rng)
    tail = (1 - level) / 2
    low = float(np.quantile(least, tail, method="lower")) / n
    high = float(np.quantile(most, 1 - tail, method="higher")) / n
    seen = [each for each in strata if each.seen]
    if not seen:
        return Share(None, low, high)
    value = sum(each.n * each.yes / each.seen for each in seen) / sum(each.n for each in seen)
    return Share(value, low, high)


def _more(stratum: Stratum, a: int, b: int, draws: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """How many of those not seen are counted (draws,): beta-binomial, none where a is 0, and all where b is."""
    left = stratum.n - stratum.seen
    if not left or not a:
        return np.zeros(draws)
    if not b:
        return np.full(draws, float(left))
    return rng.binomial(left, rng.beta(a, b, draws)).astype(np.float64)


def shared_out(sizes: Sequence[int], n: int, least: int) -> list[int]:
    """How many of n to draw from each stratum: by the square root of its size, but `least` where there are so many.

    So that a small stratum is told of too, and a large one, which weighs more, better.

    Source: Bankier, Power allocations (The American Statistician 42, 1988), with power 1/2.
    """
    found = [0] * len(sizes)
    least = min(least, n // max(1, sum(size > 0 for size in sizes)))
    order = sorted(range(len(sizes)), key=lambda place: (sizes[place], place))
    left, roots = n, sum(np.sqrt(size) for size in sizes)
    for place in order:  # the smallest first: what they have not is for the others
        wanted = max(least, round(left * float(np.sqrt(sizes[place]) / roots))) if roots else 0
        found[place] = min(sizes[place], wanted, left)
        left -= found[place]
        roots = max(0.0, roots - float(np.sqrt(sizes[place])))
    for place in reversed(order):  # what rounding has left
        more = min(left, sizes[place] - found[place])
        found[place], left = found[place] + more, left - more
    return found
