"""What a session is told of a bucket; on Connect too."""

from __future__ import annotations

import logging

from spark_imgdedup.stages.object_stores import jvm_path

OPTIONS = {"key": "k", "secret": "recognisable", "endpoint_url": "http://127.0.0.1:1"}


def settings_of(spark, bucket):
    names = ("access.key", "secret.key", "endpoint", "path.style.access")
    return [spark.conf.get(f"fs.s3a.bucket.{bucket}.{name}", None) for name in names]


def test_two_buckets_may_have_two_owners(spark):
    assert jvm_path(spark, "s3://one/tables/a", OPTIONS) == "s3a://one/tables/a"
    assert jvm_path(spark, "s3a://two/b", OPTIONS | {"secret": "another"}) == "s3a://two/b"

    assert settings_of(spark, "one") == ["k", "recognisable", "http://127.0.0.1:1", "true"]
    assert settings_of(spark, "two") == ["k", "another", "http://127.0.0.1:1", "true"]


def test_spark_shows_no_secret_among_its_settings(spark):
    jvm_path(spark, "s3://three/a", OPTIONS)

    shown = {row["key"]: row["value"] for row in spark.sql("SET").collect()}

    assert shown["fs.s3a.bucket.three.endpoint"] == "http://127.0.0.1:1"
    assert "recognisable" not in str(shown)


def test_a_local_path_tells_nothing(spark, tmp_path, caplog):
    assert jvm_path(spark, str(tmp_path), OPTIONS) == str(tmp_path)
    assert caplog.messages == []


def test_other_options_for_a_bucket_that_the_session_knows_are_a_warning(spark, caplog):
    jvm_path(spark, "s3://four/a", OPTIONS)
    jvm_path(spark, "s3://four/b", OPTIONS)
    assert caplog.messages == []

    jvm_path(spark, "s3://four/b", OPTIONS | {"secret": "another"})

    (message,) = caplog.messages
    assert "bucket four" in message
    assert "another" not in message


def test_an_option_that_the_jvm_is_not_told_of_is_named_once_and_without_its_value(spark, caplog):
    caplog.set_level(logging.WARNING, "spark_imgdedup")
    for table in ("a", "b"):
        jvm_path(spark, f"s3://five/{table}", {"client_kwargs": {"verify": "/recognisable.pem"}})

    (message,) = caplog.messages
    assert "client_kwargs.verify" in message
    assert "recognisable" not in message
