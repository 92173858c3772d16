"""What of the settings may be shown or stored: what is known to be harmless. All else may be a secret."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from spark_imgdedup.errors import HIDDEN, without_any_credentials, without_credentials

# Options of fsspec's file systems that say where and how, and not who.
HARMLESS_OPTIONS = frozenset(
    {
        *("anon", "endpoint_url", "region_name", "use_ssl", "verify", "signature_version", "addressing_style"),
        *("requester_pays", "default_block_size", "default_fill_cache", "max_concurrency", "retries", "timeout"),
        *("connect_timeout", "read_timeout", "account_name", "project", "consistency", "host", "port"),
    }
)
# Spark settings whose values are names, places and versions.
_NAMES = frozenset(
    {
        *("spark.master", "spark.remote", "spark.app.name", "spark.submit.deployMode", "spark.log.level"),
        *("spark.jars", "spark.jars.packages", "spark.jars.excludes", "spark.jars.repositories", "spark.jars.ivy"),
        *("spark.files", "spark.archives", "spark.submit.pyFiles", "spark.plugins", "spark.serializer"),
        *("spark.sql.extensions", "spark.sql.warehouse.dir", "spark.sql.session.timeZone", "spark.local.dir"),
        *("spark.eventLog.dir", "spark.pyspark.python", "spark.pyspark.driver.python", "spark.driver.host"),
        *("spark.driver.bindAddress", "spark.kubernetes.container.image", "spark.kubernetes.namespace"),
        *("spark.scheduler.mode", "spark.sql.sources.partitionOverwriteMode", "spark.yarn.queue"),
    }
)
_CATALOG = re.compile(r"spark\.sql\.catalog\.\w+")  # its class; what is below that name is for the class to know
# Spark settings that are numbers, sizes, times, yes or no, which no secret in their place would look like.
_NUMBERS = re.compile(
    r"spark\.(driver|executor|task|memory|storage|shuffle|reducer|dynamicAllocation|speculation|locality|scheduler|rpc|"
    r"network|default|broadcast|rdd|io|kryoserializer|python|ui|eventLog|cleaner|excludeOnFailure|stage|rapids|"
    r"sql\.(adaptive|shuffle|files|parquet|execution|autoBroadcastJoinThreshold|broadcastTimeout|legacy|ansi|"
    r"inMemoryColumnarStorage|codegen|debug|optimizer|streaming|caseSensitive|cbo|join|sources)|databricks\.delta|"
    r"hadoop\.fs\.s3a\.(connection|threads|fast|multipart|block|readahead|attempts|retry|path\.style|paging|max))"
    r"[.\w]*"
)
_SECRET_KEY = re.compile(r"secret|passw|token|credential|key(?!.*enabled)|sas|auth", re.IGNORECASE)
_NUMBER = re.compile(r"true|false|-?\d{1,12}(\.\d+)?[a-zA-Z]{0,3}")


def shown_spark(settings: Mapping[str, str]) -> dict[str, str]:
    """Spark settings by their names, with the values that are known to be harmless."""
    return {key: without_credentials(value) if _is_harmless(key, value) else HIDDEN for key, value in settings.items()}


def _is_harmless(key: str, value: str) -> bool:
    if key in _NAMES or _CATALOG.fullmatch(key):
        return True
    return bool(_NUMBERS.fullmatch(key) and _NUMBER.fullmatch(value) and not _SECRET_KEY.search(key))


def shown_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Storage options by their names, nested ones too, with the values that are known to be harmless."""
    return {
        key: shown_options(value)
        if isinstance(value, Mapping)
        else without_any_credentials(value)
        if key in HARMLESS_OPTIONS
        else HIDDEN
        for key, value in options.items()
    }


def shown_paths(paths: Sequence[str]) -> str:
    """What a dataset is called on a page: its paths, without secrets."""
    return ", ".join(map(without_credentials, paths))


def hidden_settings(settings: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """The settings, as they are written with dots, whose values were hidden when they were stored."""
    for key, value in settings.items():
        name = str(key) if str(key).startswith("spark.") else f"{above}{key}"
        if isinstance(value, Mapping):
            yield from hidden_settings(value, f"{name}.")
        elif HIDDEN in (value if isinstance(value, str) else repr(value)):
            yield name


def without_hidden(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without those whose values were hidden when they were stored."""
    return {
        key: without_hidden(value) if isinstance(value, Mapping) else value
        for key, value in settings.items()
        if isinstance(value, Mapping) or HIDDEN not in repr(value)
    }
