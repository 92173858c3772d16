"""Whole runs through the command line, as a user starts them, compared with the same on local disk."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.cluster.results import TABLES, rows_of, tars_of
from tests.object_stores.stores import one_line, run_cli, write_settings

SKIPPED = "unchanged since the last run, skipped"
STEPS = ("embed", "detect", "cluster", "pairwise", "identify", "remove")


def put_table(s3, name, table):
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    s3.fs.pipe_file(name, buffer.getvalue())


def assert_same_result(found, dataset, local):
    """Equal rows in each table, where a damaged shard is named by its place, and the same bytes in arrays and tars."""
    for name in TABLES:
        rows = [row | named(row, dataset) for row in rows_of(found, name)]
        assert rows == [row | named(row, str(local / "shards")) for row in rows_of(local, name)], name
    assert (found / "work/centroids/array.npy").read_bytes() == (local / "work/centroids/array.npy").read_bytes()
    assert tars_of(found) == tars_of(local)


def named(row, root):
    """The columns that say what is wrong, with the shard's path below the root of the dataset."""
    return {name: repr(row[name]).replace(f"{root}/", "") for name in ("error", "damage") if row.get(name)}


def embeddings_of(local):
    """Those of the local run as a table that users bring, and its ids."""
    read = pq.read_table(local / "work/embeddings", columns=["image_id", "embedding", "rejected_because"])
    rows = [row for row in read.to_pylist() if row["rejected_because"] is None]
    vectors = [np.frombuffer(row["embedding"], "<f2").astype(np.float32) for row in rows]
    return pa.table({"id": [row["image_id"] for row in rows], "embedding": pa.array(vectors, pa.list_(pa.float32()))})


def test_shards_tables_and_output_on_s3_give_the_tables_and_tars_of_a_local_run(s3, bucket, dataset, local, tmp_path):
    settings = {
        "storage_options": s3.options,
        "input": {"path": dataset},
        "work_dir": f"s3a://{bucket}/work",
        "output": {"path": f"s3://{bucket}/tars"},
    }
    config = write_settings(tmp_path / "dedup.yaml", settings)

    done = run_cli("run", "--config", config)
    again = run_cli("run", "--config", config)

    assert done.returncode == 0, done.stderr[-3000:]
    assert "crawl/clipart-00001.tar: unexpected end of data" in done.stdout
    assert_same_result(s3.download(bucket, tmp_path / "found"), dataset, local)
    assert not [name for name in s3.names(bucket) if "_temporary" in name or "lease" in name]
    assert s3.unfinished(bucket) == []
    assert again.returncode == 0, again.stderr[-3000:]
    assert [line.split()[1] for line in again.stderr.splitlines() if SKIPPED in line] == [f"{step}:" for step in STEPS]
    assert "org.apache.hadoop" not in again.stderr  # nothing to do needs no Spark


def test_the_environments_credentials_are_enough_for_both_sides(s3, bucket, dataset, local, tmp_path):
    settings = {
        "input": {"path": dataset},
        "work_dir": f"s3://{bucket}/work",
        "output": {"path": f"s3://{bucket}/tars"},
        "steps": [*STEPS],
    }

    done = run_cli("run", "--config", write_settings(tmp_path / "dedup.yaml", settings), **s3.environment)

    assert done.returncode == 0, done.stderr[-3000:]
    assert_same_result(s3.download(bucket, tmp_path / "found"), dataset, local)


@pytest.mark.thorough
def test_tars_alone_on_s3_need_no_hadoop_aws_and_each_place_may_have_its_own_options(
    s3, bucket, dataset, local, tmp_path
):
    settings = {
        "storage_options": {"key": "not", "secret": "used"},
        "input": {"path": dataset, "storage_options": s3.options},
        "work_dir": str(tmp_path / "work"),
        "output": {"path": f"s3://{bucket}/tars", "storage_options": s3.options},
    }

    done = run_cli("run", "--config", write_settings(tmp_path / "dedup.yaml", settings))

    assert done.returncode == 0, done.stderr[-3000:]
    assert "hadoop-aws" not in done.stderr
    s3.download(bucket, tmp_path)
    assert_same_result(tmp_path, dataset, local)


@pytest.mark.thorough
def test_own_embeddings_and_a_list_of_ids_are_read_from_s3_and_a_parquet_dataset_written_there(
    s3, bucket, dataset, local, tmp_path
):
    embeddings = embeddings_of(local)
    ids = embeddings["id"].to_pylist()[:7]
    put_table(s3, f"{bucket}/brought/embeddings/part-0.parquet", embeddings)
    put_table(s3, f"{bucket}/brought/ids.parquet", pa.table({"uid": ids}))
    settings = {
        "storage_options": s3.options,
        "input": {"path": dataset},
        "work_dir": f"s3://{bucket}/work",
        "cluster": {"embeddings_path": f"s3://{bucket}/brought/embeddings"},
        "remove": {"ids_path": f"s3://{bucket}/brought/ids.parquet", "id_field": "uid"},
        "output": {"path": f"s3://{bucket}/rows", "format": "parquet"},
    }

    done = run_cli("run", "--config", write_settings(tmp_path / "dedup.yaml", settings))

    assert done.returncode == 0, done.stderr[-3000:]
    found = s3.download(bucket, tmp_path / "found")
    assert len(rows_of(found, "similarities")) == len(embeddings)
    assert sorted(row["image_id"] for row in rows_of(found, "removed")) == sorted(ids)
    kept = pq.read_table(sorted((found / "rows").glob("*.parquet"))).to_pylist()
    samples = [row for row in rows_of(local, "embeddings") if row["key"] is not None]
    assert len(kept) == len(samples) - len(ids) - 1  # one is cut off in the damaged shard
    assert not {row["image_id"] for row in kept} & set(ids)


@pytest.mark.thorough
def test_delta_tables_on_s3_hold_what_parquet_tables_hold_on_local_disk(s3, bucket, dataset, local, tmp_path):
    pytest.importorskip("delta")
    from deltalake import DeltaTable

    settings = {
        "storage_options": s3.options,
        "input": {"path": dataset},
        "table": {"format": "delta"},
        "work_dir": f"s3://{bucket}/work",
        "output": {"path": f"s3://{bucket}/tars"},
    }
    config = write_settings(tmp_path / "dedup.yaml", settings)

    done = run_cli("run", "--config", config)
    forced = run_cli("identify", "--config", config, "--force")  # writes over a table that is there

    assert done.returncode == 0, done.stderr[-3000:]
    assert forced.returncode == 0, forced.stderr[-3000:]
    found = s3.download(bucket, tmp_path / "found")
    assert tars_of(found) == tars_of(local)
    for name in ("similarities", "duplicates"):
        table = DeltaTable(str(found / "work" / name))
        rows = sorted(table.to_pyarrow_table().to_pylist(), key=repr)
        assert rows == rows_of(local, name)
    assert table.version() == 1


def test_a_jvm_without_hadoop_aws_is_one_line_with_the_remedy(s3, bucket, dataset, tmp_path):
    settings = {
        "storage_options": s3.options,
        "input": {"path": dataset},
        "work_dir": f"s3://{bucket}/work",
        "spark": {"spark.jars.packages": ""},  # what the user says wins
    }

    line = one_line(run_cli("embed", "--config", write_settings(tmp_path / "dedup.yaml", settings)))

    assert line.startswith("ConfigError: Spark's JVM has no hadoop-aws, so it cannot open s3://.")
    assert "org.apache.hadoop:hadoop-aws:3." in line


def test_doctor_tries_both_sides(s3, bucket, dataset, tmp_path):
    settings = {
        "storage_options": s3.options,
        "input": {"path": dataset},
        "work_dir": f"s3://{bucket}/work",
        "output": {"path": f"s3://{bucket}/tars"},
    }
    config = write_settings(tmp_path / "dedup.yaml", settings)

    found = run_cli("doctor", "--config", config, "--set", "cluster.n_clusters=1")
    missing = run_cli("doctor", "--config", config, "--set", "work_dir=s3://no-such-bucket/work")

    assert found.returncode == 0, found.stdout + found.stderr[-3000:]
    assert "the JVM is let in" in " ".join(found.stdout.split())
    assert s3.names(bucket) == []
    assert missing.returncode == 1
    assert "needed and missing: work_dir, hadoop-aws" in " ".join(missing.stdout.split())
    assert s3.secret not in found.stdout + found.stderr + missing.stdout + missing.stderr
