"""What only a Spark Connect session can show: run by `pytest -m connect`, skipped elsewhere."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.files import artifacts
from spark_imgdedup.runs import progress
from spark_imgdedup.runs.classic import is_classic, job_group, task_progress
from spark_imgdedup.runs.codegen import MANY_ROWS, compile_for
from spark_imgdedup.runs.tables import Tables
from spark_imgdedup.stages.cluster import MAX_CLOSURE_BYTES, assign_clusters
from spark_imgdedup.stages.local_rows import local_rows

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.connect, pytest.mark.slow, pytest.mark.usefixtures("connect_url")]


def test_the_extras_of_classic_sessions_do_nothing(spark):
    with job_group(spark, "group", "nothing"):
        spark.range(1).collect()

    assert not is_classic(spark)
    assert task_progress(spark, "group") is None


def test_its_plans_are_compiled_as_its_server_says(spark):
    before = spark.conf.get("spark.sql.codegen.wholeStage")

    compile_for(spark, MANY_ROWS)

    assert spark.conf.get("spark.sql.codegen.wholeStage") == before


def test_a_block_within_one_of_the_same_name_leaves_the_tag_to_that_one(spark):
    with job_group(spark, "spark-imgdedup report", "outer"):
        with job_group(spark, "spark-imgdedup report", "inner"):
            pass
        assert set(spark.getTags()) == {"spark-imgdedup-report"}

    assert spark.getTags() == set()


def test_a_step_shows_its_tasks_and_its_operations_have_its_tag(spark, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(progress, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.2)
    caplog.set_level(logging.INFO)

    def wait(batches):
        for batch in batches:
            time.sleep(3)
            yield batch

    tables = Tables(spark, parse_config({"work_dir": str(tmp_path)}))
    with progress.progress_of(tables, "embed", "wait"):
        tags = set(spark.getTags())  # which gives its own set away
        spark.range(2, numPartitions=2).mapInArrow(wait, "id long").collect()

    assert tags == {"spark-imgdedup-embed"}
    assert spark.getTags() == set()
    assert any(line.startswith("embed: ") and " tasks" in line for line in caplog.messages)


def test_centroids_over_the_limit_of_a_closure_reach_the_workers_as_a_file(spark, tmp_path):
    dim = 1024
    centroids = np.zeros((34_000, dim), np.float32)  # 139 MB, and Connect takes no message over 134 MB
    centroids[:, 0] = 1
    centroids[12_345, :2] = 0, 1
    rows = [("a", np.eye(dim)[1].tolist())]
    vectors = local_rows(spark, rows, "image_id string, embedding array<float>")
    config = parse_config({})
    assert centroids.nbytes > MAX_CLOSURE_BYTES

    with pytest.raises(ConfigError, match=r"too many for a closure. Pass artifacts\.save"):
        assign_clusters(vectors, centroids, config)
    stored = artifacts.save(str(tmp_path / "centroids"), centroids)

    found = assign_clusters(vectors, stored, config).select("image_id", "cluster_id", "cosine_dist_to_cent").collect()
    assert [tuple(row) for row in found] == [("a", 12_345, 0.0)]


@pytest.mark.parametrize("how", ["setting", "environment"])
def test_a_run_on_the_command_line_uses_the_server_it_is_told_of(connect_url, tmp_path, how):
    vectors = [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    pq.write_table(pa.table({"id": [1, 2, 3], "embedding": vectors}), tmp_path / "mine.parquet")
    (tmp_path / "clips.yaml").write_text("cluster: {embeddings_path: mine.parquet, n_clusters: 1}")
    options = ["--set", f"spark.remote={connect_url}"] if how == "setting" else []
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | ({} if options else {"SPARK_REMOTE": connect_url})
    environment.pop("SPARK_CONNECT_MODE_ENABLED", None)  # PySpark's own mark of this process

    done = subprocess.run(
        [sys.executable, "-m", "spark_imgdedup", "run", "--config", "clips.yaml", *options],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    # hard keeps the last by id of copies.
    found = pq.read_table(tmp_path / "work/duplicates").select(["id", "max_id"]).to_pylist()
    assert found == [{"id": 1, "max_id": 3}]
    assert "Failed to set" not in done.stderr
