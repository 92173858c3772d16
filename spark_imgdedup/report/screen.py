"""What the tables of `eps` and of `report --details` on the screen have in common."""

from __future__ import annotations

from collections.abc import Sequence

from rich.bar import Bar
from rich.console import RenderableType
from rich.table import Table

from spark_imgdedup.report.spread import ScoreBin

# Characters of text; a terminal may have fewer.
WIDTH = 120


def plain_table(*numbers: str, padding: int = 2) -> Table:
    """A table without lines, with these columns of numbers."""
    table = Table(box=None, pad_edge=False, padding=(0, padding, 0, 0))
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def histogram(bins: Sequence[ScoreBin], *, is_terminal: bool, bar_width: int = 50) -> Table:
    """Bins from the first to the last that has rows; there is one."""
    filled = [place for place, part in enumerate(bins) if part["rows"]]
    shown = bins[filled[0] : filled[-1] + 1]
    n_rows, longest = sum(part["rows"] for part in shown), max(part["rows"] for part in shown)
    table = plain_table("from", "below", "rows", f"of {n_rows:,}")
    table.add_column("", max_width=bar_width if is_terminal else None)
    for part in shown:
        table.add_row(
            *("" if bound is None else decimal(bound) for bound in (part["from"], part["below"])),
            f"{part['rows']:,}",
            f"{part['rows'] / n_rows:.2%}",
            _bar(part["rows"], longest, None if is_terminal else bar_width),
        )
    return table


def _bar(n: int, longest: int, width: int | None) -> RenderableType:
    return Bar(longest, 0, n, color="cyan") if width is None else "#" * -(-n * width // longest)


def decimal(number: float) -> str:
    """At least 3 decimals and at most 6, so that points stand below each other."""
    text = f"{number:.6f}"
    return text[:-3] + text[-3:].rstrip("0")
