"""Settings with others in place of some."""

from __future__ import annotations

import pytest

from spark_imgdedup.config import Config, IdentifyConfig, InputConfig, load_config
from spark_imgdedup.errors import ConfigError

GIVEN = {
    "input": {"path": "in", "json_fields": ["caption"]},
    "storage_options": {"secret": "S"},
    "tables": {"schema": "mine"},
    "identify": {"eps": 0.1},
    "spark": {"spark.driver.memory": "3g"},
}


@pytest.mark.parametrize("mode", ["python", "json"])
@pytest.mark.parametrize("given", [{}, {name: GIVEN[name] for name in GIVEN if name != "storage_options"}])
def test_what_settings_dump_makes_the_same_settings(given, mode):
    config = Config(**given)

    assert Config(**config.model_dump(mode=mode)) == config


@pytest.mark.parametrize(
    "changes", [{"eps": 0.2}, {"identify.eps": 0.2}, {"identify": {"eps": 0.2}}, {"identify": Config(**GIVEN).identify}]
)
def test_one_setting_changes_and_all_others_stay_with_their_secrets(changes):
    changed = Config(**GIVEN).with_(**changes)

    expected = 0.1 if not isinstance(changes.get("identify", {}), dict) else 0.2
    assert changed == Config(**GIVEN | {"identify": {"eps": expected}})
    assert changed.input.storage_options == {"secret": "S"}
    assert changed.model_fields_set == Config(**GIVEN).model_fields_set


def test_settings_that_follow_from_others_follow_them_again():
    assert Config().detect.prepass == ("exact", "phash")
    assert Config().with_(model="open_clip:ViT-B-32").detect.prepass == ("exact",)
    assert Config().with_(embeddings_path="v").pairwise.which_to_keep == "hard"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"epss": 0.1}, "with_: unknown key 'epss'. Did you mean 'identify.eps'?"),
        ({"device": "cpu"}, "with_: 'device' is the name of several settings: embed.device, cluster.device, pair"),
        ({"eps": 95}, "identify.eps: Input should be less than 1 or 'auto', got 95."),
        ({"qqqqq": 1}, "with_: unknown key 'qqqqq'. `spark-imgdedup config` lists all keys."),
    ],
)
def test_a_wrong_change_says_what_would_be_right(changes, line):
    with pytest.raises(ConfigError) as refused:
        Config().with_(**changes)

    assert str(refused.value).startswith(line)


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: Config(inptu={"path": "in"}), "unknown key 'inptu'. Did you mean 'input'?"),
        (lambda: Config(identify={"esp": 0.1}), "unknown key 'identify.esp'. Did you mean 'identify.eps'?"),
        (lambda: Config().with_(esp=0.1), "with_: unknown key 'esp'. Did you mean 'identify.eps'?"),
        (lambda: load_config(None, ["esp=0.1"]), "--set: unknown key 'esp'. Did you mean 'identify.eps'?"),
        (lambda: IdentifyConfig(esp=0.1), "IdentifyConfig: unknown key 'esp'. Did you mean 'eps'?"),
        (lambda: InputConfig(storage_options="S"), "InputConfig: storage_options: Input should be a valid dictionary,"),
    ],
)
def test_a_mistake_is_named_the_same_way_wherever_it_is_made(make, line):
    with pytest.raises(ConfigError) as refused:
        make()

    assert str(refused.value).startswith(line)


@pytest.mark.parametrize("change", [{"eps": 95}, {"epss": 0.1}])
def test_a_copy_of_a_section_takes_no_wrong_value(change):
    with pytest.raises(ConfigError, match=r"^IdentifyConfig: .*eps"):
        Config().identify.model_copy(update=change)
    with pytest.raises(ConfigError):
        Config().model_copy(update={"identify": change})


def test_a_copy_changes_what_it_is_told_under_either_name():
    tables = Config(**GIVEN).tables

    assert tables.model_copy(update={"schema_name": "other"}) == tables.model_copy(update={"schema": "other"})
    assert tables.model_copy(update={"schema": "other"}).schema_name == "other"
    assert tables.model_copy() == tables


def test_a_copy_of_a_section_keeps_what_was_filled_in_from_other_settings():
    config = Config(**GIVEN)

    copied = config.input.model_copy(update={"id_field": "uid"})

    assert (copied.id_field, copied.storage_options) == ("uid", {"secret": "S"})
    assert config.pairwise.model_copy(update={"max_eps": 0.3}).which_to_keep == config.pairwise.which_to_keep == "best"
