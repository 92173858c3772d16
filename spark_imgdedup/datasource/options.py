"""The options of the format, which Spark hands over as text with lower-case names. No Spark."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from spark_imgdedup.config import InputConfig, parse_config
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.files import storage
from spark_imgdedup.files.owning.manifest import Target
from spark_imgdedup.stages.read import MAX_TASKS
from spark_imgdedup.stages.remove import DEFAULT_SAMPLES_PER_TAR

STORAGE_PREFIX = "storage."
# What the manifest says of a folder that DataFrames are written to.
SOURCE = ("a DataFrame",)
_INPUT = ("root", "image_member", "id_field", "max_image_bytes", "reorder")
_READ = ("path", "paths", *_INPUT, "max_partitions")
_WRITE = ("path", "samples_per_tar")


@dataclass(frozen=True)
class ReadOptions:
    """What is read, and in how many partitions at most."""

    input: InputConfig
    max_partitions: int


@dataclass(frozen=True)
class WriteOptions:
    """Where tars go, and how many samples each holds."""

    path: str
    samples_per_tar: int
    storage_options: Mapping[str, Any] = field(repr=False)

    @property
    def target(self) -> Target:
        """The folder, as publishing knows it."""
        return Target(self.path, SOURCE, "webdataset", self.storage_options)


def read_options(options: Mapping[str, str]) -> ReadOptions:
    """The options of a read.

    Raises:
        ConfigError: one is unknown or out of range, or there is no path.
    """
    _require_known(options, _READ, "read")
    path = json.loads(options["paths"]) if "paths" in options else options.get("path")
    if not path:
        raise ConfigError("webdataset: no path to read from. Name a folder, a tar or a glob: .load('data/shards').")
    settings = {name: options[name] for name in _INPUT if name in options}
    found = {"path": path, "format": "webdataset", "storage_options": _storage_options(options), **settings}
    return ReadOptions(parse_config({"input": found}, "webdataset").input, _count(options, "max_partitions", MAX_TASKS))


def write_options(options: Mapping[str, str]) -> WriteOptions:
    """The options of a write; its path is absolute.

    Raises:
        ConfigError: one is unknown or out of range, or there is no path.
    """
    _require_known(options, _WRITE, "write")
    if not options.get("path"):
        raise ConfigError("webdataset: no path to write to. Name a folder: .save('data/new').")
    per_tar = _count(options, "samples_per_tar", DEFAULT_SAMPLES_PER_TAR)
    return WriteOptions(storage.canonical(options["path"]), per_tar, _storage_options(options))


def _require_known(options: Mapping[str, str], known: tuple[str, ...], doing: str) -> None:
    for name in options:
        if name not in known and not name.startswith(STORAGE_PREFIX):
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise ConfigError(
                f"webdataset: unknown option '{name}'.{hint} A {doing} takes {', '.join(known)} and {STORAGE_PREFIX}…"
            )


def _count(options: Mapping[str, str], name: str, default: int) -> int:
    text = options.get(name, str(default))
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"webdataset: {name} must be a whole number of at least 1, got '{text}'.")
    return int(text)


def _storage_options(options: Mapping[str, str]) -> dict[str, Any]:
    return {
        name.removeprefix(STORAGE_PREFIX): _as_value(name, text)
        for name, text in options.items()
        if name.startswith(STORAGE_PREFIX)
    }


def _as_value(name: str, text: str) -> Any:
    """Text, unless it is true, false or a json object or list: a secret of digits must stay one."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if not text.startswith(("{", "[")):
        return text
    try:
        return json.loads(text)
    except ValueError:
        raise ConfigError(f"webdataset: {name} begins like json, but is none. Check its quotes and brackets.") from None
