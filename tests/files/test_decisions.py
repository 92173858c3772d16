"""Lines of decisions: what is one, which of several stands, and what an import leaves behind."""

from __future__ import annotations

import json

import pytest

from spark_imgdedup.config import Config
from spark_imgdedup.errors import ConfigError, SchemaError
from spark_imgdedup.files.decisions import Decision, add_decisions, different_pairs, merge, parse, read_decisions


def line(one, other, decision, **more):
    return json.dumps({"one": one, "other": other, "decision": decision, **more})


def test_the_lower_id_comes_first_numbers_are_text_and_lines_about_pages_are_apart():
    text = "\ufeff" + "\n".join(
        [json.dumps({"page": "p", "bands": []}), line("日", "é", "same"), "", line(10, 9, "unsure")]
    )

    decisions, pages = parse(text, "f")

    assert [(each.one, each.other, each.decision) for each in decisions] == [
        ("é", "日", "same"),
        ("10", "9", "unsure"),
    ]
    assert pages == [{"page": "p", "bands": []}]


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("{", "line 2 .*Expecting"),
        ("[]", "line 2 .*no JSON object"),
        (line("a", "a", "same"), "both ids are 'a'"),
        (line("", "a", "same"), "one is ''"),
        (line(True, "a", "same"), "one is True"),
        (line("a", 1.0, "same"), r"other is 1\.0"),
        (line("a", "b", "equal"), "decision is 'equal', and must be one of same, different, unsure"),
        ('{"one": "a", "decision": "same"}', "it has no other"),
        (line("a", "b", "same", time="yesterday"), "time is 'yesterday'"),
        (line("a", "b", "same", time="2026-11-29T06:30:00"), "time is '2026-11-29T06:30:00'"),
        (line("a", "b", "same", band=-1), "band is -1"),
        (line("a", "b", "same", page=7), "page is 7"),
    ],
)
def test_a_bad_line_is_named_with_its_number_and_why(bad, why):
    with pytest.raises(SchemaError, match=why):
        parse(f"{line('a', 'b', 'same')}\n{bad}\n", "f.jsonl")


def test_the_first_few_bad_lines_are_shown_and_the_others_counted():
    with pytest.raises(SchemaError, match=r"9 of its lines .*line 5 .*and 4 more"):
        parse("{}\n" * 9, "f.jsonl")


def test_the_latest_decision_stands_whatever_the_order_of_lines():
    def said(decision, time):
        return Decision("a", "b", decision, time)

    early, late = said("same", "2026-01-01T00:00:00Z"), said("different", "2026-01-01T01:30:00+01:00")
    undated = said("unsure", None)

    assert merge([late, early, undated]).decisions == (late,)
    assert merge([early, late]).conflicts == (("a", "b"),)
    assert merge([early, early]).conflicts == ()
    assert merge([undated, said("same", None)]).decisions == (said("same", None),)


def test_an_import_adds_changes_and_twice_is_once(tmp_path):
    config = Config(work_dir=str(tmp_path))
    first = parse(line("b", "a", "different") + "\n" + line("c", "a", "same"), "f")[0]
    again = parse(line("a", "b", "same", time="2026-01-01T00:00:00Z"), "f")[0]

    assert different_pairs(config) == ()
    add_decisions(first, config)
    file = tmp_path / "decisions.jsonl"
    before = file.stat().st_mtime_ns
    assert different_pairs(config) == (("a", "b"),)
    add_decisions(first, config)
    assert file.stat().st_mtime_ns == before
    assert len(file.read_text().splitlines()) == 2

    merged = add_decisions(again, config)

    assert merged.conflicts == (("a", "b"),)
    assert different_pairs(config) == ()
    assert json.loads(file.read_text().splitlines()[0])["decision"] == "same"


def test_several_places_are_read_and_imports_go_to_the_first(tmp_path):
    (tmp_path / "team").mkdir()
    (tmp_path / "team/x.jsonl").write_text(line("a", "b", "different", time="2026-01-01T00:00:00Z"))
    (tmp_path / "team/y.jsonl").write_text(line("a", "b", "same") + "\n" + line("c", "d", "different"))
    (tmp_path / "team/notes.txt").write_text("no decision")
    own = str(tmp_path / "own.jsonl")
    config = Config(work_dir="elsewhere", identify={"decisions": [own, str(tmp_path / "team")]})

    with pytest.raises(ConfigError, match=r"identify.decisions: there is no .jsonl file at .*own.jsonl"):
        read_decisions(config)
    add_decisions([Decision("e", "f", "different")], config)

    assert different_pairs(config) == (("a", "b"), ("c", "d"), ("e", "f"))
    folder = Config(work_dir="elsewhere", identify={"decisions": str(tmp_path / "team")})
    add_decisions([Decision("e", "f", "different")], folder)
    assert (tmp_path / "team/decisions.jsonl").exists()
