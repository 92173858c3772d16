"""`review` and `review import` as they are typed."""

from __future__ import annotations

import json

import pytest

from spark_imgdedup.errors import ConfigError, SchemaError
from tests.cli.test_commands import call


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "work").mkdir()
    line = {"one": "a", "other": "b", "decision": "different"}
    (tmp_path / "given.jsonl").write_text(json.dumps(line))
    return tmp_path / "work"


def test_an_import_prints_lines_or_json_and_keeps_the_decisions(work):
    code, out, _ = call("review", "import", "given.jsonl", "--set", "identify.eps=0.1")
    assert code == 0
    assert "1 pairs: 0 same, 1 different, 0 unsure" in out
    assert (work / "decisions.jsonl").exists()

    _, out, _ = call("review", "import", "given.jsonl", "--set", "identify.eps=0.1", "--json")
    assert json.loads(out)["held"] == 1


def test_what_is_missing_or_in_the_wrong_place_is_said(work):
    with pytest.raises(ConfigError, match="--to is not set"):
        call("review")
    with pytest.raises(ConfigError, match="its options stand after it"):
        call("review", "--set", "identify.eps=0.1", "import", "given.jsonl")
    with pytest.raises(ConfigError, match=r"input\.path is not set"):
        call("review", "--to", "page")
    with pytest.raises(ConfigError, match=r"report\.images is false"):
        call("review", "--to", "page", "--set", "input.path=data", "--set", "report.images=false")
    with pytest.raises(ConfigError, match="--n 501: a page asks 1 to 500"):
        call("review", "--to", "page", "--set", "input.path=data", "--n", "501")
    with pytest.raises(SchemaError, match="there are no pairs to judge yet"):
        call("review", "--to", "page", "--set", "input.path=data")
    assert not (work.parent / "page").exists()
