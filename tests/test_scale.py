"""The sums of docs/scale.md, against the runs that were measured."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def scale(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("scale")


def test_the_formula_is_within_a_factor_of_two_of_every_measured_run(scale):
    found = scale.checks(scale.Constants.measured())

    assert {name for name, formula, measured in found if not measured / 2 <= formula <= 2 * measured} == set()
    assert len(found) >= 6


def test_the_page_has_the_sums_of_what_was_measured_last(scale):
    text = (ROOT / "docs/scale.md").read_text()

    assert scale.written(text) == text, "run python benchmarks/scale.py --write"


def test_more_machines_take_no_longer_and_more_images_no_less(scale):
    constants = scale.Constants.measured()

    def seconds(n_images, machines):
        return sum(step.seconds for step in scale.steps(n_images, machines, constants))

    assert seconds(10**8, 10) > seconds(10**8, 100) > seconds(10**8, 1000)
    assert seconds(10**7, 100) < seconds(10**8, 100) < seconds(10**9, 100)
