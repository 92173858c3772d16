"""Tables and records of a work_dir, in a real Spark."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spark_imgdedup.config import parse_config
from spark_imgdedup.config.steps import RECORDED, STEP
from spark_imgdedup.counts import ClusterCounts, IdentifyCounts
from spark_imgdedup.errors import SchemaError, ShardError
from spark_imgdedup.files import artifacts
from spark_imgdedup.runs.tables import WRITTEN_BY, StepRecord, Tables, require_unique_ids
from spark_imgdedup.stages.local_rows import local_rows

RECORD = StepRecord("identify", "f00d", 1.5, IdentifyCounts(0.1, 2), {"pairwise": "beef"}, "0.1.0")


@pytest.fixture
def tables(spark, tmp_path):
    return Tables(spark, parse_config({"work_dir": str(tmp_path / "work")}))


def rows(df):
    return sorted(tuple(row) for row in df.collect())


def test_a_table_is_there_once_its_step_is_finished(spark, tables):
    written = tables.write("duplicates", local_rows(spark, [("a", "b")], "image_id string, max_id string"))

    assert rows(written) == [("a", "b")]
    assert not tables.has("duplicates")
    with pytest.raises(SchemaError, match="Run step 'identify' first: spark-imgdedup identify"):
        tables.read("duplicates")
    tables.finish(RECORD)
    assert tables.has("duplicates")
    assert rows(tables.read("duplicates")) == [("a", "b")]


def test_no_process_needs_a_job_to_find_the_columns_of_a_finished_table(spark, tables):
    tables.write("duplicates", local_rows(spark, [("a", "b")], "image_id string, max_id string"))
    tables.finish(RECORD)
    context, other = spark.sparkContext, Tables(spark, tables.config)
    folder = tables.path("duplicates")

    n_jobs = {}
    for name, read in {
        "by the writer": lambda: tables.read("duplicates"),
        "by another": lambda: other.read("duplicates"),
        "by Spark alone": lambda: spark.read.parquet(folder),
    }.items():
        context.setJobGroup(name, name)
        found = read()
        assert rows(found) == [("a", "b")]
        assert found.schema.simpleString() == "struct<image_id:string,max_id:string>"
        n_jobs[name] = len(context.statusTracker().getJobIdsForGroup(name))
    context.setLocalProperty("spark.jobGroup.id", None)

    assert n_jobs["by the writer"] == n_jobs["by another"] == n_jobs["by Spark alone"] - 1


@pytest.mark.parametrize("few", [0, 64])
def test_rows_are_counted_with_and_without_spark(spark, tables, monkeypatch, few):
    monkeypatch.setattr("spark_imgdedup.runs.tables.FEW_FILES", few)
    tables.write("copies", spark.range(0, 700, 1, 5))
    tables.write("duplicates", spark.range(0))
    spark.sparkContext.setJobGroup(f"count {few}", "")

    assert [tables.count("copies"), tables.count("duplicates")] == [700, 0]
    tables.finish(RECORD)
    assert [tables.count("duplicates"), Tables(spark, tables.config).count("duplicates")] == [0, 0]

    n_jobs = len(spark.sparkContext.statusTracker().getJobIdsForGroup(f"count {few}"))
    spark.sparkContext.setLocalProperty("spark.jobGroup.id", None)
    assert (n_jobs > 0) == (few == 0)


def test_a_table_that_is_not_there_or_cut_off_is_not_counted(spark, tables):
    with pytest.raises(SchemaError, match="Run step 'identify' first"):
        tables.count("duplicates")
    tables.write("duplicates", spark.range(3).coalesce(1))
    tables.finish(RECORD)
    (file,) = Path(tables.path("duplicates")).glob("*.parquet")
    file.write_bytes(file.read_bytes()[:-10])

    with pytest.raises(SchemaError, match=r"part-.*\.parquet is empty or cut off"):
        Tables(spark, tables.config).count("duplicates")


def test_a_table_that_another_has_written_anew_is_read_as_it_is_now(spark, tables):
    tables.write("duplicates", spark.range(2))
    tables.finish(RECORD)
    assert tables.read("duplicates").columns == ["id"]

    other = Tables(spark, tables.config)
    other.write("duplicates", local_rows(spark, [("a", "b")], "image_id string, max_id string"))
    other.finish(replace(RECORD, seconds=2.5))

    assert rows(tables.read("duplicates")) == [("a", "b")]


def test_touching_a_table_takes_its_steps_record_away(spark, tables):
    tables.finish(RECORD)
    tables.finish(StepRecord("cluster", "1", 0.0, ClusterCounts(0, 0, 0)))

    tables.write("duplicates", spark.range(1))
    tables.write_array("centroids", np.zeros((1, 2), np.float32), {})

    assert tables.record("identify") is None
    assert tables.record("cluster") is None


def test_a_write_that_fails_leaves_a_table_without_a_record(spark, tables):
    tables.write("duplicates", spark.range(2))
    tables.finish(RECORD)

    def fail(batches):
        raise ArithmeticError("in the worker")
        yield from batches

    with pytest.raises(Exception, match="in the worker"):
        tables.write("duplicates", spark.range(2).mapInArrow(fail, "id long"))

    assert not tables.has("duplicates")


def test_a_failure_before_the_first_write_leaves_the_earlier_table_valid(spark, tables):
    tables.write("duplicates", spark.range(2))
    tables.finish(RECORD)

    with pytest.raises(SchemaError, match="Run step 'pairwise' first"):
        tables.write("duplicates", tables.read("similarities"))

    assert tables.read("duplicates").count() == 2


def test_a_table_that_was_deleted_is_not_there_though_its_record_is(tables):
    tables.finish(RECORD)

    assert not tables.has("duplicates")


def test_a_record_comes_back_as_it_was(tables):
    tables.finish(RECORD)

    assert tables.record("identify") == RECORD
    assert tables.record("embed") is None


OLDER = {"step": "identify", "fingerprint": "f00d", "seconds": 1.5, "counts": {"duplicates": 2, "eps": 0.1}}


@pytest.mark.parametrize("text", ["{", '{"step": "identify"}', '{"another": "version"}', "[]", json.dumps(OLDER)])
def test_a_record_of_another_version_counts_as_none(tables, tmp_path, text):
    tables.finish(RECORD)
    (tmp_path / "work/_steps/identify.json").write_text(text)

    assert tables.record("identify") is None


def test_a_table_is_written_over_with_other_columns(spark, tables):
    tables.write("removed", spark.range(3))

    assert rows(tables.write("removed", local_rows(spark, [("x",)], "reason string"))) == [("x",)]


def test_an_array_is_stored_for_the_workers(tables):
    centroids = np.eye(3, dtype=np.float32)

    stored = tables.write_array("centroids", centroids, {"random_state": 42})

    assert np.array_equal(artifacts.load(stored), centroids)
    assert artifacts.find(tables.path("centroids")).sha256 == stored.sha256


def test_every_table_has_one_step_that_writes_it():
    assert {WRITTEN_BY[table] for table in ("index", "kept")} == {"remove"}
    cascade = parse_config({"detect": {"prepass": ["exact", "phash"]}})
    assert all(WRITTEN_BY[table] == step.name for step in RECORDED for table in step.written(cascade))


def test_detect_leaves_the_tables_of_the_hashes_that_are_asked_for():
    def tables(**detect):
        return STEP["detect"].written(parse_config({"detect": detect}))

    assert tables(prepass=["phash", "exact"]) == ("copies", "near_hashes")
    assert (tables(method="exact"), tables(method="phash")) == (("copies",), ("near_hashes",))


def test_tables_without_a_session_take_the_active_one_when_they_are_touched(spark, tmp_path):
    assert Tables(None, parse_config({"work_dir": str(tmp_path)})).spark is spark


def test_unique_ids_pass(spark):
    require_unique_ids(local_rows(spark, [("a",), ("b",)], "image_id string"), "image_id")
    require_unique_ids(local_rows(spark, [], "image_id string"), "image_id")


def test_an_id_that_occurs_twice_stops_the_run_with_both_places(spark):
    samples = [("x/1", "x", "1"), ("x/1", "y", "7"), ("x/2", "x", "2"), ("z", "p", "q"), ("z", "p", "r")]
    df = local_rows(spark, samples, "image_id string, shard string, key string")

    with pytest.raises(ShardError, match=r"at least 2 .*'x/1' from x : 1, y : 7; 'z' from p : q, p : r\."):
        require_unique_ids(df, "image_id")


def test_of_an_id_that_a_wrong_column_repeats_the_first_four_places_are_named(spark):
    rows = spark.range(10_000).selectExpr("'cat' as label", "'a' as shard", "lpad(id, 5, '0') as key")

    with pytest.raises(ShardError, match=r"'cat' from a : 00000, a : 00001, a : 00002, a : 00003\. Rename"):
        require_unique_ids(rows, "label")


def test_own_ids_that_occur_twice_are_named_too(spark):
    with pytest.raises(ShardError, match=r"'5' from 5, 5\."):
        require_unique_ids(local_rows(spark, [(5,), (5,), (6,)], "vid long"), "vid")


def test_a_row_without_an_id_stops_the_run(spark):
    with pytest.raises(ShardError, match="but 1 rows have none in column 'vid'"):
        require_unique_ids(local_rows(spark, [(5,), (None,)], "vid long"), "vid")
