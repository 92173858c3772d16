"""When Spark compiles its plans in a session of ours."""

from __future__ import annotations

import pytest

from spark_imgdedup.config import parse_config
from spark_imgdedup.counts import ClusterCounts, DetectCounts
from spark_imgdedup.runs.codegen import MANY_ROWS, compile_for, interpreted
from spark_imgdedup.runs.tables import StepRecord, Tables
from tests.runs.test_session import run_python

CODEGEN = "spark.sql.codegen.wholeStage"


def record(rows):
    return StepRecord("cluster", "f00d", 1.0, ClusterCounts(rows, 1, rows))


@pytest.mark.parametrize(("rows", "is_compiled"), [(MANY_ROWS - 1, False), (MANY_ROWS, True)])
def test_plans_are_compiled_from_that_many_rows_on(ours, tmp_path, rows, is_compiled):
    tables = Tables(ours, parse_config({"work_dir": str(tmp_path)}))

    tables.finish(record(rows))

    assert (ours.conf.get(CODEGEN) == "true") is is_compiled
    compile_for(ours, 1)  # a smaller table after it changes nothing
    assert (ours.conf.get(CODEGEN) == "true") is is_compiled
    assert ours.range(3).selectExpr("sum(id) s").first()["s"] == 3


def test_what_an_earlier_process_has_counted_counts_as_well(ours, tmp_path):
    config = parse_config({"work_dir": str(tmp_path)})
    Tables(None, config).finish(record(MANY_ROWS))

    assert Tables(None, config).spark.conf.get(CODEGEN) == "true"


def test_steps_without_a_table_of_all_images_say_nothing_of_it(ours, tmp_path):
    tables = Tables(ours, parse_config({"work_dir": str(tmp_path)}))

    tables.finish(StepRecord("detect", "f00d", 1.0, DetectCounts(MANY_ROWS)))

    assert ours.conf.get(CODEGEN) == "false"


def test_a_session_of_somebody_else_stays_as_it_is(spark):
    before = spark.conf.get(CODEGEN)

    compile_for(spark, MANY_ROWS)

    assert before == "false"  # tests have it so, without our mark
    assert spark.conf.get(CODEGEN) == before


def test_who_chooses_codegen_is_not_overruled():
    assert interpreted({CODEGEN: "true"}) == {}
    assert interpreted({"spark.sql.codegen.factoryMode": "CODEGEN_ONLY"}) == {}
    assert interpreted({"spark.sql.shuffle.partitions": "2"})[CODEGEN] == "false"


def test_a_new_session_of_ours_interprets_until_there_is_much():
    code = """
from spark_imgdedup.config import parse_config
from spark_imgdedup.runs.codegen import MANY_ROWS, compile_for, interpreted
from spark_imgdedup.runs.session import get_session
spark = get_session(parse_config({"spark": {"spark.master": "local[1]"}}))
for n_rows in (MANY_ROWS - 1, MANY_ROWS):
    compile_for(spark, n_rows)
    spark.range(9).selectExpr("id + 1").explain()
"""
    rc, out, err = run_python(code)

    assert rc == 0, err
    assert [line.startswith("*(1) ") for line in out.splitlines() if "Project" in line] == [False, True]
