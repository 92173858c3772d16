"""`explain` on the tables of a run: which image is meant, what is said after each step, and the page."""

from __future__ import annotations

import json
import shlex

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from spark_imgdedup import cli
from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import ConfigError, SchemaError
from spark_imgdedup.pipeline import run
from spark_imgdedup.report.explain.ask import explain
from spark_imgdedup.runs.tables import Tables
from tests.flow.tiny import STEPS
from tests.tars import jpeg, make_tar, png

# a/7.png has the pixels of none, but the colours of a/1.jpg.
MEMBERS = {
    "a": [("0.jpg", jpeg(1)), ("1.jpg", jpeg(2)), ("7.png", png(2, size=(12, 8)))],
    "b": [("0.jpg", jpeg(1)), ("1.jpg", jpeg(3)), ("<b>2.jpg", b"no picture")],
}


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for shard, members in MEMBERS.items():
        make_tar(tmp_path / "data" / f"{shard}.tar", members)
    sections = {
        "input": {"path": "data"},
        "output": {"path": "out"},
        "work_dir": "work",
        "embed": {"model": "tests.encoders:ColourEncoder"},
        "identify": {"eps": 0.01},
        "remove": {"unreadable": "drop"},
        "steps": STEPS,
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(sections))
    return parse_config(sections)


def call(*arguments):
    result = CliRunner().invoke(cli.app, ["explain", *arguments, "--config", "run.yaml"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_after_each_step_it_says_what_is_known_and_names_what_is_not(spark, config, tmp_path):
    tables = Tables(spark, config)
    with pytest.raises(SchemaError, match="no step has looked at the images yet"):
        explain(tables, ["a/0"])
    run(config, spark, steps=["embed"])

    found = explain(tables, ["a/1", "a/7"])

    assert found.outcome == "not decided"
    assert "By these numbers they count as one image." in found.verdict
    assert [line.split(" has not run")[0] for line in found.not_known] == [
        *("detect", "cluster", "pairwise", "identify", "remove")
    ]
    run(config, spark)

    said = json.loads(call("a/1", "7.png", "--json", "--html", "why.html"))

    assert (said["schema_version"], said["image_ids"], said["outcome"]) == (1, ["a/1", "a/7"], "pair")
    assert said["verdict"].startswith("They are a pair: a/7 goes for a/1: ")
    checks = {check["name"]: check for check in said["checks"]}
    assert checks["cosine of the embeddings"]["value"] >= 0.99
    assert checks["cosine of the embeddings"]["counts"] is True
    assert checks["bytes (sha256)"]["counts"] is False
    assert checks["ranks first, and so would stay"]["found"] == "a/1: pixels 384, the other 96"
    assert checks["clusters"]["found"] == "both in 0"
    page = (tmp_path / "why.html").read_text(encoding="utf-8")
    assert page.count('<img src="data:image/webp;base64,') == 2
    assert said["not_known"] == []

    gone = explain(tables, ["b/0"])
    assert (gone.outcome, gone.partner) == ("removed", "a/0")
    assert (
        gone.verdict == "It was removed: goes for a/0: exact copy, found by same bytes or same pixels, by rule greedy."
    )
    assert gone.undo == "spark-imgdedup restore --config work/config.yaml --ids=b/0"
    unreadable = explain(tables, ["<b>2.jpg"])
    assert (unreadable.outcome, unreadable.image_ids) == ("removed", ("b/<b>2",))
    assert "refused: unreadable" in unreadable.verdict
    kept = explain(tables, ["a/1"])
    assert (kept.outcome, "1 of them go for it" in kept.verdict) == ("kept", True)
    text = call("a/1", "b/1")
    assert "They are no pair: none of the checks speaks for it." in text
    with pytest.raises(ConfigError, match=r"'1': 2 images end in that: a/1, b/1\. Give more of the id"):
        explain(tables, ["1"])
    with pytest.raises(ConfigError, match=r"no image of this run has that id\. The most similar ids are a/7, "):
        explain(tables, ["a/77"])
    with pytest.raises(ConfigError, match="are both the image a/1"):
        explain(tables, ["a/1", "a/1.jpg"])

    CliRunner().invoke(cli.app, shlex.split(gone.undo)[1:], catch_exceptions=False)
    assert explain(tables, ["b/0"]).verdict.startswith("It stays since it was brought back. Otherwise: goes for a/0")


@pytest.mark.parametrize("probes", ["home", "margin"])
def test_vectors_of_ones_own_are_explained_by_their_ids(spark, tmp_path, monkeypatch, probes):
    monkeypatch.chdir(tmp_path)
    angles = np.radians([0, 2, 44, 46, 90, 88])  # two clusters, and a pair across their border
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).tolist()
    (tmp_path / "mine").mkdir()
    table = {
        "id": pa.array([*range(6), 77], pa.int64()),
        "embedding": pa.array([*vectors, None], pa.list_(pa.float64())),
    }
    pq.write_table(pa.table(table), tmp_path / "mine/0.parquet")
    sections = {
        "cluster": {"embeddings_path": "mine", "n_clusters": 2},
        "pairwise": {"probes": probes},
        "identify": {"eps": 0.001},
        "work_dir": "work",
        "steps": ["cluster", "pairwise", "identify"],
    }
    config = parse_config(sections)
    run(config, spark)
    tables = Tables(spark, config)

    across = explain(tables, ["2", "3"])

    checks = {check.name.partition(" (")[0]: check for check in across.checks}
    assert checks["cosine of the embeddings"].value == pytest.approx(np.cos(np.radians(2)), abs=1e-6)
    apart = checks["clusters"].found.count(" and ") == 1
    assert checks["compared by the search"].value is (probes == "margin" or not apart)
    assert across.outcome == "pair"
    assert ("They are a pair: " in across.verdict) is (probes == "margin" or not apart)
    assert ("the search did not compare them" in across.verdict) is (probes == "home" and apart)
    assert explain(tables, ["0", "1"]).outcome == "pair"
    assert explain(tables, ["0", "5"]).outcome == "no pair"
    assert "no_embedding" in explain(tables, ["77"]).verdict
