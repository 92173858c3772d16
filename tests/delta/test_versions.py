"""That Delta and Spark fit each other: with versions that do not, everything works until the first checkpoint.

delta-spark 4.2.0 on pyspark 4.1.3 fails at ALTER TABLE, at DeltaTable.forPath, and at the append after a checkpoint,
which a table has by default after ten commits.
"""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from delta.tables import DeltaTable

from spark_imgdedup.runs.session import delta_settings

ROOT = Path(__file__).parents[2]


@pytest.fixture
def table(spark, tmp_path):
    """With a checkpoint after every second commit."""
    path = str(tmp_path / "t")
    spark.range(10).write.format("delta").option("delta.checkpointInterval", "2").save(path)
    for first in (10, 20, 30, 40):
        spark.range(first, first + 10).write.format("delta").mode("append").save(path)
    assert sorted(Path(path).glob("_delta_log/*.checkpoint*.parquet"))
    return path


def count(spark, path):
    return spark.read.format("delta").load(path).count()


def test_a_table_with_checkpoints_is_appended_to_merged_deleted_from_and_replaced_in(spark, table):
    spark.range(50, 60).write.format("delta").mode("append").save(table)
    gone = spark.range(0, 5)
    spark.sql(f"MERGE INTO delta.`{table}` AS t USING {{gone}} AS g ON t.id = g.id WHEN MATCHED THEN DELETE", gone=gone)
    spark.sql(f"DELETE FROM delta.`{table}` WHERE id >= 55")
    spark.range(20, 22).write.format("delta").mode("overwrite").option("replaceWhere", "id >= 20 and id < 30").save(
        table
    )

    assert count(spark, table) == 60 - 5 - 5 - 8
    assert spark.read.format("delta").option("versionAsOf", 0).load(table).count() == 10


def test_a_table_with_checkpoints_is_optimized_altered_restored_and_opened_by_delta_table(spark, table):
    spark.sql(f"OPTIMIZE delta.`{table}` ZORDER BY (id)")
    spark.sql(f"ALTER TABLE delta.`{table}` SET TBLPROPERTIES ('note' = 'x')")
    opened = DeltaTable.forPath(spark, table)
    opened.delete("id < 10")
    spark.sql(f"VACUUM delta.`{table}` DRY RUN")

    assert opened.toDF().count() == 40
    spark.sql(f"RESTORE TABLE delta.`{table}` TO VERSION AS OF 4")
    assert count(spark, table) == 50
    spark.range(60, 61).write.format("delta").mode("append").save(table)
    assert count(spark, table) == 51


def test_the_session_has_the_jar_of_the_delta_spark_that_is_installed(spark):
    (jar,) = delta_settings()["spark.jars.packages"].split(",")

    assert spark.conf.get("spark.jars.packages") == jar
    assert jar.rpartition(":")[2] == version("delta-spark")


def test_the_pins_are_versions_that_these_tests_have_seen_together():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]

    assert extras["delta"] == [f"delta-spark=={version('delta-spark')}"]
    assert extras["spark"] == [f"pyspark=={version('pyspark')}"]
    guide = (ROOT / "docs" / "guide-delta.md").read_text()
    assert re.search(rf"pyspark {version('pyspark')}.*delta-spark {version('delta-spark')}", guide)
