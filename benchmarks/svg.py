"""A plot of lines over time as SVG: two panels, one axis of seconds, and the steps as bands."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

WIDTH, LEFT, RIGHT = 900, 70, 150
PANEL, GAP, TOP = 200, 36, 40
COLOURS = ("#2563a8", "#c2571a", "#3a7d44", "#8a4f9e", "#777777")


@dataclass(frozen=True)
class Panel:
    """Lines over the seconds: their names and values, and what is written beside the axis."""

    title: str
    lines: dict[str, list[float]]


def plot(seconds, bands, panels, title):
    """The SVG's text.

    Args:
        seconds: Of each value.
        bands: (name, start, end) of what went on meanwhile.
        panels: One below the other.
        title: Above all.
    """
    last = max(seconds[-1], 1e-9)
    height = TOP + len(panels) * (PANEL + GAP) + 12

    def x(second):
        return LEFT + (WIDTH - LEFT - RIGHT) * second / last

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif"',
        'font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="20" font-size="14">{escape(title)}</text>',
    ]
    bottom = TOP + len(panels) * (PANEL + GAP) - GAP
    for number, (name, start, end) in enumerate(bands):
        fill = "#f1f3f6" if number % 2 else "#e3e7ed"
        wide = x(end) - x(start)
        parts.append(f'<rect x="{x(start):.1f}" y="{TOP}" width="{wide:.1f}" height="{bottom - TOP}" fill="{fill}"/>')
        if wide > 7 * len(name):
            parts.append(f'<text x="{x(start) + 4:.1f}" y="{TOP - 6}" fill="#444">{escape(name)}</text>')
    for number, panel in enumerate(panels):
        parts += _panel(panel, seconds, x, TOP + number * (PANEL + GAP))
    for second in _ticks(last):
        parts.append(f'<text x="{x(second):.1f}" y="{bottom + 18}" text-anchor="middle">{second:,.0f} s</text>')
    return "\n".join([*parts, "</svg>", ""])


def _ticks(most):
    """Round numbers from 0 on, six at most, the last at or below `most`."""
    step = 1.0
    while most / step > 5:
        step *= 2.5 if f"{step:g}"[0] == "2" else 2
    return [step * number for number in range(int(most / step) + 1)]


def _panel(panel, seconds, x, top):
    most = 1.08 * max(max(values) for values in panel.lines.values()) or 1.0
    parts = [f'<text x="{LEFT}" y="{top + 16}" dx="6" font-weight="bold">{escape(panel.title)}</text>']

    def y(value):
        return top + PANEL * (1 - value / most)

    for value in _ticks(most):
        line = f'x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"'
        parts.append(f'<line {line} stroke="#cfd4da" stroke-width="0.7"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:,.0f}</text>')
    place = top + PANEL + 14.0
    for name, values in sorted(panel.lines.items(), key=lambda line: line[1][-1]):
        colour = COLOURS[list(panel.lines).index(name)]
        line = " ".join(f"{x(second):.1f},{y(value):.1f}" for second, value in zip(seconds, values, strict=True))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        place = min(y(values[-1]) + 4, place - 14)
        parts.append(f'<text x="{WIDTH - RIGHT + 8}" y="{place:.1f}" fill="{colour}">{escape(name)}</text>')
    return parts
