"""Which operators of each step RAPIDS would put on a GPU: nothing runs on one here."""

from __future__ import annotations

import re

import pytest

from tests.rapids.conftest import ROOT

GUIDE = ROOT / "docs/guide-gpu.md"
# The rows of the table in the guide: what it says, and which steps of which runs of explain.py it is about.
ROWS = {
    "`embed`, tars": ("tars", "embed"),
    "`embed`, a table of images": ("table", "embed"),
    "`score`": ("tars", "score"),
    "`detect`, exact and phash": ("tars", "detect"),
    "`cluster`": ("table", "cluster"),
    "`cluster` after `detect`": ("tars", "cluster"),
    "`pairwise`": ("tars", "pairwise"),
    "`identify`": ("table", "identify"),
    "`identify` with phash": ("tars", "identify"),
    "`remove`, tars to tars": ("tars", "remove"),
    "`remove`, tars to rows": ("tars to rows", "remove"),
    "`remove`, a table": ("table", "remove"),
}
# What the plugin says, in the guide's words. Others are left as they are, and then the guide differs.
REASONS = (
    (r"unsupported data types in .*BinaryType|BinaryType is not supported", "binary"),
    (r"GPU does not currently support the operator class", "none"),
    (r"has been disabled, and is disabled by default", "off"),
    (r"not all partitioning can be replaced|not all expressions can be replaced", "inner"),
)
PYTHON = {"MapInArrowExec", "ArrowEvalPythonExec"}


def of(verdicts, flow, step, *kinds):
    return {operator for operator, verdict, _ in verdicts[flow][step] if verdict in kinds}


def in_words(reason):
    return {
        next((words for pattern, words in REASONS if re.search(pattern, part)), part) for part in reason.split("; ")
    }


def everywhere(verdicts):
    """The operators that every step has on the GPU."""
    return set.intersection(*(of(verdicts, flow, step, "gpu") for flow, step in ROWS.values()))


def table_of(verdicts):
    """The guide's table, and the line before it."""
    common = everywhere(verdicts)
    lines = [
        f"Every step: {names(common)}.",
        "",
        "| step | besides, on the GPU | stays on the CPU, and why |",
        "|---|---|---|",
    ]
    for row, (flow, step) in ROWS.items():
        stays = {}
        for operator, verdict, reason in verdicts[flow][step]:
            if verdict in ("cpu", "partial"):
                words = in_words(reason) if verdict == "cpu" else {"transfer"}
                stays.setdefault(operator, set()).update(words)
        why = "; ".join(
            f"{short(operator)} ({', '.join(sorted(words - {'inner'} or words))})"
            for operator, words in sorted(stays.items())
        )
        there = names(of(verdicts, flow, step, "gpu") - common)
        lines.append(f"| {row} | {there or '-'} | {why or 'nothing'} |")
    return "\n".join(lines)


def names(operators):
    # How rows are spread is said with the exchange that does it.
    return ", ".join(short(name) for name in sorted(operators) if not name.endswith("Partitioning"))


def short(operator):
    return operator.removesuffix("Exec").removesuffix("Command")


def test_the_guide_has_the_verdict_on_every_operator_of_every_step(verdicts):
    assert table_of(verdicts) in GUIDE.read_text(), f"the table is now:\n{table_of(verdicts)}"


@pytest.mark.parametrize(("flow", "step"), ROWS.values(), ids=" ".join)
def test_every_table_is_written_by_the_gpu_and_what_spark_reads_and_shuffles_is_on_it(verdicts, flow, step):
    on_gpu = of(verdicts, flow, step, "gpu")

    if (flow, step) != ("tars", "embed"):  # its tasks write the table themselves
        assert {"DataWritingCommandExec", "InsertIntoHadoopFsRelationCommand", "WriteFilesExec"} <= on_gpu
    if step == "pairwise":  # its tasks read what they compare
        assert not {"FileSourceScanExec", "ShuffleExchangeExec"} & of(verdicts, flow, step, "gpu", "cpu", "partial")
    else:
        assert {"FileSourceScanExec", "ShuffleExchangeExec"} <= on_gpu


@pytest.mark.parametrize(("flow", "step"), ROWS.values(), ids=" ".join)
def test_only_the_arrow_operators_that_the_steps_are_made_of_run_python(verdicts, flow, step):
    """A row-based UDF would be a BatchEvalPythonExec."""
    expected = {
        "embed": {"MapInArrowExec"} if flow == "tars" else {"ArrowEvalPythonExec"},
        "score": {"MapInArrowExec"},
        "detect": {"MapInArrowExec"},
        "cluster": {"MapInArrowExec"},
        "pairwise": {"MapInArrowExec"},
        "identify": {"MapInArrowExec"},
        "remove": {"MapInArrowExec"},
    }[step]
    everywhere = of(verdicts, flow, step, "gpu", "cpu", "partial", "removed")

    assert {name for name in everywhere if re.search("Python|Arrow|Pandas", name)} == expected
    assert not expected & of(verdicts, flow, step, "gpu")
    assert expected <= PYTHON


def test_removing_rows_of_a_table_is_a_left_anti_join_that_runs_on_the_gpu_whole(verdicts):
    plans = verdicts["remove_images"]

    assert "LeftAnti" in plans["plan"][0]
    for kind, join in (("sort merge", "SortMergeJoinExec"), ("broadcast", "BroadcastHashJoinExec")):
        assert join in of(verdicts, "remove_images", kind, "gpu")
        assert not of(verdicts, "remove_images", kind, "cpu", "partial")
    assert of(verdicts, "remove_images", "sort merge", "removed") == {"SortExec"}
    # A Parquet table is copied file by file, in tasks of ours, which ask for the places of its rows in their files.
    assert of(verdicts, "table", "remove", "cpu", "partial") <= {
        *("CollectLimitExec", "FileSourceScanExec", "LocalTableScanExec", "MapInArrowExec"),
    }
