"""Fingerprints: what a step's result depends on, so that an unchanged step is skipped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from spark_imgdedup.config import Config
from spark_imgdedup.config.steps import NO_RESULT, STEP, Source, hash_names
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.files import delta_log, storage
from spark_imgdedup.files.decisions import different_pairs
from spark_imgdedup.files.loose import list_images
from spark_imgdedup.files.npy import ids_beside
from spark_imgdedup.files.owning.restored import find_list
from spark_imgdedup.files.tars.shards import list_shards
from spark_imgdedup.models.identity import class_identity, encoder_identity, pixel_scorer_identity
from spark_imgdedup.runs.listed import Stamp, listed

# Raised when a step's result changes for the same settings: tables of an older version are then made again.
RESULT_VERSION = 3


def fingerprint(step: str, config: Config, built_on: Mapping[str, str], models: Mapping[str, str] | None = None) -> str:
    """A short hash of all that decides the result of `step`.

    Args:
        step: Its name.
        config: Its settings and input files count.
        built_on: The fingerprints that the steps it reads from recorded with their tables. Not what `config` would
            give them: what is there counts, whatever settings made it.
        models: What `models_of` says.

    Raises:
        ConfigError: the input is not there any more.
    """
    described = STEP[step]
    parts = {
        "version": RESULT_VERSION,
        "settings": {name: _settings(config, name) for name in described.sections},
        "also": described.also(config),
        "files": [stamp for source in described.sources if source in _STAMPS for stamp in _stamps(source, config)],
        "built_on": dict(built_on),
        "models": dict(models or {}),
    }
    if config.tables.schema_name is not None:  # the record of one schema's tables says nothing of another's
        parts["tables"] = _settings(config, "tables")
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def row_settings(step: str, config: Config, models: Mapping[str, str]) -> str:
    """A short hash of what decides the rows that `embed` or `hashes` makes of a file, whichever files there are.

    Names of rows count from `input.root`. Without one they count from the path given, which then decides them too.

    Args:
        step: The name of that step.
        config: Its settings count.
        models: What `models_of` says.
    """
    settings = {name: _settings(config, name) for name in STEP[step].sections}
    if config.input.root is not None:
        del settings["input"]["path"]
    parts = {
        "version": RESULT_VERSION,
        "settings": settings,
        "hashes": hash_names(config),
        "models": dict(models),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def models_of(step: str, config: Config) -> dict[str, str]:
    """By their specs, what tells the models of a step from others of those specs, as far as this machine knows.

    A driver of the steps after `embed` need not have the encoder: what it does not know, it believes the record.
    """
    sources, found = STEP[step].sources, dict[str, str | None]()
    if "encoder" in sources:
        found[config.embed.model] = encoder_identity(config.embed.model, config.embed.model_dir, config.storage_options)
    if "pixel_scorers" in sources:
        found |= {spec: pixel_scorer_identity(spec) for spec in config.embed.pixel_scorers}
    if "filters" in sources:
        specs = (each.scorer for each in config.score.scorers if each.scorer is not None)
        found |= {spec: class_identity(spec, "scorer") for spec in specs}
    return {spec: identity for spec, identity in found.items() if identity is not None}


def has_lost_input(step: str, config: Config) -> bool:
    """True where files that `step` has read are not there any more; its tables are then all that is left of them."""
    for source in STEP[step].sources:
        paths = _PATHS.get(source)
        if paths is None or not paths(config):
            continue
        try:
            if not _stamps(source, config):
                return True
        except ConfigError:
            return True
    return False


def input_stamps(config: Config) -> list[Stamp]:
    """What tells whether the files of the input have been changed: where each is, its bytes, when or which."""
    return list(_dataset(config))


def _stamps(source: Source, config: Config) -> tuple[Stamp, ...]:
    return listed(source, config, _STAMPS[source])


def _settings(config: Config, section: str) -> Any:
    return getattr(config, section).model_dump(mode="json", exclude=NO_RESULT.get(section))


def _dataset(config: Config) -> Iterable[Stamp]:
    if config.input.path is None:
        return ()
    if config.input.format == "webdataset":
        return ((shard.name, shard.n_bytes, shard.stamp) for shard in list_shards(config.input))
    if config.input.format == "images":
        return list_images(config.input)[0]
    return _table_files(config.input.paths, config, config.input.storage_options)


def _own_embeddings(config: Config) -> Iterable[Stamp]:
    path = config.cluster.embeddings_path
    if path is None:
        return ()
    beside = ((file.url, file.n_bytes, file.stamp) for file in ids_beside(path, config.storage_options))
    return (*_table_files([path], config, config.storage_options), *beside)


def _filters(config: Config) -> Iterable[Stamp]:
    return _files(config.score.heads.values(), config.storage_options)


def _ids(config: Config) -> Iterable[Stamp]:
    return _table_files(config.remove.paths, config, config.storage_options)


def _never(config: Config) -> Iterable[Stamp]:
    return _table_files(config.remove.never_paths, config, config.storage_options)


def _restored(config: Config) -> Iterable[Stamp]:
    found = find_list(config)
    return () if found is None else [(found.url, found.n_bytes, found.stamp)]


def _decisions(config: Config) -> Iterable[Stamp]:
    """What was called different, by its content: a line that says `same` changes no result."""
    pairs = different_pairs(config)
    said = hashlib.sha256(json.dumps(pairs).encode()).hexdigest()
    return (("decisions", len(pairs), said),) if pairs else ()


_STAMPS: dict[Source, Callable[[Config], Iterable[Stamp]]] = {
    "input": _dataset,
    "own_embeddings": _own_embeddings,
    "filters": _filters,
    "ids": _ids,
    "never": _never,
    "restored": _restored,
    "decisions": _decisions,
}
# What may be gone while the tables made from it are still good.
_PATHS: dict[Source, Callable[[Config], Iterable[str]]] = {
    "input": lambda config: () if config.input.path is None else config.input.paths,
    "own_embeddings": lambda config: [path] if (path := config.cluster.embeddings_path) else [],
    "filters": lambda config: list(config.score.heads.values()),
}


def _table_files(paths: Iterable[str], config: Config, options: Mapping[str, Any] | None = None) -> Iterable[Stamp]:
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


def _files(paths: Iterable[str], options: Mapping[str, Any] | None = None) -> Iterable[Stamp]:
    return ((file.url, file.n_bytes, file.stamp) for path in paths for file in storage.list_files(path, "", options))
