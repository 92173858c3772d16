"""How the counts of a step read, and how they come back from its record."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from spark_imgdedup.config.steps import RECORDED
from spark_imgdedup.counts import (
    ClusterCounts,
    DetectCounts,
    IdentifyCounts,
    ImageCounts,
    OutputCounts,
    PairwiseCounts,
    RemoveCounts,
    SampleCounts,
    ScoreCounts,
)


@pytest.mark.parametrize(
    ("counts", "line"),
    [
        (
            ImageCounts(samples=1200, rejected={"no_image": 2, "unreadable": 1}),
            "1,200 images in 2.0 s (600.0 images/s), 3 of them without a usable image",
        ),
        (
            ImageCounts(samples=2, not_read={"heic": 1200, "hidden folder": 3}),
            "2 images in 2.0 s (1.0 images/s), 0 of them without a usable image; not read: heic 1,200, hidden folder 3",
        ),
        (ClusterCounts(rows=9, clusters=2, largest=7), "9 rows in 2 clusters, the largest 7, in 2.0 s"),
        (
            PairwiseCounts(rows=9, comparisons=1200, probes="margin 0.5", eps=0.1, recall={"value": 0.998}),
            "9 rows compared (margin 0.5) by 1,200 comparisons, 99.80% of the pairs within 0.1 found, in 2.0 s",
        ),
        (
            PairwiseCounts(rows=9, comparisons=36, recall={"value": None}),
            "9 rows compared (home) by 36 comparisons, in 2.0 s",
        ),
        (
            IdentifyCounts(0.1, 3, {"embedding": 3}, uncovered=1, groups=2),
            "3 duplicates by semdedup at eps 0.1, uncovered removals 1, groups wiped out 0 of 2, in 2.0 s",
        ),
        (
            IdentifyCounts(None, 3, {"exact": 1, "phash": 2}, rule="greedy", groups=1, both_stay=4),
            "3 duplicates by greedy (1 by exact, 2 by phash), uncovered removals 0, groups wiped out 0 of 1, "
            "4 that must stay repeat one another, in 2.0 s",
        ),
        (ScoreCounts(9, {"aesthetic": 2, "nsfw": 1}), "9 rows scored in 2.0 s: aesthetic 2, nsfw 1"),
        (ScoreCounts(9), "9 rows scored in 2.0 s: none rejected"),
        (DetectCounts(9, copies=4), "4 exact copies among 9 images in 2.0 s"),
        (DetectCounts(9, near_hashes=5), "5 pairs of near hashes among 9 images in 2.0 s"),
        (
            DetectCounts(9, near_hashes=5, expected_recall={"7": 0.98, "8": 0.94}),
            "5 pairs of near hashes among 9 images in 2.0 s; of pairs 8 bits apart about 94.0% are found",
        ),
        (
            RemoveCounts(read=9, removed={"duplicate": 2, "unreadable": 1}, written=6),
            "9 samples read, 3 removed, 6 written in 2.0 s",
        ),
        (
            RemoveCounts(read=9, removed={"duplicate": 2}, written=7, ids_given=2, ids_matched=2, samples_matched=2),
            "9 samples read, 2 removed, 7 written in 2.0 s; 2 ids given, 2 matched",
        ),
        (
            RemoveCounts(
                **{"read": 9, "removed": {"duplicate": 3}, "written": 6, "ids_given": 1200, "ids_matched": 2},
                **{"samples_matched": 3, "ids_unmatched": 1198, "ids_null": 4, "samples_without_field": 5},
            ),
            "9 samples read, 3 removed, 6 written in 2.0 s; 1,200 ids given, 2 matched (3 samples), 1,198 not in the "
            "dataset, 4 rows without an id; 5 samples without the field were kept",
        ),
    ],
)
def test_a_step_is_told_in_one_line(counts, line):
    assert counts.in_words(2.0) == line


def test_a_step_that_took_no_time_has_a_line_too():
    assert "0.0 images/s" in ImageCounts(samples=3).in_words(0.0)


@pytest.mark.parametrize(
    "counts",
    [
        ImageCounts(3, 2, {"no_image": 1}, 10, ("a.tar: cut",), 1, ("exact",)),
        ScoreCounts(3, {"nsfw": 1}, {"nsfw_score": [0.0, 0.5, 1.0]}),
        DetectCounts(3, 1, 2, 7, {"8": 0.94}),
        ClusterCounts(3, 2, 2, {"zero": 1}),
        PairwiseCounts(3),
        IdentifyCounts(0.1, 1, {"embedding": 1}),
        RemoveCounts.of(SampleCounts(read=3), {"duplicate": 1}, "out", OutputCounts(written=2)),
    ],
    ids=lambda counts: type(counts).__name__,
)
def test_counts_come_back_from_json_as_they_were(counts):
    assert type(counts).from_json(json.loads(json.dumps(asdict(counts)))) == counts


def test_every_step_with_a_record_has_counts_that_are_told():
    assert all("in_words" in vars(step.counts) for step in RECORDED)


@pytest.mark.parametrize("found", [{}, {"rows": 3, "pairs": 1}])
def test_counts_of_another_shape_are_refused(found):
    with pytest.raises(ValueError, match=r"PairwiseCounts has .*rows, why, not"):
        PairwiseCounts.from_json(found)
