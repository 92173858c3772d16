"""Fingerprints: what a step's result depends on, so that an unchanged step is skipped.

Settings that bound memory or choose hardware (batch sizes, threads, device) never change a result and do not count.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from spark_imgdedup.config import Config
from spark_imgdedup.files import delta_log, storage
from spark_imgdedup.files.shards import list_shards

# Raised when a step's result changes for the same settings: tables of an older version are then made again.
RESULT_VERSION = 1

_NO_RESULT = {
    "input": {"storage_options"},
    "embed": {"model_dir", "device", "batch_size", "decode_threads"},
    "pairwise": {"batch_size", "distance_metric"},
    "output": {"storage_options"},
}
# The sections that each step reads. `hashes` is no step: detect makes that table where the embeddings lack them.
_SECTIONS = {
    "embed": ("input", "table", "embed"),
    "score": ("score", "table"),
    "hashes": ("input", "table"),
    "detect": ("input", "detect", "pairwise", "table"),
    "cluster": ("cluster", "table"),
    "pairwise": ("pairwise", "table"),
    "identify": ("identify", "table", "detect", "pairwise"),
    "remove": ("input", "remove", "output", "table"),
}
_READ_THE_DATASET = ("embed", "hashes", "detect", "remove")

FileStamp = tuple[str, int, str]


def steps_before(step: str, config: Config) -> tuple[str, ...]:
    """The steps whose tables `step` reads."""
    images = () if config.own_embeddings else ("embed",)
    source = ("score",) if config.filters_first else images
    detect = ("detect",) if config.detect.prepass else ()
    before = {
        "embed": (),
        "score": images,
        "detect": ("score",) if config.filters_first else (),
        "cluster": source + detect,
        "pairwise": ("cluster",),
        "identify": ("pairwise", *detect) if config.detect.method == "embedding" else ("detect",),
        "remove": (("identify",) if config.uses_duplicates else ()) + (("score",) if config.uses_scores else ()),
    }
    return before[step]


def fingerprint(step: str, config: Config, built_on: Mapping[str, str]) -> str:
    """A short hash of all that decides the result of `step`.

    Args:
        step: Its name.
        config: Its settings and input files count.
        built_on: The fingerprints that the steps it reads from recorded with their tables. Not what `config` would
            give them: a step run alone reads the tables that are there, whatever settings made them.

    Raises:
        ConfigError: the input is not there any more.
    """
    parts = {
        "version": RESULT_VERSION,
        "settings": {name: _settings(config, name) for name in _sections(step, config)},
        "files": list(_input_files(step, config)),
        "built_on": dict(built_on),
    }
    if config.tables.schema_name is not None:  # the record of one schema's tables says nothing of another's
        parts["tables"] = _settings(config, "tables")
    if step == "hashes":
        parts["hashes"] = hash_names(config)
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def hash_names(config: Config) -> list[str]:
    """The hashes that the settings ask for, as the record of a table with hashes names them."""
    return [f"phash{config.detect.phash_bits}" if name == "phash" else name for name in sorted(config.detect.hashes)]


def _sections(step: str, config: Config) -> tuple[str, ...]:
    return (*_SECTIONS[step], "cluster") if step == "score" and config.own_embeddings else _SECTIONS[step]


def _settings(config: Config, section: str) -> Any:
    return getattr(config, section).model_dump(mode="json", exclude=_NO_RESULT.get(section))


def _input_files(step: str, config: Config) -> Iterable[FileStamp]:
    if step in _READ_THE_DATASET and config.input.path is not None:
        yield from _dataset_files(config)
    if step == "embed" and (path := _weights_path(config.embed.model)):
        yield from _files([path])
    if step in ("score", "cluster") and config.cluster.embeddings_path is not None:
        yield from _table_files([config.cluster.embeddings_path], config, config.storage_options)
    if step == "score":
        yield from _files(config.score.heads.values(), config.storage_options)
    if step == "remove":
        yield from _table_files(config.remove.paths, config, config.storage_options)


def _dataset_files(config: Config) -> Iterable[FileStamp]:
    if config.input.format == "webdataset":
        return ((shard.name, shard.n_bytes, shard.stamp) for shard in list_shards(config.input))
    if config.input.format == "images":
        return _files(config.input.paths, config.input.storage_options)
    return _table_files(config.input.paths, config, config.input.storage_options)


def _table_files(paths: Iterable[str], config: Config, options: Mapping[str, Any] | None = None) -> Iterable[FileStamp]:
    """Of a Delta table the commit that gave it its rows: its folder holds the files of older versions too.

    What a run has deleted from its own input is no news to it.
    """
    for path in paths:
        if delta_log.is_delta(path, options):
            work_dir = config.work_dir if config.deletes else None
            commit = delta_log.trace(path, options, work_dir=work_dir).origin.file
            yield commit.url, commit.n_bytes, commit.stamp
        else:
            yield from _files([path], options)


def _files(paths: Iterable[str], options: Mapping[str, Any] | None = None) -> Iterable[FileStamp]:
    return ((file.url, file.n_bytes, file.stamp) for path in paths for file in storage.list_files(path, "", options))


def _weights_path(model: str) -> str | None:
    """The local files of a model that is named by path."""
    for prefix in ("onnx:", "open_clip:local-dir:"):
        if model.startswith(prefix):
            return model.removeprefix(prefix)
    return model.partition("@")[2] or None
