"""The eps curve as points of a drawing. Pixels of the drawing's own, x to the right and y down."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from spark_imgdedup.report.page.model import Curve

WIDTH, HEIGHT = 760, 280
LEFT, RIGHT, TOP, BOTTOM = 58, 18, 18, 40


@dataclass(frozen=True)
class Tick:
    """A place on an axis, and what stands there."""

    at: float
    label: str


@dataclass(frozen=True)
class Drawing:
    """The curve of what goes (`removed`) and of what is near (`near`), as points of polylines.

    Attributes:
        removed: Where it is known.
        near: At every level.
        dots: x and y of each level.
        x_ticks: eps.
        y_ticks: Shares of the rows.
        own: x of the run's eps.
        searched: x of the eps that the search was made for, where levels lie beyond it.
    """

    removed: str
    near: str
    dots: tuple[tuple[float, float], ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    own: float | None
    searched: float | None


def draw(curve: Curve) -> Drawing:
    """The drawing of a curve of one level at least."""
    most_eps = curve.levels[-1].eps or 1.0
    counts = [max(level.near, level.removed or 0) for level in curve.levels]
    y_steps = _steps(max(counts) / curve.n_rows if curve.n_rows else 0.0)

    def x(eps: float) -> float:
        return round(LEFT + eps / most_eps * (WIDTH - LEFT - RIGHT), 1)

    def y(n: int) -> float:
        share = n / curve.n_rows if curve.n_rows else 0.0
        return round(HEIGHT - BOTTOM - share / y_steps[-1] * (HEIGHT - TOP - BOTTOM), 1)

    removed = [(x(level.eps), y(level.removed)) for level in curve.levels if level.removed is not None]
    near = [(x(level.eps), y(level.near)) for level in curve.levels]
    dots = tuple((x(level.eps), y(level.near if level.removed is None else level.removed)) for level in curve.levels)
    ends = curve.searched is not None and curve.searched < most_eps
    return Drawing(
        _points(removed),
        _points(near),
        dots,
        tuple(Tick(x(each), f"{each:g}") for each in _steps(most_eps) if each <= most_eps),
        tuple(
            Tick(round(HEIGHT - BOTTOM - each / y_steps[-1] * (HEIGHT - TOP - BOTTOM), 1), f"{each * 100:g} %")
            for each in y_steps
        ),
        None if curve.own is None else x(curve.own),
        x(curve.searched) if ends and curve.searched is not None else None,
    )


def _points(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in places)


def _steps(most: float) -> list[float]:
    """0 and round numbers, four to eight of them, the last not below `most`."""
    if most <= 0:
        return [0.0, 1.0]
    power = 10 ** math.floor(math.log10(most))
    step = next(each * power for each in (0.1, 0.2, 0.25, 0.5, 1.0, 2.0) if most / (each * power) <= 7)
    return [round(step * nth, 10) for nth in range(math.ceil(round(most / step, 6)) + 1)]
