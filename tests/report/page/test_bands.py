"""Bands around eps: they meet, they cover every score, and eps is one of their ends."""

from __future__ import annotations

from itertools import pairwise

import pytest

from spark_imgdedup.report.page.bands import bit_bands, score_bands
from spark_imgdedup.stages.identify import similarity_threshold


@pytest.mark.parametrize("eps", [None, 0.0, 1e-6, 0.01, 0.22, 0.5, 0.9, 0.999999])
def test_each_score_is_in_one_band(eps):
    bands = score_bands(eps)

    assert bands[0].high is None
    assert bands[-1].low is None
    assert all(one.low == other.high for one, other in pairwise(bands))
    assert all(one.low > other.low for one, other in pairwise(bands[:-1]))


@pytest.mark.parametrize("eps", [0.0, 1e-6, 0.01, 0.22, 0.5, 0.9, 0.999999])
def test_the_bands_within_eps_end_where_a_duplicate_begins(eps):
    bands = score_bands(eps)
    inside = [band for band in bands if band.inside]

    assert inside[-1].low == similarity_threshold(eps)
    assert bands.index(inside[-1]) == len(inside) - 1
    assert len(bands) - len(inside) >= 2  # just outside of eps too


def test_without_an_eps_no_band_is_within_it():
    assert {band.inside for band in score_bands(None)} == {None}


def test_bands_are_named_by_their_scores():
    titles = [band.title for band in score_bands(0.2)]

    assert titles[0] == "cosine 1"
    assert titles[5] == "cosine 0.8 to 0.82"
    assert titles[-1] == "cosine below 0.6"


def test_bands_of_bits_double():
    assert [(band.low, band.high) for band in bit_bands(12)] == [(0, 0), (1, 1), (2, 3), (4, 7), (8, 12)]
    assert [band.title for band in bit_bands(1)] == ["hashes 0 bits apart", "hashes 1 bit apart"]
