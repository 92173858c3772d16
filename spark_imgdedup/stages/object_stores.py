"""Paths for Spark's JVM, which opens object stores by itself and has to be told how."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from spark_imgdedup.files import storage
from spark_imgdedup.files.s3a import bucket_of, s3a_settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger("spark_imgdedup")

_WILD = re.compile(r"([\\*?\[\]{}])")


def jvm_path(spark: SparkSession, url: str, options: Mapping[str, Any] | None = None) -> str:
    """The URL as the JVM spells it, once the session knows what `options` say of its bucket.

    They become settings of the session at run time, which Spark hands to Hadoop with each query, on Connect too. A JVM
    goes on with what it has opened a bucket with first.
    """
    path = storage.spark_path(url)
    bucket = bucket_of(path)
    if bucket is not None:
        settings, unknown = s3a_settings(bucket, options or {})
        if unknown:
            _say_unknown(path.partition("://")[0], tuple(sorted(unknown)))
        _give(spark, settings, bucket)
    elif options and "://" in path:
        _say_unknown(path.partition("://")[0], tuple(sorted(options)))
    return path


def read_path(spark: SparkSession, url: str, options: Mapping[str, Any] | None = None) -> str:
    """`jvm_path` for a reader of Spark, which takes wildcards: a place that is there is itself, whatever its name."""
    return _WILD.sub(r"\\\1", jvm_path(spark, url, options))


def _give(spark: SparkSession, settings: Mapping[str, str], bucket: str) -> None:
    before = {key: spark.conf.get(key, None) for key in settings}
    for key, value in settings.items():
        if before[key] != value:
            spark.conf.set(key, value)
    if any(value not in (None, settings[key]) for key, value in before.items()):
        log.warning(
            "this Spark session had other options for the bucket %s before: what it has opened with them stays so "
            "until the session ends",
            bucket,
        )


@lru_cache(maxsize=32)  # once, not for each table
def _say_unknown(scheme: str, names: tuple[str, ...]) -> None:
    log.warning(
        "storage_options: %s: Spark's JVM is not told of this for %s://; set Hadoop's own words for it in spark: "
        "(docs/guide-object-stores.md)",
        ", ".join(names),
        scheme,
    )
