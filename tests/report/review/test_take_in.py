"""An import: what is checked, what it says, and that nothing is changed where something is wrong."""

from __future__ import annotations

import json

import pytest

from spark_imgdedup.config import Config
from spark_imgdedup.errors import ConfigError, LeaseError, SchemaError
from spark_imgdedup.files.decisions import different_pairs
from spark_imgdedup.report.review.take_in import take_in
from spark_imgdedup.runs import leases

HEADER = {
    "page": "p1",
    "run": "r1",
    "eps": 0.1,
    "bands": [
        {"name": "cosine 0.9", "kind": "embedding", "low": 0.9, "inside": True, "pairs": 100, "drawn": 60}
        | {"same": 0, "different": 0},
        {"name": "cosine 0.8 to 0.9", "kind": "embedding", "low": 0.8, "inside": False, "pairs": 50, "drawn": 50}
        | {"same": 0, "different": 0},
    ],
}


def decided(nth, band, decision, **more):
    line = {"one": f"a{nth}", "other": f"b{nth}", "decision": decision, "band": band, "page": "p1"}
    return line | {"time": f"2026-11-29T06:{nth // 60:02d}:{nth % 60:02d}Z"} | more


ALL_SAME = [decided(nth, 0, "same") for nth in range(60)]
HALF_SAME = [decided(60 + nth, 1, "same" if nth % 2 else "different") for nth in range(50)]


@pytest.fixture
def config(tmp_path):
    (tmp_path / "work").mkdir()
    return Config(work_dir=str(tmp_path / "work"), identify={"eps": 0.1})


@pytest.fixture
def write(tmp_path):
    def write(*lines):
        path = tmp_path / "given.jsonl"
        path.write_text("".join(json.dumps(each) + "\n" for each in lines))
        return str(path)

    return write


def test_it_says_what_was_decided_the_precision_and_the_largest_eps(config, write):
    found = take_in(config, write(HEADER, *ALL_SAME, *HALF_SAME), min_precision=0.95)

    said = "\n".join(found.lines())
    assert "110 pairs: 85 same, 25 different, 0 unsure" in said
    assert "110 new, 0 changed, 110 in all" in said
    assert "precision    100.0% (95 % interval 9" in said
    assert "eps          0.1 is the largest whose interval lies above 95.0%" in said
    assert "run identify again" in said
    assert "beware       page p1 was made of another run" in said
    assert len(different_pairs(config)) == 25
    told = json.loads(json.dumps(found.as_json()))
    (page,) = told["pages"]
    assert (page["largest_eps"]["eps"], page["precision"]["precision"]) == (0.1, 1.0)
    assert page["levels"][1]["precision"] == pytest.approx((100 + 25) / 150)
    assert [band["judged_same"] for band in page["bands"]] == [60, 25]

    again = take_in(config, write(HEADER, *ALL_SAME, *HALF_SAME), min_precision=0.5)

    assert (again.new, again.changed, again.held, again.conflicts) == (0, 0, 110, 0)
    assert again.estimates[0].largest_eps(0.5).eps == 0.2
    assert "beware       the search was made for eps 0.1" in "\n".join(again.lines())


def test_a_later_decision_wins_over_one_that_is_there_and_the_conflict_is_told(config, write):
    take_in(config, write(decided(1, 0, "different")))

    older = take_in(config, write(decided(1, 0, "same", time="2026-11-29T05:00:00Z")))
    assert (older.conflicts, older.changed, different_pairs(config)) == (1, 0, (("a1", "b1"),))
    newer = take_in(config, write(decided(1, 0, "same", time="2026-11-29T07:00:00Z")))
    assert (newer.conflicts, newer.changed, newer.new, different_pairs(config)) == (1, 1, 0, ())
    assert "no line tells of a page" in "\n".join(newer.lines())


def test_nothing_is_changed_where_a_line_or_a_page_is_wrong(config, write, tmp_path):
    bad_band = HEADER | {"bands": [HEADER["bands"][0] | {"pairs": -1}]}
    for lines, why in (
        ([HEADER, *ALL_SAME, {"one": "x"}], "line 62 .*no other, decision"),
        ([bad_band, decided(1, 0, "same")], "tells of the page was changed"),
        ([HEADER | {"bands": "none"}, decided(1, 0, "same")], "tells of the page was changed"),
        ([HEADER, decided(1, 9, "same")], "a band 9, which the page has not"),
    ):
        with pytest.raises(SchemaError, match=why):
            take_in(config, write(*lines))
    with pytest.raises(ConfigError, match="no such file"):
        take_in(config, str(tmp_path / "none.jsonl"))
    with pytest.raises(ConfigError, match=r"--min-precision 95 must lie between"):
        take_in(config, write(HEADER), min_precision=95)
    with pytest.raises(ConfigError, match="no run would read these decisions"):
        take_in(Config(work_dir=str(tmp_path / "elsewhere")), write(HEADER))

    assert list((tmp_path / "work").iterdir()) == []


def test_while_a_run_works_there_nothing_is_taken_in(config, write):
    with leases.held(["identify"], config), pytest.raises(LeaseError):
        take_in(config, write(decided(1, 0, "same")))
