"""Secrets in settings and in paths: where they are shown, and what a stored configuration says of them."""

from __future__ import annotations

import pytest
import yaml

from spark_imgdedup.config import Config, load_config, parse_config
from spark_imgdedup.errors import HIDDEN, ConfigError, without_credentials
from spark_imgdedup.runs.counting import to_yaml

SECRET = "Seen/1234="
SPARK = (
    *(
        "spark.hadoop.fs.azure.account.key.a.dfs.core.windows.net",
        "spark.hadoop.fs.azure.sas.c.a.blob.core.windows.net",
    ),
    *("spark.hadoop.fs.gs.auth.service.account.private.key", "spark.hadoop.fs.s3a.server-side-encryption.key"),
    *(
        "spark.driver.extraJavaOptions",
        "spark.executorEnv.PGPASSWORD",
        "spark.ssl.keyStorePassword",
        "spark.my.setting",
    ),
    *("spark.hadoop.javax.jdo.option.ConnectionURL", "spark.executor.memory", "spark.sql.catalog.mine.credential"),
)
PLACES = (
    *("input.path", "work_dir", "output.path", "cluster.embeddings_path", "remove.ids_path", "remove.never"),
    *("score.aesthetic_head", "embed.model", "embed.model_dir", "input.root"),
)
URLS = (
    f"sftp://me:{SECRET}@host/x",
    f"https://{SECRET.replace('/', '_')}@host/x",
    f"https://host/x?sv=2024&sig={SECRET}",
    f"abfss://data:{SECRET}@a.dfs.core.windows.net/x",
)


def nested(name, value):
    section, _, key = name.partition(".")
    return {section: {key: value} if key else value}


def holds_no_secret(config):
    texts = [repr(config), str(config), to_yaml(config), config.model_dump_json(), str(config.model_dump())]
    texts += [repr(getattr(config, name)) for name in ("input", "output", "embed", "remove")]
    return not [text for text in texts if "Seen" in text]


@pytest.mark.parametrize("name", SPARK)
def test_a_spark_setting_is_stored_with_its_value_only_where_it_is_known_to_be_harmless(name):
    value = f"-Dx.Password={SECRET}" if "Java" in name else SECRET
    config = parse_config({"spark": {name: value}})

    assert holds_no_secret(config)
    assert config.spark[name] == value  # it is only hidden


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("name", PLACES)
def test_a_place_is_shown_without_what_its_url_says_to_be_let_in(name, url):
    others = {"score": {"aesthetic_head": "a"}} if name.startswith("score") else {}
    config = parse_config(others | nested(name, [url, "b"] if name == "remove.ids_path" else url))

    assert holds_no_secret(config)
    assert HIDDEN in to_yaml(config)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://user:ab/cd@bucket/x?sig=1: no such file", f"s3://{HIDDEN}@bucket/x?{HIDDEN} no such file"),
        ("sc://host:15002/;token=abc;user_id=me", f"sc://host:15002/;{HIDDEN}"),
        ("simplecache::https://me:pw@host/a.tar", f"simplecache::https://{HIDDEN}@host/a.tar"),
        ("abfss://data@a.dfs.core.windows.net/x", "abfss://data@a.dfs.core.windows.net/x"),
        ("hdfs://name:9000/a@b/c", "hdfs://name:9000/a@b/c"),
        ("s3://bucket/v1@2/part-?.tar", "s3://bucket/v1@2/part-?.tar"),
        ("s3://bucket/x?/date=2026-01-01/y", "s3://bucket/x?/date=2026-01-01/y"),
        ("in/me:you@home?a=b", "in/me:you@home?a=b"),
    ],
)
def test_only_what_lets_in_is_taken_out_of_a_url(text, shown):
    assert without_credentials(text) == shown
    assert str(ConfigError(text)) == shown


def test_what_is_harmless_is_stored_as_it_is():
    spark = {
        "spark.master": "local[2]",
        "spark.driver.memory": "4g",
        "spark.sql.adaptive.enabled": "true",
        "spark.executor.resource.gpu.amount": "1",
        "spark.jars.packages": "io.delta:delta-spark_4.1_2.13:4.4.0",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    }
    options = {"anon": True, "endpoint_url": "http://127.0.0.1:9", "client_kwargs": {"region_name": "eu-central-1"}}

    config = parse_config({"spark": spark, "storage_options": options})

    assert yaml.safe_load(to_yaml(config))["spark"] == spark
    assert yaml.safe_load(to_yaml(config))["storage_options"] == options


def test_a_stored_configuration_is_read_back_or_names_the_secrets_that_it_lacks(tmp_path):
    plain = {"input": {"path": ["a", "b"], "root": "."}, "storage_options": {"anon": True}, "identify": {"eps": 0.1}}
    secret = {
        "input": {"path": "sftp://me:pw@host/x"},
        "storage_options": {"anon": False, "client_kwargs": {"aws_secret_access_key": SECRET}},
        "spark": {"spark.my.setting": SECRET},
    }
    for name, settings in (("plain", plain), ("secret", secret)):
        (tmp_path / name).write_text(to_yaml(parse_config(settings)))

    assert load_config(str(tmp_path / "plain")) == parse_config(plain)
    with pytest.raises(ConfigError) as raised:
        load_config(str(tmp_path / "secret"))

    lines = str(raised.value).splitlines()
    names = ["input.path", "storage_options.client_kwargs.aws_secret_access_key", "spark.my.setting"]
    assert [name for name in names if any(f": {name}: was a secret" in line for line in lines)] == names
    again = load_config(
        str(tmp_path / "secret"),
        [
            *("input.path=sftp://me:pw@host/x", "spark.my.setting=new"),
            "storage_options={client_kwargs: {aws_secret_access_key: new}}",
        ],
    )
    assert again.storage_options == {"client_kwargs": {"aws_secret_access_key": "new"}}


def test_a_python_user_is_told_the_same():
    with pytest.raises(ConfigError, match=r"storage_options\.key: was a secret"):
        Config(storage_options={"key": HIDDEN})
