"""What can go wrong for a user.

ImgDedupError
  ConfigError   a setting is unknown, missing or out of range
  SchemaError   a table lacks a column a stage needs, or holds what it must not hold
  ShardError    a shard cannot be found or opened, or two samples have one id
  DeviceError   Spark gave the task no usable GPU
  ModelError    an encoder's weights are missing, or do not fit its settings
  CountsError   the counts of a run do not add up
  TableError    a table refuses a write, or somebody else has changed it meanwhile
  StorageError  a disk or a store is full, or does not let us in
  LeaseError    another run works on the same folder
  SparkError    Spark's workers or its JVM died, or lack a class
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

# Control characters, marks that turn the direction of text, lone surrogates, and what some terminals take for a new
# line. Source: Unicode's general categories.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# What stands for a secret in all that is shown or stored.
HIDDEN = "**********"
# scheme://user@ and scheme://user:password@, a slash in the password too; not the port of scheme://host:9000/a@b.
_USER = re.compile(r"([\w+.-]+)://([^/@\s:]*:(?!\d+(?:[/?]|$))[^@\s]*|[^/@\s]*)@")
# Schemes whose URLs have the name of a container there: abfss://container@account.dfs.core.windows.net.
_CONTAINERS = frozenset({"abfs", "abfss", "wasb", "wasbs"})
# ?sig=..., and ;token=... of sc://; in a glob, `?` stands for a letter, and no = follows it.
_QUERY = re.compile(r"(://[^\s?;]*[?;])[^\s/?;]*=[^\s'\"]*")


class ImgDedupError(Exception):
    """Base of all errors a user can fix; the command line prints them without a traceback.

    What it says may be shown anywhere: secrets in URLs and control characters are taken out of it.
    """

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(shown(each) if isinstance(each, str) else each for each in arguments))


class ConfigError(ImgDedupError):
    """A setting is unknown, missing or out of range."""


class SchemaError(ImgDedupError):
    """A table lacks a column a stage needs, or holds what it must not hold."""


class ShardError(ImgDedupError):
    """A shard cannot be found or opened, or two samples have one id."""


class DeviceError(ImgDedupError):
    """Spark gave the task no usable GPU."""


class ModelError(ImgDedupError):
    """An encoder's weights are missing, or do not fit its settings."""


class CountsError(ImgDedupError):
    """The counts of a run do not add up: something was lost, or written twice."""


class TableError(ImgDedupError):
    """A table refuses a write, or somebody else has changed it meanwhile."""


class StorageError(ImgDedupError):
    """A disk or a store is full, or does not let us in."""


class LeaseError(ImgDedupError):
    """Another run works on the same folder, or has taken it over."""


class SparkError(ImgDedupError):
    """Spark's workers or its JVM died, or lack a class."""


def printable(text: str) -> str:
    """A name from a file as one line that a terminal may see: what it would obey becomes an escape, as in Python."""
    if text.isprintable():
        return text
    return "".join(
        letter.encode("unicode_escape").decode() if unicodedata.category(letter) in _UNSEEN else letter
        for letter in text
    )


def without_credentials(text: str) -> str:
    """A text without what its URLs say to be let in: user and password, and the query, where signatures stand."""
    if "://" not in text:
        return text
    return _QUERY.sub(rf"\1{HIDDEN}", _USER.sub(_without_user, text))


def _without_user(found: re.Match[str]) -> str:
    scheme, user = found.groups()
    return found[0] if scheme.lower() in _CONTAINERS and ":" not in user else f"{scheme}://{HIDDEN}@"


def without_any_credentials(value: Any) -> Any:
    """A text, or what holds texts at any depth, `without_credentials`; anything else as it is."""
    if isinstance(value, str):
        return without_credentials(value)
    if isinstance(value, Mapping):
        return {key: without_any_credentials(each) for key, each in value.items()}
    return type(value)(map(without_any_credentials, value)) if isinstance(value, list | tuple) else value


def shown(text: str) -> str:
    """A text as it may be shown or logged: line by line `printable`, and `without_credentials`."""
    return re.sub(r"[^\n\t]+", lambda found: printable(found[0]), without_credentials(text))


def first_line(error: BaseException) -> str:
    """What a library said of an error, its first line and 300 characters at most; its type where it said nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
