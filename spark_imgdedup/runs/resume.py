"""Fingerprints: what a step's result depends on, so that an unchanged step is skipped.

Settings that bound memory or choose hardware (batch sizes, threads, device) never change a result and do not count.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from spark_imgdedup.config import Config
from spark_imgdedup.files import storage
from spark_imgdedup.files.shards import list_shards

# Raised when a step's result changes for the same settings: tables of an older version are then made again.
RESULT_VERSION = 1

_NO_RESULT = {
    "input": {"storage_options"},
    "embed": {"model_dir", "device", "batch_size", "decode_threads"},
    "cluster": {"train_threads"},
    "pairwise": {"batch_size"},
    "output": {"storage_options"},
}
# Steps whose results each step builds on, and the sections it reads itself.
_BUILDS_ON = {
    "embed": (),
    "cluster": ("embed",),
    "pairwise": ("cluster",),
    "identify": ("pairwise",),
    "remove": ("identify",),
}
_SECTIONS = {
    "embed": ("input", "table", "embed"),
    "cluster": ("cluster", "table"),
    "pairwise": ("pairwise", "table"),
    "identify": ("identify", "table"),
    "remove": ("input", "remove", "output", "table"),
}


def fingerprint(step: str, config: Config) -> str:
    """A short hash of all that decides the result of `step`: its settings, its input files, and the steps before it."""
    before = _BUILDS_ON[step]
    if step == "cluster" and config.own_embeddings:
        before = ()
    if step == "remove" and config.remove.ids_path is not None:
        before = ()
    parts = {
        "version": RESULT_VERSION,
        "settings": {name: _settings(config, name) for name in _SECTIONS[step]},
        "files": list(_input_files(step, config)),
        "before": [fingerprint(name, config) for name in before],
    }
    return _hash(parts)


def _settings(config: Config, section: str) -> Any:
    return getattr(config, section).model_dump(mode="json", exclude=_NO_RESULT.get(section))


def _input_files(step: str, config: Config) -> Iterable[tuple[str, int, str]]:
    if step in ("embed", "remove") and config.input.path is not None:
        yield from _dataset_files(config)
    if step == "embed" and (path := _weights_path(config.embed.model)):
        yield from _files([path])
    if step == "cluster" and config.cluster.embeddings_path is not None:
        yield from _files([config.cluster.embeddings_path])
    if step == "remove" and config.remove.ids_path is not None:
        yield from _files(
            [config.remove.ids_path] if isinstance(config.remove.ids_path, str) else config.remove.ids_path
        )


def _dataset_files(config: Config) -> Iterable[tuple[str, int, str]]:
    if config.input.format == "webdataset":
        return ((shard.name, shard.n_bytes, shard.stamp) for shard in list_shards(config.input))
    return _files(config.input.paths, config)


def _files(paths: Iterable[str], config: Config | None = None) -> Iterable[tuple[str, int, str]]:
    options = config.input.storage_options if config else None
    return ((file.url, file.n_bytes, file.stamp) for path in paths for file in storage.list_files(path, "", options))


def _weights_path(model: str) -> str | None:
    """The local files of a model that is named by path."""
    for prefix in ("onnx:", "open_clip:local-dir:"):
        if model.startswith(prefix):
            return model.removeprefix(prefix)
    return model.partition("@")[2] or None


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
