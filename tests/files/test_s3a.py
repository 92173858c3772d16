"""s3fs's words in Hadoop's. That Hadoop understands them is shown in tests/object_stores."""

from __future__ import annotations

import re

import pytest

from spark_imgdedup.files.s3a import bucket_of, s3a_settings

# Source: Spark's default of spark.redaction.regex.
REDACTED = re.compile("(?i)secret|password|token|access[.]?key")
PROVIDER = "aws.credentials.provider"


def of_bucket(options, environment=None):
    settings, unknown = s3a_settings("b", options, environment or {})
    assert all(key.startswith("fs.s3a.bucket.b.") for key in settings)
    return {key.removeprefix("fs.s3a.bucket.b."): value for key, value in settings.items()}, unknown


@pytest.mark.parametrize(
    ("url", "bucket"),
    [("s3://a/b/c", "a"), ("s3a://a.b", "a.b"), ("gs://a/b", None), ("/s3/a", None), ("hdfs:///a", None)],
)
def test_a_bucket_is_that_of_s3_alone(url, bucket):
    assert bucket_of(url) == bucket


def test_nothing_is_said_where_nothing_is_given():
    assert of_bucket({}) == ({}, [])


def test_keys_are_said_with_who_reads_them():
    assert of_bucket({"key": "k", "secret": "s"})[0] == {
        "access.key": "k",
        "secret.key": "s",
        PROVIDER: "org.apache.hadoop.fs.s3a.SimpleAWSCredentialsProvider",
    }
    assert of_bucket({"username": "k", "password": "s", "token": "t"})[0] == {
        "access.key": "k",
        "secret.key": "s",
        "session.token": "t",
        PROVIDER: "org.apache.hadoop.fs.s3a.TemporaryAWSCredentialsProvider",
    }
    assert of_bucket({"anon": True})[0] == {PROVIDER: "org.apache.hadoop.fs.s3a.AnonymousAWSCredentialsProvider"}
    assert of_bucket({"profile": "team"})[0] == {
        "auth.profile.name": "team",
        PROVIDER: "org.apache.hadoop.fs.s3a.auth.ProfileAWSCredentialsProvider",
    }


def test_a_server_of_somebody_elses_gets_a_region_and_the_bucket_in_the_path():
    expected = {"endpoint": "https://minio:9000", "endpoint.region": "us-east-1", "path.style.access": "true"}

    assert of_bucket({"endpoint_url": "https://minio:9000"})[0] == expected
    assert of_bucket({"client_kwargs": {"endpoint_url": "https://minio:9000"}})[0] == expected
    assert of_bucket({"client_kwargs": {"endpoint_url": "https://minio:9000", "region_name": "eu-1"}})[0] == (
        expected | {"endpoint.region": "eu-1"}
    )


def test_the_endpoint_and_region_of_the_environment_count_where_the_options_have_none():
    environment = {"AWS_ENDPOINT_URL": "http://env:1", "AWS_DEFAULT_REGION": "eu-2", "AWS_SECRET_ACCESS_KEY": "s"}

    assert of_bucket({}, environment)[0] == {
        "endpoint": "http://env:1",
        "endpoint.region": "eu-2",
        "path.style.access": "true",
    }
    assert of_bucket({"endpoint_url": "http://own:2"}, environment)[0]["endpoint"] == "http://own:2"
    assert of_bucket({}, environment | {"AWS_ENDPOINT_URL_S3": "http://s3:3"})[0]["endpoint"] == "http://s3:3"
    assert of_bucket({}, {"AWS_DEFAULT_REGION": "eu-2"}) == ({}, [])  # Amazon's own needs no help


def test_encryption_payer_and_style_are_said_too():
    options = {
        "requester_pays": True,
        "use_ssl": False,
        "config_kwargs": {"s3": {"addressing_style": "virtual"}, "max_pool_connections": 50},
        "s3_additional_kwargs": {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "arn:1"},
        "endpoint_url": "http://own",
    }

    settings, unknown = of_bucket(options)

    assert unknown == []
    assert settings["requester.pays.enabled"] == "true"
    assert settings["connection.ssl.enabled"] == "false"
    assert settings["path.style.access"] == "false"
    assert settings["encryption.algorithm"] == "SSE-KMS"
    assert settings["encryption.key"] == "arn:1"


def test_what_has_no_word_is_named_without_its_value_and_what_is_pythons_own_is_not():
    options = {
        "client_kwargs": {"verify": False, "region_name": "eu-1"},
        "config_kwargs": {"proxies": {"http": "p"}},
        "s3_additional_kwargs": {"ServerSideEncryption": "AES256", "StorageClass": "GLACIER"},
        "session": object(),
        "default_block_size": 1,
        "use_listings_cache": True,
    }

    settings, unknown = of_bucket(options)

    assert unknown == ["client_kwargs.verify", "config_kwargs.proxies", "s3_additional_kwargs.StorageClass", "session"]
    assert settings == {"endpoint.region": "eu-1", "encryption.algorithm": "SSE-S3"}


def test_spark_itself_hides_every_setting_that_holds_a_secret():
    secret = {"key": "SECRET", "secret": "SECRET", "token": "SECRET"}
    nested = {"client_kwargs": dict.fromkeys(("aws_access_key_id", "aws_secret_access_key"), "SECRET")}

    for options in (secret, nested, {"username": "SECRET", "password": "SECRET"}):
        settings, _ = s3a_settings("b", options, {})
        shown = {key for key, value in settings.items() if value == "SECRET"}
        assert len(shown) >= 2
        assert all(REDACTED.search(key) for key in shown)
