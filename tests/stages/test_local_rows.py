"""Rows of the driver as a DataFrame."""

import pytest

from spark_imgdedup.runs.classic import is_classic
from spark_imgdedup.stages.local_rows import local_rows

SCHEMA = "name string, `a b` bigint, small int, share double, bytes binary, crop array<int>, known boolean"
ROWS = [
    ("é", 2**40, -1, 0.1, b"\0x", [1, None], True),
    (None, None, None, None, None, None, None),
    ("", 0, 7, float("inf"), b"", [], False),
]


def test_gives_back_what_it_was_given(spark):
    df = local_rows(spark, ROWS, SCHEMA)
    assert sorted(map(tuple, df.collect()), key=repr) == sorted(ROWS, key=repr)
    assert df.schema == spark.createDataFrame([], SCHEMA).schema


def test_may_be_empty(spark):
    df = local_rows(spark, [], "task int, `a.b` string")
    assert df.count() == 0
    assert df.dtypes == [("task", "int"), ("a.b", "string")]


def test_refuses_what_is_no_value_of_its_column(spark):
    with pytest.raises(Exception, match=r"(?i)int"):
        local_rows(spark, [("seven",)], "task int").collect()


def test_is_part_of_the_plan_and_no_work_of_workers(spark):
    if not is_classic(spark) or spark.version.startswith("3."):
        pytest.skip("Spark 3.5 unpickles rows in workers; Connect shows no plan of its server")
    plan = local_rows(spark, ROWS, SCHEMA)._jdf.queryExecution().toString()
    assert "LocalTableScan" in plan
    assert "RDD" not in plan
