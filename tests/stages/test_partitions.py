from __future__ import annotations

import pytest

from spark_imgdedup.stages.partitions import number_of, shuffle_partitions


def test_a_shuffle_has_as_many_tasks_as_the_session_says(spark):
    before = spark.conf.get("spark.sql.shuffle.partitions")
    spark.conf.set("spark.sql.shuffle.partitions", "7")
    try:
        assert shuffle_partitions(spark.range(1)) == 7
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", before)


@pytest.mark.parametrize("setting", ["auto", "", None])
def test_where_the_setting_is_no_number_it_is_sparks_default(setting):
    # Spark itself refuses auto, so that no session here has it; Databricks documents it.
    assert number_of(setting) == 200
