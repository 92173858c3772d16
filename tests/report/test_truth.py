from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_imgdedup.errors import SchemaError
from spark_imgdedup.report.truth import COLUMNS, TruthScore, score_run

# Two groups, two distractors, and a shard that is cut in its last sample.
TRUTH = [
    ("a/0", "a", "g0", "source", "original", "ok"),
    ("a/1", "a", "g0", "copy", "exact", "ok"),
    ("b/0", "b", "g0", "copy", "gray", "ok"),
    ("a/2", "a", "g1", "source", "original", "ok"),
    ("b/1", "b", "g1", "copy", "gray", "ok"),
    ("a/3", "a", "g2", "distractor", "original", "ok"),
    ("b/2", "b", "g3", "distractor", "original", "ok"),
    ("a/4", "a", "b0", "bad", "corrupt_image", "unreadable"),
    ("b/3", "b", "b1", "bad", "cut_tar", "unreadable"),
]
IDS = [row[0] for row in TRUTH]


def write_truth(path: Path, rows: list[tuple[str, ...]], columns: tuple[str, ...] = COLUMNS) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_truth(tmp_path_factory.mktemp("truth") / "truth.csv", TRUTH)


def score_of(truth: Path, *removed: str) -> TruthScore:
    return score_run(truth, dict.fromkeys(removed))


def test_removing_every_copy_is_full_recall_and_harms_nothing(truth: Path) -> None:
    score = score_of(truth, "a/1", "b/0", "b/1")

    assert (score.copies_removed, score.copies_planted, score.recall) == (3, 3, 1.0)
    assert (score.false_removals, score.groups_lost, score.distractors_removed) == (0, 0, 0)


def test_a_copy_may_survive_in_place_of_its_source(truth: Path) -> None:
    score = score_of(truth, "a/0", "a/1", "b/1")

    assert score.recall == 1.0
    assert score.false_removals == 0


def test_only_the_least_changed_kept_copy_is_the_survivor(truth: Path) -> None:
    score = score_of(truth, "a/0", "b/1")

    assert score.caught_by_transform == {"exact": (1, 1), "gray": (1, 2)}
    assert score.recall_by_transform == {"exact": 1.0, "gray": 0.5}


def test_a_kept_copy_beside_its_kept_source_is_a_miss(truth: Path) -> None:
    assert score_of(truth).copies_removed == 0
    assert score_of(truth, "a/1").copies_removed == 1


def test_a_group_of_which_nothing_is_kept_counts_as_lost_with_all_its_rows(truth: Path) -> None:
    score = score_of(truth, "a/2", "b/1", "a/3")

    assert score.groups_lost == 1
    assert score.distractors_removed == 1
    assert score.false_removals == 3
    assert "groups lost, nothing of them kept: 1" in score.lines()


def test_a_link_is_right_when_it_points_into_its_own_group(truth: Path) -> None:
    score = score_run(truth, {"a/1": "a/0", "b/0": "a/2", "b/1": None})

    assert (score.links_right, score.links_checked, score.link_precision) == (1, 2, 0.5)


def test_without_links_or_copies_the_shares_are_none(tmp_path: Path) -> None:
    score = score_run(write_truth(tmp_path / "t.csv", TRUTH[5:7]), {})

    assert score.recall is None
    assert score.link_precision is None
    assert score.lines() == ["planted copies found: 0 of 0", "false removals: 0"]


def test_an_unusable_sample_is_noticed_by_its_id_or_by_its_damaged_shard(truth: Path) -> None:
    assert score_run(truth, {}, unreadable={"a/4"}).unreadable_named == 1
    assert score_run(truth, {}, unreadable={"a/4", "b"}).unreadable_named == 2
    assert score_run(truth, {}, unreadable={"a/4", "b"}).unknown_ids == ()


def test_a_good_sample_called_unreadable_is_named(truth: Path) -> None:
    score = score_run(truth, {}, unreadable={"a/0", "a/4"})

    assert score.wrongly_unreadable == ("a/0",)
    assert "good samples called unreadable: 1 (a/0)" in score.lines()


def test_ids_the_truth_does_not_have_are_listed_and_score_nothing(truth: Path) -> None:
    score = score_run(truth, {"z/9": "a/0", "a/1": "z/8"}, unreadable={"z/7"})

    assert score.unknown_ids == ("z/7", "z/8", "z/9")
    assert (score.copies_removed, score.links_checked) == (1, 0)
    assert score.lines()[-1] == "ids that the truth does not have: 3 (z/7, z/8, z/9)"


def test_removing_a_bad_sample_neither_helps_nor_harms(truth: Path) -> None:
    assert score_of(truth, "a/4").false_removals == 0
    assert score_of(truth, "a/4").copies_removed == 0


def test_the_lines_say_what_was_found_in_words(truth: Path) -> None:
    score = score_run(truth, {"a/1": "a/0", "b/0": "a/0"}, unreadable={"a/4", "b"})

    assert score.lines() == [
        "planted copies found: 2 of 3 (66.7 %)",
        "by transform: exact 1/1, gray 1/2",
        "false removals: 0",
        "links to the right picture: 2 of 2 (100.0 %)",
        "unusable samples noticed: 2 of 2 (100.0 %)",
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([TRUTH[0], TRUTH[0]], "2 rows with image_id 'a/0'"),
        ([("a/0", "a", "g0", "sauce", "original", "ok")], "a/0 has role 'sauce'"),
        ([("a/0", "a", "g0", "source", "original", "perhaps")], "expect 'perhaps'"),
    ],
)
def test_a_truth_that_cannot_be_right_is_refused(tmp_path: Path, rows: list[tuple[str, ...]], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        score_run(write_truth(tmp_path / "t.csv", rows), {})


def test_a_truth_without_a_column_is_refused_by_name(tmp_path: Path) -> None:
    path = write_truth(tmp_path / "t.csv", [], columns=("image_id", "shard", "role", "transform", "expect"))

    with pytest.raises(SchemaError, match=r"lacks the columns \['group'\]"):
        score_run(path, {})


@given(removed=st.sets(st.sampled_from(IDS)))
def test_each_group_with_something_kept_has_one_survivor_and_no_other_excuse(truth: Path, removed: set[str]) -> None:
    score = score_of(truth, *removed)

    main = [row for row in TRUTH if row[3] != "bad"]
    kept = [row for row in main if row[0] not in removed]
    kept_groups = {row[2] for row in kept}
    # A kept row is the survivor of its group, or a copy that was missed; a kept source is always the survivor.
    missed = score.copies_planted - score.copies_removed
    assert missed == len(kept) - len(kept_groups)
    assert score.groups_lost + score.distractors_removed == len({row[2] for row in main} - kept_groups)
