"""The end of a run in lines and in report.json, from what the steps recorded."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from spark_imgdedup.config import parse_config
from spark_imgdedup.counts import ClusterCounts, IdentifyCounts, ImageCounts, PairwiseCounts, RemoveCounts
from spark_imgdedup.errors import SchemaError
from spark_imgdedup.report.summarize import records_together, summarize, write_report
from spark_imgdedup.report.summary import Summary
from spark_imgdedup.runs.tables import StepRecord, Tables

EMBED = StepRecord(
    "embed",
    "e1",
    10.0,
    ImageCounts(10, rejected={"no_image": 1, "unreadable": 1}, damaged_shards=("t.tar: cut",), not_read={"json": 1200}),
)
CLUSTER = StepRecord("cluster", "c1", 2.0, ClusterCounts(7, 2, 5, {"zero": 1}), {"embed": "e1"})
RECALL = {"value": 0.995, "low": 0.99, "high": 0.9975, "pairs": 1200, "rows": 512}
PAIRWISE = StepRecord(
    "pairwise", "p1", 1.0, PairwiseCounts(7, "home", "one may do", 0.1, False, 1234, RECALL), {"cluster": "c1"}
)
IDENTIFY = StepRecord("identify", "i1", 0.5, IdentifyCounts(0.1, 3), {"pairwise": "p1"})
REMOVE = StepRecord(
    "remove",
    "r1",
    3.0,
    RemoveCounts(
        read=10,
        removed={"duplicate": 3},
        ids_given=4,
        ids_matched=3,
        ids_unmatched=1,
        cut=1,
        written=6,
        bytes_before=2_000_000,
        bytes_after=1_000_000,
        output="out",
    ),
    {"identify": "i1", "embed": "e1"},
)
ALL = {record.step: record for record in (EMBED, CLUSTER, PAIRWISE, IDENTIFY, REMOVE)}


def test_a_whole_run_in_lines():
    assert list(summarize(ALL).lines()) == [
        "read         10 samples, 3 without a usable image (no_image 1, unreadable 1, zero 1)",
        "not read     json 1,200",
        "damaged      t.tar: cut",
        "clusters     2, the largest of 5 rows (71.4%)",
        "compared     1,234 pairs (home): one may do",
        "found        99.50% of the pairs within eps 0.1 (99.00% to 99.75%), by 1,200 pairs of 512 sampled rows",
        "duplicates   3 (30.0%) by semdedup at eps 0.1",
        "uncovered    0 of these name an image that goes itself; groups wiped out: 0 of 0",
        "removed      duplicate 3; 1 cut off in damaged shards",
        "kept         6 samples in out",
        "unmatched    1 ids to remove are not in the dataset",
        "bytes        2.0 MB before, 1.0 MB after (50.0% less)",
        "seconds      embed 10.0, cluster 2.0, pairwise 1.0, identify 0.5, remove 3.0",
    ]


def test_a_sample_without_pairs_says_that_it_measured_nothing():
    nothing = {"value": None, "low": None, "high": None, "pairs": 0, "rows": 512}
    record = StepRecord("pairwise", "p1", 1.0, PairwiseCounts(7, "home", "so", 0.1, False, 9, nothing))

    assert "found        nothing to measure: no pair within eps 0.1 among the sampled rows" in (
        summarize({"pairwise": record}).lines()
    )


def test_of_a_search_that_compares_every_pair_no_share_is_told():
    whole = {"value": 1.0, "low": 1.0, "high": 1.0, "pairs": 0, "rows": 0}
    record = StepRecord("pairwise", "p1", 1.0, PairwiseCounts(7, "all", "every pair", 0.1, True, 21, whole))

    assert next(iter(summarize({"pairwise": record}).lines())) == "compared     21 pairs (all): every pair"


def test_what_has_not_run_is_not_told():
    assert list(Summary().lines()) == []
    assert list(summarize({"embed": EMBED}).lines())[-1] == "seconds      embed 10.0"


def test_own_embeddings_are_counted_by_their_rows():
    summary = summarize({"cluster": CLUSTER, "pairwise": PAIRWISE})

    assert summary.read == 8
    assert summary.unreadable == {"zero": 1}
    assert summary.kept is None


def test_a_run_that_removes_nothing_says_so():
    record = StepRecord("remove", "r", 1.0, RemoveCounts(read=2, written=2, output="out"))

    assert list(summarize({"remove": record}).lines())[1:3] == ["removed      nothing", "kept         2 samples in out"]


def test_many_damaged_shards_are_counted_and_a_few_named():
    summary = Summary(read=1, damaged_shards=tuple(f"{i}.tar: cut" for i in range(1234)))

    damaged = [line for line in summary.lines() if line.startswith("damaged")]

    assert len(damaged) == 6
    assert damaged[-1] == "damaged      and 1,229 more shards, see report.json"


def test_a_dataset_that_grows_is_told_to_be_larger_and_one_that_is_empty_to_be_so():
    record = StepRecord("remove", "r", 1.0, RemoveCounts(read=2, removed={"listed": 2}, written=0, output="out"))

    assert list(Summary(bytes_before=1_000_000, bytes_after=1_339_000).lines()) == [
        "bytes        1.0 MB before, 1.3 MB after (33.9% more)"
    ]
    assert "beware       nothing is left: all 2 samples were removed" in list(summarize({"remove": record}).lines())
    assert record.counts.in_words(1.0).endswith("beware, nothing is left")


def test_large_datasets_are_told_in_gigabytes():
    lines = list(Summary(bytes_before=5 * 10**12, bytes_after=4 * 10**12).lines())

    assert lines == ["bytes        5,000.00 GB before, 4,000.00 GB after (20.0% less)"]


def sizes_of(before, after, value=None, *, n_bytes=1_000_000):
    names = ("samples_before", "samples_after", "image_bytes_before", "image_bytes_after")
    row = dict(zip(names, (before, after, before * n_bytes, after * n_bytes), strict=True))
    return row if value is None else {"value": value, **row}


def broken_down(fields, leaving="removed", n_values=None):
    rows = [sizes_of(n, n // 2, name) for name, n in fields]
    table = {"shown": len(rows), "of": n_values or len(rows), "order": "samples before", "rows": rows, "rest": None}
    only = {"shown": 1, "of": 1, "order": "samples before", "rows": rows[:1], "rest": None}
    sizes = {"leaving": leaving, "total": sizes_of(10, 5), "by_reason": [], "by_shard": only, "by_format": only}
    return {"sizes": {**sizes, "by_resolution": None, "by_field": {"source": table}}, "computed_from": {}}


def test_sizes_and_the_fields_of_more_than_one_value_are_told_in_lines():
    lines = list(Summary(breakdowns=broken_down([("flickr", 8000), ("web", 2)])).lines())

    assert lines == [
        "images       10.0 MB before, 5.0 MB after (50.0% less)",
        "by source    flickr 4,000 of 8,000 stay, web 1 of 2",
    ]


def test_before_remove_the_sizes_are_those_without_the_duplicates():
    lines = list(Summary(breakdowns=broken_down([("flickr", 8)], leaving="duplicates")).lines())

    assert lines == ["images       10.0 MB before, 5.0 MB without the duplicates (50.0% less)"]


def test_a_long_value_is_cut_and_line_breaks_are_spaces():
    fields = [("two\nlines", 1), ("x" * 31, 1)]

    line = list(Summary(breakdowns=broken_down(fields)).lines())[-1]

    assert line == f"by source    two lines 0 of 1 stay, {'x' * 29}… 0 of 1"


@pytest.mark.parametrize("length", [3, 12, 40, 60])
def test_values_that_do_not_fit_a_line_are_counted(length):
    fields = [(f"{number:0{length}d}", 1000 - number) for number in range(40)]

    line = list(Summary(breakdowns=broken_down(fields, n_values=5000)).lines())[-1]

    named = line.count(" of ")
    assert len(line) <= 120
    assert line.endswith(f", and {5000 - named:,} more, see report.json")
    assert named >= 1


def test_what_found_the_duplicates_is_told_where_it_was_more_than_one():
    both = Summary(duplicates=3, read=10, eps=0.1, breakdowns={"found_by": {"embedding": 2, "exact": 1}})
    one = Summary(duplicates=3, read=10, eps=0.1, breakdowns={"found_by": {"embedding": 3}})

    assert list(both.lines())[-1] == "found by     embedding 2, exact 1"
    assert "found by" not in "".join(one.lines())


def test_more_images_than_an_eps_was_measured_for_are_told():
    many, few = (Summary(duplicates=3, eps=0.22, clustered=n, measured_for=5000) for n in (5001, 5000))

    assert any(line.startswith("beware       eps 0.22 was measured for up to 5,000 images") for line in many.lines())
    assert not any("beware" in line for line in few.lines())


def test_what_is_lost_or_must_stay_twice_is_told():
    lost = Summary(duplicates=3, rule="semdedup", eps=0.1, uncovered=2, groups=5, wiped_out=1, both_stay=4)

    lines = list(lost.lines())
    assert "uncovered    2 of these name an image that goes itself; groups wiped out: 1 of 5" in lines
    assert "must stay    4 images that repeat another one which must stay too" in lines


def test_records_built_on_tables_that_are_no_longer_there_are_left_out():
    again = StepRecord("pairwise", "p2", 1.0, PairwiseCounts(7), {"cluster": "c1"})

    assert list(records_together(ALL)) == ["embed", "cluster", "pairwise", "identify", "remove"]
    assert list(records_together(ALL | {"pairwise": again})) == ["embed", "cluster", "pairwise"]
    assert list(records_together({k: v for k, v in ALL.items() if k != "cluster"})) == ["embed"]


@pytest.fixture
def tables(tmp_path):
    return Tables(None, parse_config({"work_dir": str(tmp_path)}))


def test_report_json_holds_the_summary_and_the_records_without_a_spark(tables, tmp_path):
    for record in ALL.values():
        tables.finish(record)

    summary = write_report(tables, tables.config)

    report = json.loads((tmp_path / "report/report.json").read_text())
    assert report["summary"]["kept"] == summary.kept == 6
    assert report["steps"]["identify"] == {
        "step": "identify",
        "fingerprint": "i1",
        "seconds": 0.5,
        "counts": asdict(ALL["identify"].counts),
        "built_on": {"pairwise": "p1"},
        "version": "",
        "models": {},
    }


def test_steps_that_the_configuration_does_not_take_are_left_out(tables):
    for record in ALL.values():
        tables.finish(record)

    summary = write_report(tables, tables.config, leave_out=["identify", "remove"])

    assert (summary.clusters, summary.duplicates, summary.kept) == (2, None, None)


def test_a_work_dir_in_which_nothing_has_run_is_named(tables, tmp_path):
    with pytest.raises(SchemaError, match=f"{tmp_path}: no step has run there yet"):
        write_report(tables, tables.config)
