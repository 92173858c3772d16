from __future__ import annotations

import pytest

from spark_imgdedup.config import Config, parse_config
from spark_imgdedup.errors import HIDDEN, ConfigError
from spark_imgdedup.runs.counting import to_yaml

OURS, OTHERS = {"key": "k", "secret": "recognisable"}, {"anon": True}


def test_one_setting_is_for_every_place():
    config = parse_config({"storage_options": OURS})

    assert config.storage_options == config.input.storage_options == config.output.storage_options == OURS


def test_a_place_may_have_its_own():
    config = parse_config({"storage_options": OURS, "input": {"path": "s3://public/a", "storage_options": OTHERS}})

    assert config.input.storage_options == OTHERS
    assert config.input.path == "s3://public/a"
    assert config.storage_options == config.output.storage_options == OURS
    assert Config().storage_options == Config().input.storage_options == {}


def test_an_empty_setting_in_a_file_is_none():
    assert parse_config({"storage_options": None}).storage_options == {}


def test_values_are_in_no_dump_and_no_repr():
    config = parse_config({"storage_options": OURS, "output": {"path": "s3://a/b", "storage_options": OURS}})

    for shown in (repr(config), str(config.model_dump()), config.model_dump_json(), to_yaml(config)):
        assert "recognisable" not in shown
    assert config.model_dump()["storage_options"] == {"key": HIDDEN, "secret": HIDDEN}


def test_a_mistake_is_told_without_the_value():
    with pytest.raises(ConfigError) as raised:
        parse_config({"storage_options": "secret=recognisable"})

    assert str(raised.value) == "config: storage_options: Input should be a valid dictionary, got str."
