"""The search of whole runs: what `pairwise` leaves behind, and for which eps it need not run again."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import SchemaError
from spark_imgdedup.kernels.vectors import l2_normalize
from spark_imgdedup.pipeline import run

N, DIM = 240, 8
# Rows in every direction: many borders, and copies of the first ones a little aside.
ROWS = l2_normalize(np.random.default_rng(0).standard_normal((N, DIM)))
NEAR = l2_normalize(ROWS[:40] + 0.02 * np.random.default_rng(1).standard_normal((40, DIM)))


@pytest.fixture
def make(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    vectors = np.concatenate([ROWS, NEAR])
    table = {"id": np.arange(len(vectors)), "embedding": pa.array(vectors.tolist(), pa.list_(pa.float32()))}
    pq.write_table(pa.table(table), "mine.parquet")

    def settings(eps=0.05, **pairwise):
        cluster = {"embeddings_path": "mine.parquet", "n_clusters": 6}
        identify = {"eps": eps, "rule": pairwise.pop("rule", "greedy")}
        steps = ["cluster", "pairwise", "identify"]
        return parse_config({"cluster": cluster, "identify": identify, "pairwise": pairwise, "steps": steps})

    return settings


def record(step):
    with open(f"work/_steps/{step}.json", encoding="utf-8") as file:
        return json.load(file)


def test_a_run_says_where_it_searched_and_what_it_found(spark, make, tmp_path):
    summary = run(make(probes="margin"), spark)

    counts = record("pairwise")["counts"]
    assert (counts["probes"], counts["eps"], counts["recall"]["value"]) == ("margin 1", 0.05, 1.0)
    assert counts["comparisons"] < len(ROWS) * len(ROWS) // 2
    assert summary.duplicates >= len(NEAR)
    lines = list(summary.lines())
    assert any(line.startswith("compared     ") and "margin 1" in line for line in lines)
    assert any(line.startswith("found        100.00% of the pairs within eps 0.05") for line in lines)
    with open("work/report/report.json", encoding="utf-8") as file:
        assert json.load(file)["summary"]["recall"] == counts["recall"]
    assert {path.name for path in (tmp_path / "work").iterdir()} >= {"blocks", "clusters", "similarities"}
    assert not (tmp_path / "work/probes").exists()
    assert "embedding" not in pq.read_schema(next((tmp_path / "work/clusters").glob("*.parquet"))).names


def test_a_larger_eps_searches_again_and_a_smaller_one_does_not(spark, make):
    run(make(eps=0.05, probes="margin"), spark)
    first = record("pairwise")
    run(make(eps=0.02, probes="margin"), spark)
    smaller = record("pairwise")
    run(make(eps=0.1, probes="margin"), spark)
    larger = record("pairwise")

    assert smaller == first
    assert (first["counts"]["eps"], larger["counts"]["eps"]) == (0.05, 0.1)
    with pytest.raises(SchemaError, match=r"identify: the tables of pairwise, which it builds on.*imgdedup pairwise"):
        run(make(eps=0.3, probes="margin"), spark, steps=["identify"])


def test_a_search_for_the_largest_eps_serves_all_below_it(spark, make):
    run(make(eps=0.05, max_eps=0.3), spark)
    first = record("pairwise")
    run(make(eps=0.25, max_eps=0.3), spark)

    assert record("pairwise") == first
    assert first["counts"]["eps"] == 0.3


def test_the_scores_of_all_pairs_serve_any_eps_and_what_hangs_together_the_eps_it_was_found_for(spark, make):
    run(make(eps=0.05, probes="all", rule="semdedup"), spark)
    first = record("pairwise")
    run(make(eps=0.5, probes="all", rule="semdedup"), spark)
    assert record("pairwise") == first

    run(make(eps=0.5, probes="all", rule="greedy"), spark)
    assert record("pairwise") != first
    assert first["counts"]["for_any_eps"]
