"""output.mode and what belongs to it."""

from __future__ import annotations

import pytest

from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import ConfigError

TABLE = {"path": "photos", "format": "table"}
PART = {"path": "out", "format": "delta", "mode": "replace_where", "replace_where": "date = '2026-11-26'"}


@pytest.mark.parametrize(
    ("given", "output", "said"),
    [
        (
            TABLE,
            {"replace_where": "a = 1"},
            "replace_where: 'a = 1' is for output.mode replace_where, and the mode is ov",
        ),
        (TABLE, {"mode": "delete", "replace_where": "a = 1"}, "and the mode is delete"),
        (TABLE, {"mode": "replace_where", "format": "delta"}, "output.replace_where: not set"),
        (TABLE, PART | {"format": "parquet"}, "replace_where needs a Delta table, and output.format is parquet"),
        (TABLE, PART | {"replace_where": ""}, "must not be empty"),
        (
            {"path": "shards", "format": "webdataset"},
            {"mode": "delete"},
            "delete takes rows out of a Delta table, and input.format is webdataset",
        ),
        (TABLE | {"path": ["a", "b"]}, {"mode": "delete"}, "takes one Delta table, and input.path names a, b"),
        (TABLE | {"path": "photos/*"}, {"mode": "delete"}, r"takes one Delta table, and input.path names photos/\*"),
        (TABLE, {"mode": "delete", "path": "out"}, "output.path: out would stay empty"),
        (TABLE, {"mode": "delete", "format": "parquet"}, "output.format: parquet is not what a Delta table"),
    ],
)
def test_what_does_not_go_together_is_one_line(given, output, said):
    with pytest.raises(ConfigError, match=said) as raised:
        parse_config({"input": given, "output": output})

    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    "output",
    [{"mode": "delete"}, {"mode": "delete", "path": "photos/"}, {"mode": "delete", "format": "delta"}, PART],
)
def test_what_goes_together_is_taken(output):
    config = parse_config({"input": TABLE, "output": output})

    assert config.deletes == (output["mode"] == "delete")


def test_the_input_may_be_named_later():
    assert parse_config({"input": {"format": "table"}, "output": {"mode": "delete"}}).deletes
