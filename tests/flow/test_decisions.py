"""What people have called different stays: whole runs on pictures whose copies are known, by each rule."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_imgdedup.errors import ConfigError, SchemaError
from spark_imgdedup.files.decisions import FILE
from spark_imgdedup.pipeline import preview, run
from spark_imgdedup.report.eps_table import survey_run
from spark_imgdedup.report.explain.ask import explain
from spark_imgdedup.runs.tables import Tables
from tests.flow.test_rules import kept_for, scored, settings

__all__ = ["scored", "settings"]  # the fixtures

DIFFERENT = [("d-copy", "b-large"), ("g-red", "i-red"), ("elsewhere", "f-other")]
NOT_COPIES = [*DIFFERENT, ("a-small", "d-copy")]


def write(pairs, decision="different"):
    lines = [{"one": f"s/{one}", "other": f"s/{other}", "decision": decision} for one, other in pairs]
    with open(f"work/{FILE}", "a", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def steps_to_do(config):
    """The steps that would be taken, of those up to identify."""
    found = preview(config, steps=["embed", "detect", "cluster", "pairwise", "identify"])
    return [step.name for step in found.steps if step.would not in ("skip", "leave out")]


def test_no_image_goes_for_one_that_it_was_called_different_from(spark, settings):
    rules = ("greedy", "components", "semdedup")
    configs = {rule: settings(identify={"eps": 0.001, "rule": rule}) for rule in rules}
    before = {}
    for rule, config in configs.items():
        run(config, spark, steps=["identify"])
        before[rule] = kept_for(config)
    assert all("d-copy" in found and {"g-red", "i-red"} & set(found) for found in before.values())

    write(DIFFERENT)
    for rule, config in configs.items():
        assert steps_to_do(config) == ["identify"]
        summary = run(config, spark, steps=["identify"])
        found = kept_for(config)
        assert not {("a-small", "b-large"), ("b-large", "a-small"), ("d-copy", "b-large"), ("b-large", "d-copy")} & set(
            found.items()
        )
        assert not {"g-red", "i-red"} & set(found)
        assert not {"a-small", "b-large"} <= set(found)
        assert "c-grey" in found
        assert set(before[rule]) - set(found) <= {"a-small", "d-copy", "g-red", "i-red"}
        assert set(found) <= set(before[rule])
        assert set(found.values()).isdisjoint(found)
        assert (summary.uncovered, summary.wiped_out, summary.different, summary.decided_unknown) == (0, 0, 3, 1)
        assert any("decisions    3 pairs called different; 1 ids" in line for line in summary.lines())
        assert steps_to_do(config) == []

    write(NOT_COPIES)
    config = configs["greedy"]
    assert run(config, spark, steps=["identify"]).uncovered == 0
    assert "d-copy" not in kept_for(config)
    assert kept_for(config).get("a-small") not in ("b-large", "d-copy")
    write([("c-grey", "b-large")], "same")
    assert steps_to_do(config) == []

    with open(f"work/{FILE}", "a", encoding="utf-8") as file:
        file.write('{"one": "s/c-grey", "other": "", "decision": "different"}\n')
    with pytest.raises(SchemaError, match=r"line 9 .*other is"):
        run(config, spark, steps=["identify"])
    gone = settings(identify={"eps": 0.001, "decisions": "no/such.jsonl"})
    with pytest.raises(ConfigError, match=r"identify.decisions: there is no .jsonl file at no/such.jsonl"):
        run(gone, spark, steps=["identify"])


@pytest.mark.parametrize(("rule", "n_left"), [("greedy", 2), ("semdedup", 1)])
def test_the_table_of_eps_counts_no_image_that_people_hold_back(spark, settings, rule, n_left):
    config = settings(identify={"eps": 0.001, "rule": rule}, detect={"prepass": []})
    run(config, spark, steps=["embed", "cluster", "pairwise"])
    (before,) = survey_run(Tables(None, config), config, [0.001], []).levels
    write([("g-red", "i-red")])
    pq.write_table(pa.table({"image_id": ["s/a-small"]}), "never.parquet")
    config = settings(identify={"eps": 0.001, "rule": rule}, detect={"prepass": []}, remove={"never": "never.parquet"})

    survey = survey_run(Tables(None, config), config, [0.001], [])

    run(config, spark, steps=["identify"])
    assert (before.n_removed, survey.levels[0].n_removed, len(kept_for(config))) == (3, n_left, n_left)
    assert survey.n_rows == 9


def test_what_looks_at_a_run_before_identify_keeps_nothing_from_running(spark, settings):
    pq.write_table(pa.table({"image_id": ["s/a-small"]}), "never.parquet")
    write([("g-red", "i-red")])
    config = settings(remove={"never": "never.parquet"}, report={"page": True})
    run(config, spark, steps=["report"])
    assert explain(Tables(spark, config), ["s/g-red", "s/i-red"]).outcome
    survey_run(Tables(spark, config), config, [0.001], [])

    assert run(config, spark).kept == 5
