"""Which orders of steps make sense, and what is said of the others."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_imgdedup.config import STEP_NAMES, Config, parse_config
from spark_imgdedup.config.steps import STEP, STEPS, in_order, misplaced
from spark_imgdedup.errors import ConfigError

SCORED = {"score": {"scorers": [{"name": "looks"}]}}


def first_problem(steps):
    return next(misplaced(steps), None)


@given(st.sets(st.sampled_from(STEP_NAMES), min_size=1))
def test_any_steps_in_the_order_of_the_data_make_sense(steps):
    assert first_problem(in_order(steps)) is None


@pytest.mark.parametrize("step", [step for step in STEP_NAMES if step != "score"])
def test_a_step_before_one_that_it_reads_from_is_refused_with_an_order_that_works(step):
    for before in STEP[step].comes_after:
        message = first_problem([step, before])
        assert message == f"has {step} before {before}, which it needs; an order that works: {in_order([step, before])}"


def test_a_filter_stands_before_the_search_or_after_it_and_nowhere_in_between():
    rest = ["detect", "cluster", "pairwise", "identify"]
    orders = [["embed", *rest[:place], "score", *rest[place:], "remove", "report"] for place in range(len(rest) + 1)]

    assert [place for place, order in enumerate(orders) if first_problem(order) is None] == [0, 4]
    assert first_problem(orders[2]) == (
        "has score between cluster and pairwise; put it before detect, to search among what passes, or after identify, "
        "to filter what is left"
    )


def test_of_all_orders_of_four_steps_two_make_sense():
    steps = ("embed", "cluster", "score", "remove")

    fine = [order for order in permutations(steps) if first_problem(order) is None]

    assert fine == [("embed", "cluster", "score", "remove"), ("embed", "score", "cluster", "remove")]


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([], "steps: names no step; the steps are embed, score"),
        (["embed", "embed"], "steps: names embed twice"),
        (
            ["cluster", "embed"],
            r"has cluster before embed, which it needs; an order that works: \['embed', 'cluster'\]",
        ),
        (["embed", "klaster"], "steps: "),
    ],
)
def test_nonsense_is_an_error_in_one_line(steps, message):
    with pytest.raises(ConfigError, match=message):
        parse_config({"steps": steps})


@pytest.mark.parametrize(
    ("steps", "filters_first"),
    [
        (STEP_NAMES, True),
        (["embed", "detect", "cluster", "pairwise", "identify", "score", "remove"], False),
        (["embed", "score", "remove"], True),
        (["embed", "cluster"], False),
    ],
)
def test_a_filter_works_on_the_search_where_it_comes_first(steps, filters_first):
    assert parse_config({"steps": list(steps), **SCORED}).filters_first is filters_first
    assert parse_config({"steps": list(steps)}).filters_first is False  # nothing to score


def test_every_step_with_a_command_is_described_under_its_name_in_the_order_of_the_data():
    assert [step.name for step in STEPS if step.made_by is None] == list(STEP_NAMES)
    assert all(STEP[name].name == name for name in STEP)


def test_no_step_needs_the_tables_of_a_later_one():
    cascade = parse_config({"detect": {"prepass": ["exact", "phash"]}})
    order = [step.name for step in STEPS]

    for step in STEPS:
        before = (*step.built_on(cascade), *step.uses, *step.comes_after)
        assert all(order.index(name) < order.index(step.name) for name in before), step.name


def test_every_section_that_decides_a_result_is_one_of_the_settings():
    assert {section for step in STEPS for section in step.sections} <= set(Config.model_fields)
