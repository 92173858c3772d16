"""Which file system a URL is on. No Spark."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import fsspec
from fsspec import AbstractFileSystem

from spark_imgdedup.errors import ConfigError
from spark_imgdedup.files.walk import is_local, tidy

# fsspec's names of storage where a file appears whole, by one request, and a folder is only a part of a name.
OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl"})
# The extra of this package, or the library, that a kind of URL needs.
_INSTALL = {"s3": "'spark-imgdedup[s3]'", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "abfss": "adlfs"}

# Requests that a store is sent at a time: each waits for it, and costs this machine little.
REQUESTS_AT_ONCE = 32

Options = Mapping[str, Any]


def filesystem(url: str, options: Options | None = None) -> tuple[AbstractFileSystem, str]:
    """The file system of a URL, and the URL's path on it. s3a:// is Hadoop's name for s3://.

    Raises:
        ConfigError: the library for such URLs is not installed.
    """
    url = url.replace("s3a://", "s3://", 1)
    scheme = url.partition("://")[0] if "://" in url else "file"
    # A listing that is remembered would not show what Spark's JVM, or a worker, has written since.
    fresh: dict[str, Any] = {"use_listings_cache": False} if scheme in OBJECT_STORES else {}
    if scheme == "s3":  # whose library opens 10 connections
        given = (options or {}).get("config_kwargs") or {}
        fresh["config_kwargs"] = {"max_pool_connections": REQUESTS_AT_ONCE, **given}
    try:
        if scheme == "file" and "://" not in url:  # url_to_fs takes "a::b" for two URLs, one inside of the other
            fs = fsspec.filesystem("file", **(options or {}))
            return fs, tidy(fs._strip_protocol(os.fspath(url)))
        fs, path = fsspec.core.url_to_fs(url, **{**(options or {}), **fresh})
    except ImportError as error:
        remedy = f"Run `pip install {_INSTALL[scheme]}`" if scheme in _INSTALL else str(error)
        raise ConfigError(
            f"{url}: the library for {scheme}:// is not installed. {remedy}, here and on workers."
        ) from None
    except ValueError as error:
        if "Protocol not known" not in str(error):
            raise
        raise ConfigError(
            f"{url}: there is no storage {scheme}://. Correct the path; s3://, gs:// or hdfs:// are some."
        ) from None
    return fs, tidy(str(path)) if is_local(fs) else str(path)


def is_object_store(fs: AbstractFileSystem) -> bool:
    """True where a file appears whole, by one request, and a folder is only a part of a name."""
    return not OBJECT_STORES.isdisjoint((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)
