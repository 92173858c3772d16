"""How sure a share is: against what is exact, and against many labellings of a population that is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import betaincinv

from spark_imgdedup.kernels.strata import Share, Stratum, share_of, shared_out


@pytest.mark.parametrize(("yes", "seen"), [(20, 20), (19, 20), (7, 20), (0, 20), (199, 200)])
def test_of_one_large_stratum_it_is_the_interval_of_clopper_and_pearson(yes, seen):
    found = share_of([Stratum(10**9, seen, yes)])

    low = betaincinv(yes, seen - yes + 1, 0.025) if yes else 0.0
    high = betaincinv(yes + 1, seen - yes, 0.975) if yes < seen else 1.0
    assert found.value == pytest.approx(yes / seen)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.01)


def test_what_was_seen_whole_is_certain_and_what_was_not_seen_may_be_anything():
    whole = [Stratum(10, 10, 9), Stratum(30, 30, 30)]

    assert share_of(whole) == Share(39 / 40, 39 / 40, 39 / 40)
    assert share_of([*whole, Stratum(60, 0, 0)]) == Share(39 / 40, 0.39, 0.99)
    assert share_of([Stratum(5, 0, 0)]) == Share(None, 0.0, 1.0)
    with pytest.raises(ValueError, match="no members"):
        share_of([Stratum(0, 0, 0)])
    with pytest.raises(ValueError, match="seen"):
        Stratum(3, 4, 1)


# Members, labels and true shares of the strata.
POPULATIONS = {
    "nearly all, few labels": ((4000, 8, 0.999), (900, 6, 0.99), (50, 4, 0.9)),
    "all": ((10_000, 30, 1.0), (500, 20, 1.0)),
    "one wrong in a small stratum": ((40, 20, 0.975), (12, 9, 1.0), (20, 19, 0.95)),
    "worse from band to band": ((60_000, 40, 0.995), (20_000, 30, 0.95), (8000, 25, 0.8), (3000, 25, 0.4)),
    "half": ((1000, 10, 0.5), (1000, 10, 0.5)),
    "one label each": ((100, 1, 0.9), (100, 1, 0.9), (100, 1, 0.9), (1000, 1, 0.95)),
}


@pytest.mark.parametrize("population", POPULATIONS.values(), ids=POPULATIONS)
def test_the_interval_holds_the_true_share_in_93_percent_of_500_labellings_or_more(population):
    rng = np.random.default_rng(5)
    members = [(n, labels, round(n * share)) for n, labels, share in population]
    truth = sum(yes for _, _, yes in members) / sum(n for n, _, _ in members)
    held = 0
    for _ in range(500):
        strata = [Stratum(n, seen, int(rng.hypergeometric(yes, n - yes, seen))) for n, seen, yes in members]
        found = share_of(strata, draws=1000)
        held += found.low <= truth <= found.high

    assert held >= 465


def test_every_stratum_gets_its_least_and_the_large_ones_the_rest():
    assert shared_out([100, 100, 100], 30, 5) == [10, 10, 10]
    assert shared_out([3, 10_000, 0], 50, 5) == [3, 47, 0]
    assert shared_out([4, 900, 90_000], 200, 5)[0] == 4
    assert sum(shared_out([4, 900, 90_000], 200, 5)) == 200
    assert shared_out([2, 3], 200, 5) == [2, 3]
    assert shared_out([1_000_000, 50, 50], 20, 5) == [10, 5, 5]
    assert sorted(shared_out([50] * 10, 8, 5)) == [0, 0, *[1] * 8]
    assert shared_out([], 8, 5) == []
