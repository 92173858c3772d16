"""output.mode replace_where: a run replaces its own part of a Delta table that other runs write to."""

from __future__ import annotations

import logging

import pytest
from deltalake import DeltaTable

from spark_imgdedup.errors import ConfigError, SchemaError, TableError
from spark_imgdedup.files.owning.publishing import MANIFEST
from spark_imgdedup.pipeline import run
from spark_imgdedup.stages.local_rows import local_rows
from tests.delta.photos import config_for, ids, version
from tests.tars import jpeg, make_tar


def day(spark, folder, date, seeds, more="", **columns):
    """A Parquet table of one day's pictures."""
    rows = [(f"{date}/{n}", jpeg(seed), date, *columns.values()) for n, seed in enumerate(seeds)]
    frame = local_rows(spark, rows, f"image_id string, image binary, date string{more}").coalesce(1)
    frame.write.mode("overwrite").parquet(str(folder / date))


def part(folder, date, **sections):
    where = sections.pop("where", f"date = '{date}'")
    output = {"path": str(folder / "out"), "format": "delta", "mode": "replace_where", "replace_where": where}
    return config_for(
        folder,
        input={"path": str(folder / date)},
        work_dir=str(folder / f"work-{date}"),
        output=output,
        **sections,
    )


def test_each_day_replaces_its_own_rows_and_no_others(spark, tmp_path, caplog):
    day(spark, tmp_path, "d1", [1, 1, 2])
    day(spark, tmp_path, "d2", [3, 4])

    first = run(part(tmp_path, "d1"), spark)
    second = run(part(tmp_path, "d2"), spark)

    other = {"d2/0", "d2/1"}
    assert (first.kept, second.kept) == (2, 2)
    assert len(ids(tmp_path / "out")) == 4
    assert not (tmp_path / "out" / MANIFEST).exists()

    day(spark, tmp_path, "d1", [5, 5, 6, 6, 7])
    again = run(part(tmp_path, "d1"), spark)

    assert again.kept == 3
    assert other < set(ids(tmp_path / "out"))
    assert len(ids(tmp_path / "out")) == 5
    at = version(tmp_path / "out")
    caplog.set_level(logging.INFO)
    run(part(tmp_path, "d2"), spark)
    assert "remove: unchanged" in caplog.text
    assert version(tmp_path / "out") == at


@pytest.mark.parametrize("is_there", [False, True], ids=["new", "existing"])
def test_a_row_that_the_condition_does_not_hold_for_stops_the_write(spark, tmp_path, is_there):
    if is_there:
        day(spark, tmp_path, "d1", [1])
        run(part(tmp_path, "d1"), spark)
    before = ids(tmp_path / "out") if is_there else []
    day(spark, tmp_path, "d2", [3, 4])

    with pytest.raises(TableError, match=r"DELTA_REPLACE_WHERE_MISMATCH.*Correct output\.replace_where") as raised:
        run(part(tmp_path, "d2", where="date = 'd3'"), spark)

    assert "\n" not in str(raised.value)
    assert ids(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("where", "said"),
    [("day = 'd1'", "UNRESOLVED_COLUMN"), ("date === and", "DELTA_FAILED_RECOGNIZE_PREDICATE")],
)
def test_a_condition_that_sql_cannot_read_is_one_line(spark, tmp_path, where, said):
    day(spark, tmp_path, "d1", [1, 2])

    with pytest.raises(TableError, match=rf"{said}.*Correct output\.replace_where") as raised:
        run(part(tmp_path, "d1", where=where), spark)

    assert "\n" not in str(raised.value)


def test_the_schema_of_a_table_of_ones_own_is_never_changed(spark, tmp_path):
    day(spark, tmp_path, "d1", [1, 2], more=", size bigint", size=7)
    spark.sql(
        f"CREATE TABLE delta.`{tmp_path / 'out'}` (image_id STRING, image BINARY, date STRING, size STRING) USING delta"
    )
    spark.conf.set("spark.databricks.delta.schema.autoMerge.enabled", "true")
    try:
        with pytest.raises(SchemaError, match=r"columns that the table has not: size bigint \(string\)\. Its schema"):
            run(part(tmp_path, "d1"), spark)
        day(spark, tmp_path, "d1", [1, 2], more=", author string", author="me")
        with pytest.raises(SchemaError, match=r"author string \(not there\)"):
            run(part(tmp_path, "d1"), spark)
    finally:
        spark.conf.unset("spark.databricks.delta.schema.autoMerge.enabled")

    assert version(tmp_path / "out") == 0


def test_a_constraint_of_the_table_holds_for_what_is_written(spark, tmp_path):
    day(spark, tmp_path, "d1", [1, 2])
    out = f"delta.`{tmp_path / 'out'}`"
    spark.sql(f"CREATE TABLE {out} (image_id STRING, image BINARY, date STRING, licence STRING NOT NULL) USING delta")

    with pytest.raises(TableError, match=r"DELTA_MISSING_NOT_NULL_COLUMN_VALUE.*Give the column"):
        run(part(tmp_path, "d1"), spark)

    spark.sql(f"ALTER TABLE {out} ALTER COLUMN licence DROP NOT NULL")
    spark.sql(f"ALTER TABLE {out} ADD CONSTRAINT dated CHECK (date > 'd1')")
    with pytest.raises(TableError, match="DELTA_VIOLATE_CONSTRAINT_WITH_VALUES"):
        run(part(tmp_path, "d1"), spark)

    assert ids(tmp_path / "out") == []


@pytest.mark.thorough
def test_samples_of_tars_go_to_the_day_that_the_table_makes_of_their_shard(spark, tmp_path):
    for date, seeds in (("2026-11-25", [1, 2]), ("2026-11-26", [3, 3])):
        make_tar(tmp_path / "in" / date / "a.tar", [(f"{n}.jpg", jpeg(seed)) for n, seed in enumerate(seeds)])
    out = f"delta.`{tmp_path / 'out'}`"
    spark.sql(
        f"CREATE TABLE {out} (image_id STRING, shard STRING, key STRING, members MAP<STRING, BINARY>, "
        "date DATE GENERATED ALWAYS AS (CAST(substr(shard, 1, 10) AS DATE))) USING delta PARTITIONED BY (date)"
    )

    for date in ("2026-11-25", "2026-11-26", "2026-11-25"):
        config = config_for(
            tmp_path,
            input={"format": "webdataset", "path": str(tmp_path / "in" / date), "root": str(tmp_path / "in")},
            work_dir=str(tmp_path / f"work-{date}"),
            output={"path": str(tmp_path / "out"), "format": "delta", "mode": "replace_where"}
            | {"replace_where": f"date = '{date}'"},
        )
        run(config, spark, force=True)

    found = spark.read.format("delta").load(str(tmp_path / "out"))
    assert sorted((str(row.date), row.key) for row in found.collect())[:2] == [("2026-11-25", "0"), ("2026-11-25", "1")]
    assert found.count() == 3
    assert DeltaTable(str(tmp_path / "out")).metadata().partition_columns == ["date"]


@pytest.mark.thorough
def test_a_dataset_that_a_run_owns_and_a_folder_of_other_files_have_no_parts(spark, tmp_path):
    day(spark, tmp_path, "d1", [1, 2])
    whole = {"path": str(tmp_path / "out"), "format": "delta"}
    run(config_for(tmp_path, input={"path": str(tmp_path / "d1")}, output=whole), spark)

    with pytest.raises(ConfigError, match=r"holds the dataset of a run with output\.mode overwrite"):
        run(part(tmp_path, "d1"), spark)

    (tmp_path / "out").rename(tmp_path / "elsewhere")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds 1 files and is no Delta table"):
        run(part(tmp_path, "d1"), spark)


def test_a_run_that_would_own_the_folder_leaves_a_table_of_parts_alone(spark, tmp_path):
    day(spark, tmp_path, "d1", [1, 2])
    run(part(tmp_path, "d1"), spark)

    with pytest.raises(ConfigError, match="files that this package did not write"):
        run(
            config_for(
                tmp_path,
                input={"path": str(tmp_path / "d1")},
                output={"path": str(tmp_path / "out"), "format": "delta"},
            ),
            spark,
        )

    assert version(tmp_path / "out") == 1
