"""The flow on Delta tables. Needs the Delta jar, and so a session (and a process) of its own: `make test-slow`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from deltalake import DeltaTable

SHARDS = Path(__file__).parents[2] / "examples" / "shards"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("delta")
    settings = {
        "input": {"path": str(SHARDS)},
        "work_dir": str(folder / "work"),
        "table": {"format": "delta"},
        "output": {"path": str(folder / "out"), "format": "delta"},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(settings))
    run(folder)
    return folder


def run(folder, *arguments):
    command = [sys.executable, "-m", "spark_imgdedup", "run", "--config", str(folder / "run.yaml"), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result


def report(folder):
    return json.loads((folder / "work" / "report" / "report.json").read_text())["summary"]


def test_every_table_is_a_delta_table(folder):
    names = ["embeddings", "clusters", "similarities", "duplicates", "removed"]

    versions = {name: DeltaTable(str(folder / "work" / name)).version() for name in names}

    assert versions == dict.fromkeys(names, 0)


def test_the_output_has_the_samples_that_stay_with_all_their_members(folder):
    rows = DeltaTable(str(folder / "out")).to_pyarrow_table().to_pylist()

    assert len(rows) == report(folder)["kept"]
    assert {"txt", "json"} <= dict(rows[0]["members"]).keys()


@pytest.mark.thorough
def test_another_eps_writes_a_new_version_and_a_second_run_writes_none(folder):
    run(folder, "--set", "identify.eps=0.1")
    second = run(folder, "--set", "identify.eps=0.1")

    assert DeltaTable(str(folder / "work" / "embeddings")).version() == 0
    assert DeltaTable(str(folder / "work" / "duplicates")).version() == 1
    assert DeltaTable(str(folder / "out")).version() == 1
    assert second.stderr.count("skipped") == 5


@pytest.mark.thorough
def test_a_delta_table_and_a_parquet_file_of_ids_are_removed_together(folder):
    duplicates = DeltaTable(str(folder / "work" / "duplicates")).to_pyarrow_table()["image_id"].to_pylist()
    other = next(row["image_id"] for row in DeltaTable(str(folder / "out")).to_pyarrow_table().to_pylist())
    pq.write_table(pa.table({"image_id": [other]}), folder / "other.parquet")
    lists = f"remove.ids_path=[{folder / 'work' / 'duplicates'}, {folder / 'other.parquet'}]"

    run(folder, "--set", "steps=[remove]", "--set", lists, "--set", f"output.path={folder / 'less'}")

    left = set(DeltaTable(str(folder / "less")).to_pyarrow_table()["image_id"].to_pylist())
    whole = set(DeltaTable(str(folder / "out")).to_pyarrow_table()["image_id"].to_pylist())
    assert whole - left == {other}
    assert not left & {*duplicates, other}
