"""Settings: defaults, ranges, overrides, errors in words, and secrets that stay secret."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from spark_imgdedup.config import STEP_NAMES, Config, defaults_as_yaml, describe, load_config, parse_config
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.runs.counting import to_yaml

CONF = Path(__file__).parents[2] / "conf"
SECRET = "hunter2-do-not-print"

PROMISED_KEYS = {
    "input": {"path", "root", "format", "image_column", "image_member", "id_field", "storage_options"},
    "table": {"format", "embedding_type"},
    "embed": {"model", "model_dir", "device", "batch_size", "decode_threads", "precision", "preprocess"},
    "cluster": {"n_clusters", "sample_rows", "random_state", "embeddings_path", "id_field", "embedding_field"},
    "pairwise": {"which_to_keep", "batch_size"},
    "identify": {"eps", "rule"},
    "remove": {"ids_path", "id_field", "drop", "unreadable"},
    "output": {"path", "format", "repack", "storage_options"},
}


def error_of(*overrides, file=None):
    with pytest.raises(ConfigError) as caught:
        load_config(str(file) if file else None, overrides)
    return str(caught.value)


def test_every_promised_key_exists():
    promised = {f"{section}.{key}" for section, keys in PROMISED_KEYS.items() for key in keys}

    assert {name for name, _, _ in describe()} >= promised | {"steps", "work_dir", "spark"}


@pytest.mark.parametrize(("name", "meaning"), [(name, meaning) for name, _, meaning in describe()])
def test_every_key_has_a_meaning(name, meaning):
    assert len(meaning.split()) >= 3, name


def test_an_empty_configuration_is_the_defaults():
    assert load_config() == Config()
    assert Config().steps == STEP_NAMES


def test_the_printed_defaults_load_back_to_the_defaults(tmp_path):
    file = tmp_path / "all.yaml"
    file.write_text(defaults_as_yaml())

    assert load_config(str(file)) == Config()


@pytest.mark.parametrize("name", sorted(path.name for path in CONF.glob("*.yaml")))
def test_the_configurations_that_come_with_the_package_load(name):
    config = load_config(str(CONF / name))

    by_hand = name == "nemo.yaml"  # which is for images and for embeddings alike
    assert config.input.path is not None or config.own_embeddings or by_hand


def test_a_setting_cannot_be_changed_after_loading():
    with pytest.raises(ValueError, match="frozen"):
        Config().embed.batch_size = 3


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("embed.batchsize=3", "--set: unknown key 'embed.batchsize'. Did you mean 'embed.batch_size'?"),
        ("eps=0.1", "--set: unknown key 'eps'. Did you mean 'identify.eps'?"),
        ("embed.eps=0.1", "--set: unknown key 'embed.eps'. Did you mean 'identify.eps'?"),
        ("clusters.n=3", "--set: unknown key 'clusters'. Did you mean 'cluster'?"),
        ("batch_size=3", "--set: unknown key 'batch_size'. Did you mean 'embed.batch_size' or 'pairwise.batch_size'?"),
        ("embed.preprocess.siz=3", "--set: unknown key 'embed.preprocess.siz'. Did you mean 'embed.preprocess.size'?"),
        ("zzqqkk=3", "--set: unknown key 'zzqqkk'. `spark-imgdedup config` lists all keys."),
    ],
)
def test_an_unknown_key_is_refused_with_the_one_that_was_meant(override, said):
    assert error_of(override) == said


@pytest.mark.parametrize(
    "override",
    [
        "identify.eps=1",
        "identify.eps=-0.1",
        "identify.eps=.nan",
        "identify.eps=often",
        "identify.eps=off",
        "identify.rule=best",
        "embed.batch_size=0",
        "embed.batch_size=yes",
        "embed.batch_size=1.5",
        "embed.decode_threads=0",
        "embed.device=tpu",
        "embed.precision=int8",
        "embed.preprocess.size=0",
        "cluster.n_clusters=0",
        "cluster.n_clusters=many",
        "cluster.sample_rows=0",
        "cluster.random_state=on",
        "cluster.embeddings_path=''",
        "pairwise.which_to_keep=worst",
        "pairwise.batch_size=0",
        "table.format=csv",
        "table.embedding_type=float64",
        "input.format=zip",
        "input.path=[]",
        "input.path=''",
        "input.max_image_bytes=0",
        "remove.drop=[copies]",
        "remove.unreadable=maybe",
        "output.repack=0",
        "output.path=''",
        "work_dir=''",
        "spark=3",
        "embed=3",
        "steps=[]",
        "steps=[identify, cluster]",
        "steps=[embed, embed]",
        "steps=[paint]",
    ],
)
def test_a_value_out_of_range_is_refused_in_one_line_that_names_its_key(override):
    said = error_of(override)

    assert said.startswith(f"--set: {override.partition('=')[0]}: ")
    assert "\n" not in said
    assert ", got " in said


def test_the_allowed_words_and_the_value_are_in_the_error():
    assert error_of("identify.eps=1.5") == "--set: identify.eps: Input should be less than 1 or 'auto', got 1.5."
    assert error_of("embed.device=tpu") == "--set: embed.device: Input should be 'auto', 'cpu' or 'gpu', got 'tpu'."


def test_every_mistake_of_a_file_has_a_line_of_its_own(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("embed: {batch_size: 0, devise: cpu}\nidentify: {eps: 2}\n")

    lines = error_of(file=file).split("\n")

    assert len(lines) == 3
    assert [line.partition(": ")[0] for line in lines] == [f"{file}, line 1", f"{file}, line 1", f"{file}, line 2"]
    assert [line for line in lines if "embed.batch_size" in line and line.endswith("got 0.")]
    assert [line for line in lines if "'embed.devise'" in line]
    assert [line for line in lines if "identify.eps" in line and line.endswith("got 2.")]


def test_an_override_comes_before_the_file(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("embed: {batch_size: 8, device: cpu}\nwork_dir: here\n")

    config = load_config(str(file), ["embed.batch_size=4"])

    assert (config.embed.batch_size, config.embed.device, config.work_dir) == (4, "cpu", "here")


def test_values_of_overrides_are_yaml():
    config = load_config(
        None,
        [
            "cluster.n_clusters=12",
            "identify.eps=1e-3",
            "embed.model_dir=null",
            "input.path=[a, 'b c']",
            "input.storage_options.client_kwargs.endpoint_url=http://localhost:1",
            "work_dir=a=b",
        ],
    )

    assert config.cluster.n_clusters == 12
    assert config.identify.eps == 0.001
    assert config.embed.model_dir is None
    assert config.input.paths == ("a", "b c")
    assert config.input.storage_options == {"client_kwargs": {"endpoint_url": "http://localhost:1"}}
    assert config.work_dir == "a=b"


@pytest.mark.parametrize("eps", [0, 0.0, "0"])
def test_an_eps_of_zero_is_a_float_whatever_its_spelling(eps):
    found = parse_config({"identify": {"eps": eps}}).identify.eps

    assert found == 0.0
    assert isinstance(found, float)


@pytest.mark.parametrize("override", ["spark.driver.memory=4g", "spark.spark.driver.memory=4g"])
def test_what_follows_spark_is_one_name_with_its_dots(override):
    assert load_config(None, [override]).spark == {"spark.driver.memory": "4g"}


def test_numbers_and_booleans_reach_spark_as_its_own_words():
    config = load_config(None, ["spark.sql.shuffle.partitions=8", "spark.ui.enabled=false"])

    assert config.spark == {"spark.sql.shuffle.partitions": "8", "spark.ui.enabled": "false"}


def test_a_spark_setting_in_a_file_needs_its_full_name():
    with pytest.raises(ConfigError, match=r"found driver\.memory"):
        parse_config({"spark": {"driver.memory": "4g"}})


def test_a_section_whose_lines_are_all_commented_out_is_the_defaults(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("embed:\n#  batch_size: 3\nspark:\n")

    assert load_config(str(file)) == Config()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("embed: [1", "line 1: not valid YAML"),
        ("- a\n- b\n", "expected sections such as 'input:'"),
        ("just words", "expected sections such as 'input:'"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_by_name(tmp_path, text, said):
    file = tmp_path / "mine.yaml"
    file.write_text(text)

    message = error_of(file=file)

    assert message.startswith(str(file))
    assert said in message


def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path):
    (tmp_path / "latin.yaml").write_bytes(b"work_dir: caf\xe9")

    assert "no such file" in error_of(file=tmp_path / "absent.yaml")
    assert "cannot be read" in error_of(file=tmp_path)
    assert "cannot be read" in error_of(file=tmp_path / "latin.yaml")


@pytest.mark.parametrize("override", ["embed.batch_size", "=3", "a..b=1", "input.path=[a"])
def test_an_override_that_is_none_says_what_one_looks_like(override):
    assert error_of(override).startswith("--set")


def test_an_input_that_is_not_set_is_named_when_it_is_needed():
    with pytest.raises(ConfigError, match=r"input\.path is not set.*--set input\.path="):
        _ = Config().input.paths


def test_secrets_are_in_no_text_made_from_a_configuration():
    config = parse_config(
        {
            "input": {"path": "s3://bucket/x", "storage_options": {"key": SECRET, "nested": {"secret": SECRET}}},
            "output": {"storage_options": {"token": SECRET}},
            "spark": {"spark.hadoop.fs.s3a.secret.key": SECRET, "spark.hadoop.fs.s3a.access.key": SECRET},
        }
    )

    texts = [repr(config), str(config), to_yaml(config), config.model_dump_json(), str(config.model_dump())]
    texts += [repr(config.input), str(config.output), f"{config.input!r}"]

    assert not [text for text in texts if SECRET in text]
    assert config.input.storage_options["key"] == SECRET  # it is only hidden
    assert config.spark["spark.hadoop.fs.s3a.secret.key"] == SECRET
    assert yaml.safe_load(to_yaml(config))["input"]["storage_options"] == {
        "key": "**********",
        "nested": {"secret": "**********"},
    }


@pytest.mark.parametrize(
    "override",
    [
        f"input.storage_options={SECRET}",
        f"input.storage_options.key=[{SECRET}",
        f"input.storage_option.key={SECRET}",
        f"inputs.storage_options.key={SECRET}",
        f"input={SECRET}",
        f"spark=[{SECRET}]",
    ],
)
def test_secrets_are_in_no_error(override):
    assert SECRET not in error_of(override)


def test_a_secret_on_a_broken_line_of_a_file_is_not_quoted(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(f"input:\n  storage_options: {{key: '{SECRET}}}\n")

    assert SECRET not in error_of(file=file)


def test_mistakes_in_python_are_told_in_our_words_and_without_secrets():
    with pytest.raises(ConfigError) as caught:
        Config(input={"storage_options": SECRET}, embed={"batch_size": 0, "modell": "x"})

    assert str(caught.value).splitlines() == [
        "input.storage_options: Input should be a valid dictionary, got str.",
        "embed.batch_size: Input should be greater than or equal to 1, got 0.",
        "unknown key 'embed.modell'. Did you mean 'embed.model'?",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("input:\n  path: a\nwork_dir: w\ninput:\n  format: images\n", 4),
        ("embed:\n  batch_size: 8\n  # more\n  batch_size: 16\n", 4),
        ("spark: {spark.a: 1, spark.a: 2}\n", 1),
    ],
)
def test_a_key_that_stands_twice_is_refused_with_its_line(tmp_path, text, line):
    file = tmp_path / "mine.yaml"
    file.write_text(text)

    said = error_of(file=file)
    assert re.search(rf"mine\.yaml, line {line}: not valid YAML: the key '[\w.]+' stands in line [12] too", said)


def test_a_key_that_stands_twice_in_a_value_of_the_command_line_is_refused_too():
    assert "has a key twice" in error_of("spark={spark.a: 1, spark.a: 2}")


@pytest.mark.parametrize("value", ["null", "[1]", "{a: 1}"])
def test_a_spark_setting_is_text_a_number_or_true_or_false(value):
    assert "takes text, numbers, true and false; spark.a is" in error_of(f"spark.a={value}")
    assert load_config(None, ["spark.a=1e3", "spark.b=yes"]).spark == {"spark.a": "1e3", "spark.b": "true"}


def test_a_mistake_is_blamed_on_where_it_was_made(tmp_path):
    file = tmp_path / "dedup.yaml"
    file.write_text("input:\n  path: in\n\nembed:\n  batch_size: -3\noutput:\n  format: parquet\noutptu: {}\n")
    overrides = ["identify.eps=95", "output.mode=replace_where", "foo.bar=1", "embed.precision=fp8"]

    with pytest.raises(ConfigError) as error:
        load_config(str(file), overrides)

    # what is wrong with a value, or a name, hides what is wrong between sections
    assert [line.partition(": ")[::2] for line in str(error.value).splitlines()] == [
        (f"{file}, line 5", "embed.batch_size: Input should be greater than or equal to 1, got -3."),
        ("--set", "embed.precision: Input should be 'fp32', 'bf16' or 'fp16', got 'fp8'."),
        ("--set", "identify.eps: Input should be less than 1 or 'auto', got 95."),
        (f"{file}, line 8", "unknown key 'outptu'. Did you mean 'output'?"),
        ("--set", "unknown key 'foo'. `spark-imgdedup config` lists all keys."),
    ]
    file.write_text("output:\n  format: parquet\n")
    with pytest.raises(ConfigError) as error:
        load_config(str(file), overrides[1:2])
    # what the mode lacks, and the format that it cannot go with: without the override both would be right
    assert [line.partition(": ")[0] for line in str(error.value).splitlines()] == ["--set", "--set"]
