"""s3fs's options in the words of Hadoop's S3A, for the JVM side of Spark. No Spark.

Per bucket (`fs.s3a.bucket.NAME.…`), so that two buckets may have two owners. Every key that holds a secret ends in
access.key, secret.key or session.token, which Spark's own `spark.redaction.regex` hides.
Source: Hadoop 3.4.2, "Hadoop-AWS module" and `org.apache.hadoop.fs.s3a.Constants`; s3fs 2026.9 for the other side.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

# What one side says in one word. client_kwargs may hold the same in boto's own names.
_WORDS = {
    "key": "access.key",
    "username": "access.key",
    "aws_access_key_id": "access.key",
    "secret": "secret.key",
    "password": "secret.key",
    "aws_secret_access_key": "secret.key",
    "token": "session.token",
    "aws_session_token": "session.token",
    "endpoint_url": "endpoint",
    "region_name": "endpoint.region",
    "use_ssl": "connection.ssl.enabled",
    "requester_pays": "requester.pays.enabled",
    "profile": "auth.profile.name",
}
# Of Python's side alone: buffers, caches and threads.
_PYTHON_ONLY = frozenset(
    {
        *("default_block_size", "default_fill_cache", "default_cache_type", "max_concurrency", "fixed_upload_size"),
        *("use_listings_cache", "listings_expiry_time", "max_paths", "skip_instance_cache", "cache_regions"),
        *("version_aware", "local_expiry_check", "asynchronous", "loop"),
    }
)
_PROVIDERS = "org.apache.hadoop.fs.s3a."
_ENCRYPTION = {"AES256": "SSE-S3", "aws:kms": "SSE-KMS"}
# What boto takes where neither it nor anybody else names a region; S3A would take another one.
DEFAULT_REGION = "us-east-1"


def bucket_of(url: str) -> str | None:
    """The bucket of an s3:// or s3a:// URL; None for any other place."""
    scheme, _, rest = url.partition("://")
    return rest.partition("/")[0] if scheme in ("s3", "s3a") else None


def s3a_settings(
    bucket: str, options: Mapping[str, Any], environment: Mapping[str, str] | None = None
) -> tuple[dict[str, str], list[str]]:
    """S3A's settings for one bucket, and the names of the options that S3A has no word for.

    Args:
        bucket: Its name.
        options: Of `s3fs.S3FileSystem`; empty leaves the credentials to S3A's own chain (environment, roles).
        environment: Where the endpoint and the region are looked for if `options` has none, as boto does; by default
            that of this process.
    """
    found, unknown = _translate(options)
    named = os.environ if environment is None else environment
    endpoint = found.get("endpoint") or named.get("AWS_ENDPOINT_URL_S3") or named.get("AWS_ENDPOINT_URL")
    if endpoint:
        region = named.get("AWS_DEFAULT_REGION") or named.get("AWS_REGION") or DEFAULT_REGION
        # Servers of others have no DNS name for each bucket.
        found = {"path.style.access": "true", "endpoint.region": region} | found | {"endpoint": endpoint}
    if provider := _provider(options, found):
        found["aws.credentials.provider"] = _PROVIDERS + provider
    return {f"fs.s3a.bucket.{bucket}.{name}": value for name, value in found.items()}, unknown


def _translate(options: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    found: dict[str, str] = {}
    unknown: list[str] = []
    for name, value in options.items():
        if value is None or name == "anon" or name in _PYTHON_ONLY:
            continue
        if name in _WORDS:
            found[_WORDS[name]] = _as_text(value)
            continue
        inner: tuple[dict[str, str], list[str]] = ({}, [""])
        if isinstance(value, Mapping):
            inner = {"client_kwargs": _translate, "config_kwargs": _config, "s3_additional_kwargs": _encryption}.get(
                name, lambda _: ({}, [""])
            )(value)
        found |= inner[0]
        unknown += [f"{name}.{each}" if each else name for each in inner[1]]
    return found, unknown


def _config(options: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Of botocore's Config: only where the bucket's name stands in a URL; the rest is about Python's connections."""
    style = options.get("s3", {}).get("addressing_style")
    found = {"path.style.access": str(style == "path").lower()} if style in ("path", "virtual") else {}
    return found, [name for name in options if name in ("proxies", "signature_version")]


def _encryption(options: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """What each written object is to be encrypted with."""
    algorithm = _ENCRYPTION.get(str(options.get("ServerSideEncryption")))
    found = {"encryption.algorithm": algorithm} if algorithm else {}
    if algorithm == "SSE-KMS" and "SSEKMSKeyId" in options:
        found["encryption.key"] = str(options["SSEKMSKeyId"])
    known = {"ServerSideEncryption", "SSEKMSKeyId"} if algorithm else set()
    return found, [name for name in options if name not in known]


def _provider(options: Mapping[str, Any], found: Mapping[str, str]) -> str | None:
    """Who gives S3A the credentials: said outright, since a cluster may have made another one the default."""
    if options.get("anon"):
        return "AnonymousAWSCredentialsProvider"
    if "access.key" in found and "secret.key" in found:
        return "TemporaryAWSCredentialsProvider" if "session.token" in found else "SimpleAWSCredentialsProvider"
    return "auth.ProfileAWSCredentialsProvider" if "auth.profile.name" in found else None


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
