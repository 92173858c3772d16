"""What decisions say of a run, each band by what it holds."""

from __future__ import annotations

import pytest

from spark_imgdedup.errors import SchemaError
from spark_imgdedup.files.decisions import Decision
from spark_imgdedup.report.review.estimate import estimate
from spark_imgdedup.report.review.model import AskedBand, PageHeader

HASHES = AskedBand("found by hashes or pixels", "phash", None, True, pairs=10, drawn=10)
NEAR = AskedBand("cosine 0.9", "embedding", 0.9, True, pairs=1000, drawn=40)
FAR = AskedBand("cosine 0.8 to 0.9", "embedding", 0.8, True, pairs=1000, drawn=40, same=30, different=70)
OUTSIDE = AskedBand("cosine 0.7 to 0.8", "embedding", 0.7, False, pairs=5000, drawn=20)
EMPTY = AskedBand("cosine 0.6 to 0.7", "embedding", 0.6, False, pairs=0)
BANDS = (NEAR, FAR, OUTSIDE, EMPTY, HASHES)


def said(band, decision, n, page="p"):
    return [Decision(f"{page}-{band}-{decision}-{nth}", "z", decision, band=band, page=page) for nth in range(n)]


DECISIONS = [
    *said(4, "same", 10),
    *said(0, "same", 38),
    *said(0, "unsure", 2),
    *said(1, "same", 20),
    *said(1, "different", 20),
    *said(2, "different", 5),
    *said(0, "different", 9, page="another"),
]


def test_each_band_weighs_what_it_holds_and_what_was_decided_before_is_certain():
    found = estimate(PageHeader("p", "r", 0.2, BANDS), DECISIONS, "f")

    assert [level.eps for level in found.levels] == [0.1, 0.2, 0.3, 0.4]
    at_near, at_far, at_outside, _ = found.levels
    assert at_near.share.value == 1.0
    assert found.own == at_far
    # 10 by hashes and 1,000 near ones; of the far ones 30 of 100 decided before, and half of the other 900.
    assert at_far.share.value == pytest.approx((10 + 1000 + 30 + 450) / 2010)
    assert (at_far.pairs, at_far.judged) == (2010, 10 + 38 + 40 + 100)
    assert at_outside.share.value == pytest.approx((10 + 1000 + 30 + 450) / 7010)
    assert found.bands[0].unsure == 2
    assert at_far.share.low < at_far.share.value < at_far.share.high


def test_the_largest_eps_is_that_whose_lower_end_is_high_enough():
    found = estimate(PageHeader("p", "r", 0.2, BANDS), DECISIONS, "f")

    low = found.levels[0].share.low
    assert 0.9 < low < 1
    assert found.largest_eps(low).eps == 0.1
    assert found.largest_eps(low + 1e-9) is None
    assert found.largest_eps(0.5).eps == 0.2
    assert found.largest_eps(1e-9).eps == 0.4


def test_where_hashes_alone_decide_there_is_a_precision_and_no_eps():
    found = estimate(PageHeader("p", "r", None, (HASHES,)), said(0, "same", 10), "f")

    assert (found.own.eps, found.own.share.value, found.levels) == (None, 1.0, ())


def test_a_band_of_which_nothing_was_judged_may_be_anything():
    found = estimate(PageHeader("p", "r", 0.1, (NEAR,)), [], "f")

    assert found.own.share.value is None
    assert (found.own.share.low, found.own.share.high) == (0.0, 1.0)


@pytest.mark.parametrize(
    "decisions", [said(7, "same", 1), said(None, "same", 1), said(2, "same", 21), said(4, "unsure", 11)]
)
def test_more_than_was_asked_is_refused(decisions):
    with pytest.raises(SchemaError, match="its lines were changed"):
        estimate(PageHeader("p", "r", 0.2, BANDS), decisions, "f")
