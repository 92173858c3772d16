"""The drawing of the eps curve: within its frame, whatever the numbers are."""

from __future__ import annotations

import pytest

from spark_imgdedup.report.page.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, draw
from spark_imgdedup.report.page.curve import levels_up_to
from spark_imgdedup.report.page.model import Curve, Level


def curve(most, n_rows, near, searched=None, own=None):
    levels = levels_up_to(most, own)
    counts = [round(near * eps / levels[-1]) for eps in levels]
    made = [
        Level(eps, round(1 - eps, 6), n, n if searched is None or eps <= searched else None)
        for eps, n in zip(levels, counts, strict=True)
    ]
    return Curve(n_rows, tuple(made), own, searched=searched)


@pytest.mark.parametrize("most", [1e-6, 0.01, 0.1, 0.44, 0.999999])
@pytest.mark.parametrize(("n_rows", "near"), [(1, 0), (1, 1), (10**8, 3), (10**8, 10**8)])
def test_every_point_and_tick_is_within_the_frame(most, n_rows, near):
    drawing = draw(curve(most, n_rows, near, searched=most / 2, own=most / 2))

    assert all(LEFT <= x <= WIDTH - RIGHT and TOP <= y <= HEIGHT - BOTTOM for x, y in drawing.dots)
    assert all(LEFT <= tick.at <= WIDTH - RIGHT for tick in drawing.x_ticks)
    assert all(TOP - 1 <= tick.at <= HEIGHT - BOTTOM for tick in drawing.y_ticks)
    assert 2 <= len(drawing.y_ticks) <= 9
    assert len({tick.label for tick in drawing.y_ticks}) == len(drawing.y_ticks)
    assert drawing.own == pytest.approx((LEFT + WIDTH - RIGHT) / 2, abs=1)


def test_what_was_not_searched_has_no_line_and_a_ground_of_its_own():
    whole, part = draw(curve(0.4, 100, 50)), draw(curve(0.4, 100, 50, searched=0.2))

    assert len(whole.removed.split()) == len(whole.dots)
    assert 0 < len(part.removed.split()) < len(part.near.split()) == len(part.dots)
    assert (whole.searched, part.searched) == (None, pytest.approx(LEFT + (WIDTH - LEFT - RIGHT) / 2, abs=1))


def test_the_runs_own_eps_is_a_level_among_even_ones():
    levels = levels_up_to(0.44, 0.22)

    assert 0.22 in levels
    assert levels == sorted(set(levels))
    assert (levels[0], levels[-1]) == (0.0, 0.44)
    assert max(levels_up_to(1.0, None)) < 1
