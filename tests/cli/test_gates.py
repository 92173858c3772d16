"""`--fail-if`: what is a limit, which counts there are, and what a share is of."""

from __future__ import annotations

import dataclasses

import pytest

from spark_imgdedup.cli.gates import NAMES, hold, parse_gates
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.report.summary import Summary

SUMMARY = Summary(
    read=900, duplicates=412, unreadable={"no_image": 1, "truncated": 8}, uncovered=0, groups=30, removed={"x": 405}
)


@pytest.mark.parametrize(
    ("text", "failed"),
    [
        ("duplicates > 40%", True),
        ("duplicates > 45.8%", False),  # 45.77…
        ("duplicates>=412", True),
        ("duplicates > 412", False),
        ("duplicates < 1,000", True),
        ("unreadable > 1%", False),
        ("unreadable == 9", True),
        ("damaged_shards != 0", False),
        ("groups <= 30", True),
        ("uncovered > 0%", False),
    ],
)
def test_a_limit_is_held_against_a_count_or_its_share(text, failed):
    (verdict,) = hold(parse_gates([text]), SUMMARY)

    assert verdict.failed is failed


def test_a_verdict_says_the_numbers():
    (verdict,) = hold(parse_gates(["  duplicates   > 40% "]), SUMMARY)

    assert verdict.in_words() == "duplicates > 40%: 412 of 900 (45.8%)"


def test_a_share_of_nothing_is_none():
    (verdict,) = hold(parse_gates(["uncovered > 0%"]), Summary(read=0, duplicates=0))

    assert not verdict.failed


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("duplicates", "is no limit"),
        ("duplicates > ten", "is no limit"),
        ("duplicates => 3", "is no limit"),
        ("dups > 3", "no count is called 'dups'. There are read, not_read"),
        ("groups > 3%", "groups is no part of another count"),
    ],
)
def test_what_is_no_limit_is_refused(text, problem):
    with pytest.raises(ConfigError, match=problem):
        parse_gates([text])


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("read", "unreadable", "not_read")])
def test_what_no_step_has_counted_is_an_error_and_no_pass(name):
    read = Summary(read=3)
    if name == "damaged_shards":
        read = Summary()

    with pytest.raises(ConfigError, match=f"no step has counted {name} yet"):
        hold(parse_gates([f"{name} > 0"]), read)


def test_the_names_are_those_of_the_report():
    assert set(NAMES) <= {field.name for field in dataclasses.fields(Summary)}
