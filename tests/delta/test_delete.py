"""output.mode delete: duplicates are deleted from the Delta table that they are in."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_imgdedup.errors import ConfigError, SchemaError, ShardError, TableError
from spark_imgdedup.pipeline import run
from spark_imgdedup.runs.deletion import delete_rows
from spark_imgdedup.runs.tables import Tables
from spark_imgdedup.runs.written import trace_input
from spark_imgdedup.stages.local_rows import local_rows
from tests.delta.photos import add, config_for, ids, rows, version

# p1 and p4 repeat p0, p5 repeats p2.
SEEDS = [1, 1, 2, 3, 1, 2]
DELETE = {"output": {"mode": "delete"}}


@pytest.fixture
def photos(spark, tmp_path):
    add(spark, tmp_path / "photos", SEEDS[:4])
    add(spark, tmp_path / "photos", SEEDS[4:], first=4)
    return tmp_path / "photos"


def loads(folder):
    """How often the encoder has been loaded: once for each task that embeds."""
    return len(list(folder.iterdir()))


def removed(folder):
    """What the table `removed` says, whichever version of it is the newest."""
    table = pq.read_table(folder / "work" / "removed")
    return {row["image_id"]: row["reason"] for row in table.to_pylist()}


def report(folder):
    return json.loads((folder / "work" / "report" / "report.json").read_text())


def skipped(caplog):
    return [line.partition(":")[0] for line in caplog.messages if "unchanged since the last run" in line]


def test_one_commit_takes_the_duplicates_out_of_the_table_and_says_whose_it_is(spark, photos, tmp_path):
    before = {
        row.image_id: (bytes(row.image), row.note) for row in spark.read.format("delta").load(str(photos)).collect()
    }

    summary = run(config_for(tmp_path, **DELETE), spark)

    left = {
        row.image_id: (bytes(row.image), row.note) for row in spark.read.format("delta").load(str(photos)).collect()
    }
    gone = set(before) - set(left)
    assert removed(tmp_path) == dict.fromkeys(gone, "duplicate")
    assert left == {name: row for name, row in before.items() if name not in gone}
    assert sorted(image for image, _ in left.values()) == sorted({image for image, _ in before.values()})
    assert (summary.read, summary.kept, summary.removed, summary.versions) == (6, 3, {"duplicate": 3}, (1, 2))
    assert "version      2, and 1 before the rows were deleted" in list(summary.lines())
    counts = report(tmp_path)["steps"]["remove"]["counts"]
    assert (counts["version_before"], counts["version_after"], counts["output"]) == (1, 2, str(photos))
    newest = spark.sql(f"DESCRIBE HISTORY delta.`{photos}` LIMIT 1").first()
    assert (newest.operation, newest.operationMetrics["numTargetRowsDeleted"]) == ("MERGE", "3")
    assert json.loads(newest.userMetadata)["spark_imgdedup"]["work_dir"] == str(tmp_path / "work")


def test_a_second_run_has_nothing_to_do_and_no_model_to_run_also_after_optimize(spark, photos, tmp_path, caplog):
    (tmp_path / "loads").mkdir()
    config = config_for(tmp_path, **DELETE, embed={"model_dir": str(tmp_path / "loads")})
    first = run(config, spark)
    n_loads = loads(tmp_path / "loads")
    spark.sql(f"OPTIMIZE delta.`{photos}`")
    at = version(photos)
    caplog.set_level(logging.INFO)

    second = run(config, spark)

    assert n_loads > 0
    assert loads(tmp_path / "loads") == n_loads
    assert skipped(caplog) == ["embed", "detect", "cluster", "pairwise", "identify", "remove"]
    assert version(photos) == at
    assert (second.kept, second.removed) == (first.kept, first.removed)


def test_what_is_added_later_is_looked_at_with_the_rest(spark, photos, tmp_path):
    config = config_for(tmp_path, **DELETE)
    run(config, spark)
    left = ids(photos)
    add(spark, photos, [3, 4], first=6)

    summary = run(config, spark)

    assert (summary.read, summary.kept) == (5, 4)
    assert len(removed(tmp_path).keys() & {"p3", "p6"}) == len(removed(tmp_path)) == 1
    assert set(ids(photos)) == {*left, "p6", "p7"} - removed(tmp_path).keys()


def test_a_larger_eps_deletes_more_and_a_smaller_one_brings_nothing_back_without_a_model(spark, photos, tmp_path):
    (tmp_path / "loads").mkdir()
    settings = {**DELETE, "embed": {"model_dir": str(tmp_path / "loads")}}
    run(config_for(tmp_path, **settings), spark)
    n_loads, at = loads(tmp_path / "loads"), version(photos)

    less = run(config_for(tmp_path, **settings, identify={"eps": 0.001}), spark)

    assert (less.read, less.kept, sum(less.removed.values())) == (3, 3, 0)
    assert version(photos) == at

    more = run(config_for(tmp_path, **settings, identify={"eps": 0.99}), spark)

    assert more.read == 3
    assert more.kept == len(ids(photos)) < 3
    assert loads(tmp_path / "loads") == n_loads


@pytest.mark.thorough
def test_after_a_restore_the_rows_are_deleted_again_and_nothing_is_embedded_again(spark, photos, tmp_path):
    (tmp_path / "loads").mkdir()
    config = config_for(tmp_path, **DELETE, embed={"model_dir": str(tmp_path / "loads")})
    first = run(config, spark)
    left, n_loads = ids(photos), loads(tmp_path / "loads")
    spark.sql(f"RESTORE TABLE delta.`{photos}` TO VERSION AS OF {first.versions[0]}")
    assert len(ids(photos)) == 6

    again = run(config, spark)

    assert ids(photos) == left
    assert (again.kept, again.removed, again.versions) == (3, {"duplicate": 3}, (3, 4))
    assert loads(tmp_path / "loads") == n_loads


def test_a_run_that_broke_off_after_its_commit_is_finished_without_another_one(spark, photos, tmp_path):
    config = config_for(tmp_path, **DELETE)
    first = run(config, spark)
    reasons, left, at = removed(tmp_path), ids(photos), version(photos)
    (tmp_path / "work" / "_steps" / "remove.json").unlink()  # what such a run has not written

    second = run(config, spark)

    assert removed(tmp_path) == reasons
    assert (ids(photos), version(photos)) == (left, at)
    assert (second.read, second.kept, second.removed, second.versions) == (
        *(first.read, first.kept, first.removed),
        first.versions,
    )


def test_duplicates_of_an_older_version_are_not_deleted_by(spark, photos, tmp_path):
    run(config_for(tmp_path, **DELETE), spark, steps=["embed", "cluster", "pairwise", "identify"])
    add(spark, photos, [5], first=6)

    with pytest.raises(SchemaError, match=r"^remove: the tables of embed, .*spark-imgdedup embed ") as raised:
        run(config_for(tmp_path, **DELETE), spark, steps=["remove"])

    assert "\n" not in str(raised.value)
    assert len(ids(photos)) == 7


@pytest.mark.thorough
def test_duplicates_of_other_settings_are_not_deleted_by(spark, photos, tmp_path):
    run(config_for(tmp_path, **DELETE), spark, steps=["embed", "cluster", "pairwise", "identify"])

    with pytest.raises(SchemaError, match="the tables of identify, which it builds on"):
        run(config_for(tmp_path, **DELETE, identify={"eps": 0.003}), spark, steps=["remove"])

    assert len(ids(photos)) == 6


def test_a_row_added_while_the_step_looks_stops_it(spark, photos, tmp_path):
    config = config_for(tmp_path, **DELETE)
    tables, seen = Tables(spark, config), trace_input(config)
    add(spark, photos, [1], first=6)
    gone = local_rows(
        spark, [("p0", None, "p0", "duplicate")], "image_id string, shard string, key string, reason string"
    )

    with pytest.raises(TableError, match="somebody else changed it between versions 1 and 2"):
        delete_rows(tables, seen, gone, 6, config)

    assert len(ids(photos)) == 7


def test_with_deletion_vectors_rows_are_counted_and_not_files(spark, photos, tmp_path):
    spark.sql(f"ALTER TABLE delta.`{photos}` SET TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')")
    config = config_for(tmp_path, **DELETE)

    summary = run(config, spark)

    metrics = spark.sql(f"DESCRIBE HISTORY delta.`{photos}` LIMIT 1").first().operationMetrics
    assert int(metrics["numTargetDeletionVectorsAdded"]) > 0
    assert spark.read.format("delta").load(str(photos)).count() == summary.kept == 3
    assert run(config, spark).kept == 3


@pytest.mark.thorough
def test_a_list_of_numbers_is_deleted_by_the_id_column_that_the_settings_name(spark, tmp_path):
    frame = local_rows(spark, [(n, f"clip {n}") for n in (1, 2, 3)], "clip bigint, name string")
    frame.write.format("delta").save(str(tmp_path / "photos"))
    pq.write_table(pa.table({"id": pa.array(["2", "9", None])}), tmp_path / "list.parquet")
    config = config_for(
        tmp_path,
        **DELETE,
        input={"id_field": "clip"},
        remove={"ids_path": str(tmp_path / "list.parquet"), "id_field": "id"},
    )

    summary = run(config, spark, steps=["remove", "report"])

    left = spark.read.format("delta").load(str(tmp_path / "photos")).collect()
    assert sorted(tuple(row) for row in left) == [(1, "clip 1"), (3, "clip 3")]
    assert (summary.read, summary.kept, summary.ids_unmatched) == (3, 2, 1)


def test_an_id_that_two_rows_have_stops_it_before_anything_is_deleted(spark, tmp_path):
    local_rows(spark, [("a", 1), ("a", 2), ("b", 3)], "image_id string, n int").write.format("delta").save(
        str(tmp_path / "photos")
    )
    pq.write_table(pa.table({"image_id": ["a"]}), tmp_path / "list.parquet")
    config = config_for(tmp_path, **DELETE, remove={"ids_path": str(tmp_path / "list.parquet")})

    with pytest.raises(ShardError, match="Ids must be unique"):
        run(config, spark, steps=["remove"])

    assert version(tmp_path / "photos") == 0


def test_a_list_of_which_no_id_is_in_the_table_is_a_mistake(spark, photos, tmp_path):
    pq.write_table(pa.table({"image_id": ["elsewhere"]}), tmp_path / "list.parquet")
    config = config_for(tmp_path, **DELETE, remove={"ids_path": str(tmp_path / "list.parquet")})

    with pytest.raises(SchemaError, match="none of the 1 ids is in the dataset"):
        run(config, spark, steps=["remove"])

    assert version(photos) == 1


@pytest.mark.thorough
def test_an_unreadable_image_is_deleted_if_the_settings_say_so(spark, photos, tmp_path):
    local_rows(spark, [("torn", b"no image", None)], "image_id string, image binary, note string").write.format(
        "delta"
    ).mode("append").save(str(photos))
    config = config_for(tmp_path, **DELETE, remove={"unreadable": "drop"})

    summary = run(config, spark)

    assert summary.removed == {"duplicate": 3, "unreadable": 1}
    assert "torn" not in ids(photos)


def test_a_table_that_refuses_deletions_is_one_line(spark, photos, tmp_path):
    spark.sql(f"ALTER TABLE delta.`{photos}` SET TBLPROPERTIES ('delta.appendOnly' = 'true')")

    with pytest.raises(TableError, match=r"DELTA_CANNOT_MODIFY_APPEND_ONLY.*appendOnly to false") as raised:
        run(config_for(tmp_path, **DELETE), spark)

    assert "\n" not in str(raised.value)
    assert len(ids(photos)) == 6


def test_a_parquet_table_cannot_be_deleted_from(spark, tmp_path):
    local_rows(spark, rows([1, 1]), "image_id string, image binary, note string").write.parquet(
        str(tmp_path / "photos")
    )

    with pytest.raises(ConfigError, match=r"output\.mode: delete needs a Delta table, and .*photos is none"):
        run(config_for(tmp_path, **DELETE), spark)

    assert not (tmp_path / "work").exists()


@pytest.mark.thorough
def test_vectors_of_ones_own_in_the_same_table_are_not_clustered_again(spark, tmp_path, caplog):
    frame = local_rows(
        spark, [(n, [float(n % 3), 1.0, float(n % 2)]) for n in range(9)], "id bigint, embedding array<float>"
    )
    frame.write.format("delta").save(str(tmp_path / "photos"))
    path = str(tmp_path / "photos")
    config = config_for(tmp_path, **DELETE, input={"id_field": "id"}, cluster={"embeddings_path": path})
    first = run(config, spark)
    caplog.set_level(logging.INFO)

    second = run(config, spark)

    assert (first.kept, second.kept) == (6, 6)
    assert skipped(caplog) == ["cluster", "pairwise", "identify", "remove"]


@pytest.mark.thorough
def test_files_below_the_table_are_the_tables_alone(spark, photos, tmp_path):
    run(config_for(tmp_path, **DELETE), spark)

    names = {path.suffix for path in Path(photos).rglob("*") if path.is_file()}
    assert names <= {".parquet", ".crc", ".json", ".bin"}
    assert not list(Path(photos).glob("_spark_imgdedup*"))
