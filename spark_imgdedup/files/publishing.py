"""The output folder: whose it is, and giving finished files their final names. No Spark.

A manifest in the folder lists what this package wrote there. A folder that holds anything else is never touched.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from spark_imgdedup.config import Config
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.files import delta_log, storage

MANIFEST = "_spark_imgdedup.json"
TEMPORARY = "_temporary"


@dataclass(frozen=True)
class Target:
    """An output folder, and what makes its files ours."""

    path: str
    source: tuple[str, ...]  # what the output is made from
    format: str
    options: Mapping[str, Any] = field(repr=False)


def output_path(config: Config) -> str:
    """The output folder, once it is sure that writing there harms nothing.

    Raises:
        ConfigError: it is not set, overlaps the input, or holds files that this run did not write.
    """
    if config.deletes:
        return _table_to_delete_from(config)
    path = config.output.path
    if path is None:
        raise ConfigError("output.path is not set. Name the folder of the new dataset, or leave remove out of steps.")
    if config.input.format == "table" and config.output.format == "webdataset":
        raise ConfigError("output.format: a table has no tars to copy. Use parquet or delta.")
    for source in (*config.input.paths, *([config.input.root] if config.input.root else [])):
        source = storage.fixed_part(source)
        if storage.is_within(path, source) or storage.is_within(source, path):
            raise ConfigError(
                f"output.path {path} and the input {source} lie one within the other. Choose a folder beside the input."
            )
    if config.input.format == "images" and any(
        storage.is_within(config.work_dir, storage.fixed_part(source)) for source in config.input.paths
    ):
        raise ConfigError(
            f"work_dir {config.work_dir} lies within the input; its pictures would be read as images. Choose another."
        )
    if config.output.mode == "replace_where":
        _require_shared(path, config)
    else:
        require_own(_target(path, config))
    return storage.canonical(path)  # a worker's current folder is another one


def _table_to_delete_from(config: Config) -> str:
    path = config.input.paths[0]
    if not delta_log.is_delta(path, config.input.storage_options):
        raise ConfigError(
            f"output.mode: delete needs a Delta table, and {path} is none: it has no {delta_log.LOG}. Correct "
            "input.path, or set the mode to overwrite, with an output.path."
        )
    return storage.canonical(path)


def _require_shared(path: str, config: Config) -> None:
    """Of a table that several runs write to, none is the owner: it has no manifest."""
    options = config.output.storage_options
    if read_manifest(path, options) is not None:
        raise ConfigError(
            f"output.path {path} holds the dataset of a run with output.mode overwrite, which would write it "
            "anew whole and take this part away. Choose another table, and write all its parts with replace_where."
        )
    files = storage.list_files(path, "", options) if storage.exists(path, options) else []
    if files and not delta_log.is_delta(path, options):
        raise ConfigError(
            f"output.path {path} holds {len(files)} files and is no Delta table, so no part of it can be replaced. "
            "Name a Delta table or an empty folder."
        )


def _target(path: str, config: Config) -> Target:
    return Target(path, tuple(source_of(config)), config.output.format, config.output.storage_options)


def require_own(target: Target) -> dict[str, Any] | None:
    """The manifest of a folder, or None for one that is empty or new.

    Raises:
        ConfigError: it holds files that were not written for this target.
    """
    path = target.path
    manifest = read_manifest(path, target.options)
    if manifest is None:
        files = storage.list_files(path, "", target.options) if storage.exists(path, target.options) else []
        if files:
            raise ConfigError(
                f"output.path {path} holds {len(files)} files that this package did not write, such as {files[0].url}. "
                "Choose an empty folder: nothing there is ever overwritten."
            )
    elif manifest["source"] != list(target.source):
        raise ConfigError(
            f"output.path {path} holds the dataset made from {', '.join(manifest['source'])}. Choose another folder, "
            "or delete that one."
        )
    elif "delta" in {manifest["format"], target.format} and manifest["format"] != target.format:
        raise ConfigError(
            f"output.path {path} holds a dataset in the format {manifest['format']}, not {target.format}: "
            "a Delta table's log and other files do not mix. Choose another folder, or delete that one."
        )
    return manifest


def source_of(config: Config) -> list[str]:
    """What the output is made from, as its manifest says."""
    return [storage.canonical(path) for path in config.input.paths]


def read_manifest(path: str, options: Mapping[str, Any]) -> dict[str, Any] | None:
    """What this package says it wrote below `path`, or None."""
    try:
        manifest: dict[str, Any] = json.loads(storage.read_text(storage.join(path, MANIFEST), options))
    except FileNotFoundError:
        return None
    return manifest


def _write_manifest(target: Target, state: str, files: Iterable[str]) -> None:
    """Say what lies in the folder (state complete), or is about to (state publishing)."""
    manifest = {"source": target.source, "state": state, "format": target.format, "files": sorted(files)}
    data = (json.dumps(manifest, indent=1) + "\n").encode()
    storage.write_bytes(storage.join(target.path, MANIFEST), data, target.options)


def is_published(config: Config) -> bool:
    """True where the output is complete and no file of it has gone missing."""
    path, options = config.output.path, config.output.storage_options
    manifest = read_manifest(path, options) if path else None
    return (
        path is not None
        and manifest is not None
        and manifest["state"] == "complete"
        and all(storage.exists(storage.join(path, name), options) for name in manifest["files"])
    )


def begin(path: str, config: Config) -> None:
    """Say that work on the output starts: from now on what lies below `path` is ours, even after a crash."""
    earlier = read_manifest(path, config.output.storage_options)
    _write_manifest(_target(path, config), "publishing", earlier["files"] if earlier else [])


def publish_files(path: str, temporary_by_name: Mapping[str, str], config: Config) -> None:
    """Give written files their final names below `path`, and take away what an earlier run of ours left there."""
    publish(_target(path, config), temporary_by_name)


def publish(target: Target, temporary_by_name: Mapping[str, str], *, keep: frozenset[str] = frozenset()) -> None:
    """Give written files their final names, and take away what the manifest names beside them and `keep`.

    The manifest names the files before the first is moved: after a crash they are still known to be ours.
    """
    path, options = target.path, target.options
    before = read_manifest(path, options)
    stale = set(before["files"] if before else ()) - set(temporary_by_name) - keep
    _write_manifest(target, "publishing", {*temporary_by_name, *stale, *keep})
    for name, temporary in sorted(temporary_by_name.items()):
        storage.move(temporary, storage.join(path, name), options)
    for name in stale:
        storage.delete(storage.join(path, name), options)
    clear_temporary(path, options)
    _write_manifest(target, "complete", {*temporary_by_name, *keep})


def clear_temporary(path: str, options: Mapping[str, Any], job: str = "") -> None:
    """Take away the temporary files below `path`, or those of one job.

    A task that Spark has given up may write there meanwhile. What then stays is hidden, and goes the next time.
    """
    with suppress(OSError):
        storage.delete(storage.join(path, TEMPORARY, job) if job else storage.join(path, TEMPORARY), options)
