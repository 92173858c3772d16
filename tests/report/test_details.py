"""The breakdowns as tables on the screen."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from spark_imgdedup.report.details import print_details
from spark_imgdedup.report.spread import spread


def printed(breakdowns, width=120):
    text = io.StringIO()
    print_details(breakdowns, Console(file=text, width=width))
    return [line.rstrip() for line in text.getvalue().splitlines()]


def sizes(before, after, n_bytes=1_500_000):
    known = n_bytes is not None
    return {
        "samples_before": before,
        "samples_after": after,
        "image_bytes_before": before * n_bytes if known else None,
        "image_bytes_after": after * n_bytes if known else None,
    }


def size_table(n, of, **row):
    rows = [{"value": f"v{number}", **sizes(10, 8, **row)} for number in range(n)]
    return {"shown": n, "of": of, "order": "samples removed", "rows": rows, "rest": None}


def breakdown(**parts):
    nothing = {"leaving": "removed", "total": sizes(200, 150), "by_reason": [], "by_format": None}
    return {"sizes": {**nothing, "by_resolution": None, "by_field": {}, **parts}, "computed_from": {}}


def test_a_table_says_how_many_of_how_many_values_it_shows_and_ends_with_the_total():
    lines = printed(breakdown(by_shard=size_table(30, 1234)))

    assert lines[1] == "By shard: 10 of 1,234 shown, by samples removed"
    assert lines[2].split("   ") == ["shard", "samples before", "after", "removed", "MB before", "MB after"]
    assert lines[3].split() == ["v0", "10", "8", "20.0%", "15.0", "12.0"]
    assert len(lines) == 1 + 1 + 1 + 10 + 1
    assert lines[-1].split() == ["all", "200", "150", "25.0%", "300.0", "225.0"]


def test_a_value_that_looks_like_markup_and_a_missing_one_are_printed_as_they_are():
    table = size_table(2, 2)
    table["rows"][0]["value"], table["rows"][1]["value"] = "[red]/x", None

    text = "\n".join(printed(breakdown(by_shard=size_table(1, 1), by_field={"source": table})))

    assert "By source: 2 of 2 shown" in text
    assert "[red]/x" in text
    assert "(none)" in text


def test_bytes_that_are_not_known_are_left_empty():
    lines = printed(breakdown(by_shard=size_table(1, 1, n_bytes=None)))

    assert lines[3].split() == ["v0", "10", "8", "20.0%"]


def test_reasons_say_whether_anything_was_removed_yet():
    reasons = [{"reason": "duplicate", "samples": 50, "image_bytes": 2_000_000}]
    shards = size_table(1, 1)

    assert "Removed" in printed(breakdown(by_shard=shards, by_reason=reasons))
    assert "Would be removed: duplicates" in printed(
        breakdown(by_shard=shards, by_reason=reasons, leaving="duplicates")
    )


@pytest.mark.parametrize("width", [80, 120])
def test_clusters_and_similarities_fit_the_screen(width):
    bins = [{"from": n / 100, "below": (n + 2) / 100, "rows": n * 1000} for n in range(98, -1, -2)]
    similarity = {"rows": sum(part["rows"] for part in bins) + 7, "first": 7, "bins": bins}
    parts = {"clusters": spread({n: n * 100 + 1 for n in range(12)}), "similarity": similarity, "computed_from": {}}

    lines = printed(parts, width)

    assert "Clusters: 12 of 6,612 rows" in lines
    assert "Largest clusters: 10 of 12 shown" in lines
    assert "cosine_sim_score of 2,450,000 rows; 7 more have no better-ranked one" in lines
    assert lines[-1].split()[:3] == ["0.020", "0.040", "2,000"]  # the last bin, of none, is left out
    assert not any("…" in line for line in lines)


def test_found_by_is_a_table_only_where_the_duplicates_say_it():
    assert printed({"found_by": {}, "computed_from": {}}) == []
    assert printed({"found_by": {"exact": 1200}, "computed_from": {}})[-1].split() == ["exact", "1,200"]
