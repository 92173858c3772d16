"""What the page says of a pair: what became of both images, by which rule, and what was measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spark_imgdedup.config import parse_config
from spark_imgdedup.report.page import assemble
from spark_imgdedup.report.page.assemble import Shown
from spark_imgdedup.report.page.draw import DrawnBand, DrawnGroup, DrawnPair
from spark_imgdedup.report.page.facts import Known

DECIDED = {
    "near": {"max_id": "best", "kept_id": "best", "found_by": "embedding", "rule": "greedy"},
    "far": {"max_id": "other", "kept_id": "other", "found_by": "phash", "rule": "greedy"},
    "copy": {"max_id": "best", "kept_id": "best", "found_by": "exact", "rule": "greedy"},
}
OPEN = Known({}, None, None, {}, {})
IDENTIFIED = replace(OPEN, decisions=DECIDED, rejected={"dark": "aesthetic"})
JUDGED = replace(IDENTIFIED, different=frozenset({("best", "new")}))
REMOVED = replace(IDENTIFIED, removed={"near": "duplicate", "dark": "aesthetic"})


@pytest.mark.parametrize(
    ("known", "image_id", "expected"),
    [
        (OPEN, "near", "not decided"),
        (IDENTIFIED, "near", "would go"),
        (IDENTIFIED, "dark", "would go"),
        (IDENTIFIED, "best", "kept"),
        (REMOVED, "near", "removed"),
        (REMOVED, "dark", "removed"),
        (REMOVED, "far", "kept"),  # a list of ids decided, and not the duplicates
    ],
)
def test_the_status_is_what_the_last_step_made_of_an_image(known, image_id, expected):
    assert assemble.status(image_id, known) == expected


@pytest.mark.parametrize(
    ("known", "pair", "inside", "expected"),
    [
        (OPEN, ("best", "near"), True, "Within eps. Not decided yet: identify has not run."),
        (OPEN, ("best", "near"), False, "Outside eps. Not decided yet: identify has not run."),
        (OPEN, ("best", "copy"), None, "Not decided yet: identify has not run."),
        (
            IDENTIFIED,
            ("best", "near"),
            True,
            "Semantic match, found by embedding; rule greedy: goes for the image beside it.",
        ),
        (IDENTIFIED, ("best", "far"), None, "Near copy, found by perceptual hash; rule greedy: goes for other."),
        (
            IDENTIFIED,
            ("best", "copy"),
            None,
            "Exact copy, found by same bytes or same pixels; rule greedy: goes for the image beside it.",
        ),
        (IDENTIFIED, ("best", "dark"), True, "Not a duplicate, but refused: aesthetic."),
        (JUDGED, ("new", "best"), True, "No duplicate: somebody has called these two different."),
        (IDENTIFIED, ("near", "stays"), False, "No duplicate: outside eps."),
        (
            IDENTIFIED,
            ("near", "stays"),
            True,
            "No duplicate: by rule greedy, no image that stays is near enough.",
        ),
    ],
)
def test_the_verdict_names_the_kind_the_detector_the_rule_and_for_which_image(known, pair, inside, expected):
    assert assemble.verdict(DrawnPair(*pair, cosine=0.9), known, inside=inside, rule="greedy") == expected


def test_of_what_found_a_pair_the_numbers_are_shown():
    assert assemble.measure(DrawnPair("a", "b", cosine=0.9), "embedding") == "cosine 0.900000"
    assert assemble.measure(DrawnPair("a", "b", 0.9, 1), "phash+embedding") == "cosine 0.900000, hashes 1 bit apart"
    assert assemble.measure(DrawnPair("a", "b"), "phash") == "perceptual hash"
    assert assemble.measure(DrawnPair("a", "b", cosine=1.0), "exact") == "same bytes or same pixels"


def test_pairs_and_groups_have_their_pictures_or_the_reason_why_not():
    shown = Shown({"best": "data:image/webp;base64,AA"}, {"near": "not found in the input"})
    pair = DrawnPair("best", "near", cosine=0.9)
    config = parse_config({})

    band = assemble.band(DrawnBand("embedding", "t", True, 9, (pair,), "place"), IDENTIFIED, shown, config)
    group = assemble.group(
        DrawnGroup("best", 7, 0.8, 0.7, 8, {"embedding": 7}, ((pair, "embedding"),)), IDENTIFIED, shown
    )

    assert (band.n_all, len(band.pairs), band.pairs[0].better.uri) == (9, 1, shown.uris["best"])
    assert (band.pairs[0].other.uri, band.pairs[0].other.problem) == (None, "not found in the input")
    assert (group.kept.uri, group.members[0].measure, group.n_all) == (shown.uris["best"], "cosine 0.900000", 7)


def test_what_was_removed_has_a_command_and_what_was_brought_back_says_so():
    known = replace(REMOVED, settings="work/config.yaml")

    gone = assemble.picture("near", known, Shown({}, {}))

    assert gone.undo == "spark-imgdedup restore --config work/config.yaml --ids=near"
    assert assemble.picture("far", known, Shown({}, {})).undo is None
    said = assemble.verdict(DrawnPair("best", "far"), known, inside=None, rule="greedy")
    assert said.endswith("goes for other, but remove has left it in.")
