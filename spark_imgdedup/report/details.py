"""The breakdowns of report.json as tables on the screen."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from spark_imgdedup.errors import printable
from spark_imgdedup.report.breakdowns import Breakdowns
from spark_imgdedup.report.screen import WIDTH, histogram, plain_table
from spark_imgdedup.report.sizes import SizeBreakdown, Sizes, SizeTable
from spark_imgdedup.report.spread import ClusterBreakdown, SimilarityBreakdown

MOST_ROWS = 10


def print_details(breakdowns: Breakdowns, console: Console) -> None:
    """All breakdowns as tables of at most ten values each; report.json has more."""
    width = min(console.width, WIDTH) if console.is_terminal else WIDTH
    for part in _parts(breakdowns):
        console.print(part, width=width, highlight=False)


def _parts(breakdowns: Breakdowns) -> Iterator[RenderableType]:
    if "sizes" in breakdowns:
        yield from _size_parts(breakdowns["sizes"])
    found_by = breakdowns.get("found_by", {})
    if found_by:
        yield from ("", Text("Duplicates by what found them"))
        yield _table("found by", {"duplicates": [f"{n:,}" for n in found_by.values()]}, list(found_by))
    if "clusters" in breakdowns:
        yield from _cluster_parts(breakdowns["clusters"])
    if "similarity" in breakdowns:
        yield from _similarity_parts(breakdowns["similarity"])


def _size_parts(sizes: SizeBreakdown) -> Iterator[RenderableType]:
    reasons = sizes["by_reason"]
    if reasons:
        yield from ("", Text("Removed" if sizes["leaving"] == "removed" else "Would be removed: duplicates"))
        numbers = {
            "samples": [f"{row['samples']:,}" for row in reasons],
            "MB of images": [_megabytes(row["image_bytes"]) for row in reasons],
        }
        yield _table("reason", numbers, [row["reason"] for row in reasons])
    tables: dict[str, SizeTable | None] = {
        "shard": sizes["by_shard"],
        "source": sizes.get("by_source"),
        "image_format": sizes["by_format"],
        "shorter side": sizes["by_resolution"],
        **sizes["by_field"],
    }
    for name, table in tables.items():
        if table is not None:
            yield from ("", _shown(name, table), _size_table(name, table, sizes["total"]))


def _shown(name: str, table: SizeTable) -> Text:
    n_shown = min(MOST_ROWS, table["shown"])
    return Text(f"By {name}: {n_shown:,} of {table['of']:,} shown, by {table['order']}")


def _size_table(name: str, table: SizeTable, total: Sizes) -> Table:
    rows: list[tuple[str, Sizes]] = [
        ("(none)" if row["value"] is None else row["value"], row) for row in table["rows"][:MOST_ROWS]
    ]
    rows.append(("all", total))
    numbers = {
        "samples before": [f"{row['samples_before']:,}" for _, row in rows],
        "after": [f"{row['samples_after']:,}" for _, row in rows],
        "removed": [_share(row["samples_before"] - row["samples_after"], row["samples_before"]) for _, row in rows],
        "MB before": [_megabytes(row["image_bytes_before"]) for _, row in rows],
        "MB after": [_megabytes(row["image_bytes_after"]) for _, row in rows],
    }
    return _table(name, numbers, [value for value, _ in rows])


def _cluster_parts(clusters: ClusterBreakdown) -> Iterator[RenderableType]:
    sizes = clusters["sizes"]
    yield from ("", Text(f"Clusters: {clusters['clusters']:,} of {clusters['rows']:,} rows"))
    numbers = {
        "clusters": [f"{row['clusters']:,}" for row in sizes],
        "rows": [f"{row['rows']:,}" for row in sizes],
        "of all rows": [_share(row["rows"], clusters["rows"]) for row in sizes],
    }
    yield _table("rows in a cluster", numbers, [f"{row['at_least']:,} to {row['at_most']:,}" for row in sizes])
    largest = clusters["largest"]
    shown = largest["rows"][:MOST_ROWS]
    yield from ("", Text(f"Largest clusters: {len(shown):,} of {largest['of']:,} shown"))
    numbers = {
        "rows": [f"{row['rows']:,}" for row in shown],
        "of all rows": [_share(row["rows"], clusters["rows"]) for row in shown],
    }
    yield _table("cluster_id", numbers, [f"{row['cluster_id']}" for row in shown])


def _similarity_parts(similarity: SimilarityBreakdown) -> Iterator[RenderableType]:
    n_rows = similarity["rows"] - similarity["first"]
    yield ""
    yield Text(f"cosine_sim_score of {n_rows:,} rows; {similarity['first']:,} more have no better-ranked one")
    if n_rows:
        yield histogram(similarity["bins"], is_terminal=False, bar_width=40)


def _table(name: str, numbers: dict[str, list[str]], values: list[str]) -> Table:
    """One row for each value: its numbers."""
    table = plain_table(padding=3)
    table.add_column(name, overflow="fold")
    for title in numbers:
        table.add_column(title, justify="right", no_wrap=True)
    for value, *row in zip(values, *numbers.values(), strict=True):
        table.add_row(Text(printable(value)), *row)  # as text: a value may look like Rich's markup
    return table


def _share(n: int, n_all: int) -> str:
    return f"{n / n_all:.1%}" if n_all else ""


def _megabytes(n_bytes: int | None) -> str:
    return "" if n_bytes is None else f"{n_bytes / 1e6:,.1f}"
