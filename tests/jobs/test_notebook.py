"""The notebook: Databricks' source format, and plain Python that deduplicates the sample shards."""

from __future__ import annotations

import io
import re
import runpy
import sys
import uuid
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from spark_imgdedup.errors import ConfigError
from spark_imgdedup.report.truth import score_run

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "jobs/notebooks/dedup_images.py"
CELLS = NOTEBOOK.read_text().removeprefix("# Databricks notebook source\n").split("\n# COMMAND ----------\n")


def test_it_is_in_databricks_source_format():
    assert NOTEBOOK.read_text().startswith("# Databricks notebook source\n")
    for cell in CELLS:
        lines = [line for line in cell.splitlines() if line]
        magic = [line for line in lines if line.startswith("# MAGIC")]
        assert magic in ([], lines), "a cell is Markdown or Python"
        assert not magic or magic[0] == "# MAGIC %md"
    assert sum("# MAGIC %md" in cell for cell in CELLS) == 6


def test_every_parameter_is_explained():
    (table,) = [cell for cell in CELLS if "| widget | meaning |" in cell]
    explained = {name for row in re.findall(r"^# MAGIC \| (`.*?) \|", table, re.MULTILINE) for name in row.split(", ")}

    assert explained == {f"`{name}`" for name in re.findall(r'parameter\("(\w+)"', NOTEBOOK.read_text())}


def test_it_needs_nothing_of_the_package_but_what_it_exports():
    imports = re.findall(r"^(?:from|import) (spark_imgdedup[\w.]*)", NOTEBOOK.read_text(), re.MULTILINE)

    assert imports == ["spark_imgdedup"]


class Widgets:
    """Databricks' widgets: a name gets a default, and keeps a value that was set."""

    def __init__(self, **values):
        self.values = values

    def text(self, name, default):
        self.values.setdefault(name, default)

    def get(self, name):
        return self.values[name]


def test_on_databricks_it_takes_its_parameters_from_widgets(spark, tmp_path):
    widgets = Widgets(folder=str(tmp_path), input_path="nowhere")
    dbutils = type("dbutils", (), {"widgets": widgets})

    with redirect_stdout(io.StringIO()) as printed, pytest.raises(ConfigError, match="there is nothing at nowhere"):
        runpy.run_path(str(NOTEBOOK), init_globals={"dbutils": dbutils, "spark": spark})

    assert "needed and missing: input.path" in printed.getvalue()
    assert widgets.values["model"] == "efficientnet-lite0"


@pytest.fixture(scope="module")
def notebook(_session, tmp_path_factory):
    """(folder, schema, what it printed): the notebook as plain Python, on the sample shards, with tables by name."""
    folder, schema = tmp_path_factory.mktemp("notebook"), f"notebook_{uuid.uuid4().hex[:8]}"
    _session.sql(f"CREATE SCHEMA {schema}")
    arguments = [f"folder={folder}", "catalog=spark_catalog", f"schema={schema}"]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
        patch.setattr(sys, "argv", [str(NOTEBOOK), *arguments])
        runpy.run_path(str(NOTEBOOK), run_name="__main__")
    yield folder, schema, printed.getvalue()
    _session.sql(f"DROP SCHEMA {schema} CASCADE")


@pytest.mark.slow
def test_it_removes_the_planted_copies_of_the_sample_shards(notebook, spark):
    folder, schema, said = notebook
    links = {row["image_id"]: row["max_id"] for row in spark.read.table(f"{schema}.duplicates").collect()}
    removed = {row["image_id"]: links.get(row["image_id"]) for row in spark.read.table(f"{schema}.removed").collect()}
    score = score_run(ROOT / "examples/shards/truth.csv", removed, set()).lines()

    assert "planted copies found: 75 of 75 (100.0 %)" in score
    assert "false removals: 0" in score
    assert "removed      duplicate 75; 1 cut off in damaged shards" in said
    assert {tar.relative_to(folder / "deduplicated") for tar in (folder / "deduplicated").rglob("*.tar")} == {
        tar.relative_to(ROOT / "examples/shards") for tar in (ROOT / "examples/shards").rglob("*.tar")
    }


@pytest.mark.slow
def test_it_shows_what_it_found_on_the_way(notebook):
    folder, _, said = notebook

    assert "everything needed is there" in said  # the doctor's last line
    assert "|unreadable" in said
    assert "rows_removed" in said
    assert (folder / "review/index.html").is_file()
    assert not (folder / "work/embeddings").exists(), "the tables have names"
