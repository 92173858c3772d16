"""Rows that were removed are brought back: inserted into the table that they were deleted from, or written again."""

from __future__ import annotations

import logging

import pytest

from spark_imgdedup.errors import ConfigError, TableError
from spark_imgdedup.pipeline import run
from spark_imgdedup.runs.plan import resolve_eps
from spark_imgdedup.runs.restore import RestoreRequest, note_restored
from spark_imgdedup.runs.tables import Tables
from tests.delta.photos import add, config_for, ids, version

# p1 and p4 repeat p0, p5 repeats p2.
SEEDS = [1, 1, 2, 3, 1, 2]


def restore(config, spark, **request):
    """What the command does."""
    noted = note_restored(Tables(spark, resolve_eps(config)), RestoreRequest(**request))
    return noted, run(config, spark, steps=["remove", "report"])


def rows(spark, path):
    return {row.image_id: (bytes(row.image), row.note) for row in spark.read.format("delta").load(str(path)).collect()}


def test_deleted_rows_are_inserted_again_and_the_model_has_nothing_to_do(spark, tmp_path, caplog):
    path = tmp_path / "photos"
    add(spark, path, SEEDS)
    before = rows(spark, path)
    config = config_for(tmp_path, output={"mode": "delete"})
    run(config, spark)
    gone = sorted(set(before) - set(ids(path)))

    noted, summary = restore(config, spark, ids=(gone[0],))

    assert rows(spark, path) == {name: row for name, row in before.items() if name not in gone[1:]}
    assert (dict(noted.reasons), summary.kept, summary.removed) == ({gone[0]: "duplicate"}, 4, {})
    at = version(path)
    caplog.set_level(logging.INFO)
    run(config, spark)
    assert version(path) == at
    skipped = [line.partition(":")[0] for line in caplog.messages if "unchanged since the last run" in line]
    assert skipped == ["embed", "detect", "cluster", "pairwise", "identify", "remove"]

    noted, summary = restore(config, spark, all_of="deleted")  # `removed` is of the newest run, which has no more rows

    assert sorted(noted.reasons) == gone[1:]
    assert rows(spark, path) == before
    assert (summary.read, summary.kept) == (6, 6)
    with pytest.raises(ConfigError, match="1 id is not among the removed samples"):
        restore(config, spark, ids=("p9",))
    spark.sql(f"DELETE FROM delta.`{path}` WHERE image_id = '{gone[0]}'")
    assert run(config, spark).kept == 5
    assert gone[0] not in ids(path)  # what somebody else has deleted since is not inserted again


def test_what_vacuum_has_taken_away_cannot_come_back_and_nothing_is_listed(spark, tmp_path):
    path = tmp_path / "photos"
    add(spark, path, SEEDS)
    config = config_for(tmp_path, output={"mode": "delete"})
    run(config, spark)
    gone, at = next(name for name in ("p1", "p0") if name not in ids(path)), version(path)
    spark.conf.set("spark.databricks.delta.retentionDurationCheck.enabled", "false")
    spark.sql(f"VACUUM delta.`{path}` RETAIN 0 HOURS").collect()

    with pytest.raises(TableError, match="as VACUUM takes them away: its rows cannot be inserted again"):
        restore(config, spark, ids=(gone,))

    assert not (tmp_path / "work/restored.jsonl").exists()
    assert gone not in ids(path)
    assert at <= version(path)


@pytest.mark.thorough
def test_a_table_that_others_have_changed_since_is_looked_at_anew(spark, tmp_path):
    path = tmp_path / "photos"
    add(spark, path, SEEDS)
    config = config_for(tmp_path, output={"mode": "delete"})
    run(config, spark)
    gone = sorted({f"p{n}" for n in range(6)} - set(ids(path)))
    add(spark, path, [4], first=6)
    run(config, spark)

    _, summary = restore(config, spark, ids=(gone[0],))

    assert set(ids(path)) == {*(f"p{n}" for n in range(7))} - set(gone[1:])
    summary = run(config, spark)
    assert (summary.read, summary.kept, summary.duplicates) == (5, 5, 1)  # the row is compared, and stays


def test_a_dataset_written_as_delta_has_the_rows_again(spark, tmp_path):
    add(spark, tmp_path / "photos", SEEDS)
    before = rows(spark, tmp_path / "photos")
    config = config_for(tmp_path, output={"path": str(tmp_path / "out"), "format": "delta"})
    run(config, spark)
    gone = sorted(set(before) - set(ids(tmp_path / "out")))

    _, summary = restore(config, spark, ids=(",".join(gone[:2]),))

    assert rows(spark, tmp_path / "out") == {name: row for name, row in before.items() if name != gone[2]}
    assert (summary.kept, summary.stay_anyway) == (5, 2)
