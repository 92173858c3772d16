"""The output folder: whose it is, and giving finished files their final names. No Spark.

A manifest in the folder lists what this package wrote there. A folder that holds anything else is never touched.

On an object store a file is copied to its final name, a request that waits for the store, and so are many at a time. It
is not written there at once, with the manifest to say when all are there: readers list the folder, and would find half
of a dataset among the files of the one before.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from spark_imgdedup.config import Config
from spark_imgdedup.errors import ConfigError, without_credentials
from spark_imgdedup.files import delta_log, storage, writing
from spark_imgdedup.files.copying.finished import Finished
from spark_imgdedup.files.filesystems import filesystem, is_object_store
from spark_imgdedup.files.owning.lease import require_held
from spark_imgdedup.files.owning.manifest import MANIFEST as MANIFEST
from spark_imgdedup.files.owning.manifest import TEMPORARY as TEMPORARY
from spark_imgdedup.files.owning.manifest import Target, other_files, read_manifest, write_manifest
from spark_imgdedup.files.owning.names import below
from spark_imgdedup.files.owning.places import require_apart
from spark_imgdedup.files.reach import obstacle
from spark_imgdedup.files.walk import is_local

# Up to so many files are asked for one by one, more by a listing of all. A store lists a thousand in one request.
MOST_ASKED, MOST_ASKED_OF_A_STORE = 1000, 10


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
    require_apart(config, ("remove",))
    _require_folder(path, config)
    if config.output.mode == "replace_where":
        _require_shared(path, config)
    else:
        require_own(_target(path, config))
    return storage.canonical(path)  # a worker's current folder is another one


def _require_folder(path: str, config: Config) -> None:
    """Look whether a local folder can be written to, or made."""
    place = storage.canonical(path)
    found = obstacle(place if "://" in place else os.path.realpath(place))
    if found is None:
        return
    place, what = found
    if what == "not writable":
        raise ConfigError(
            f"output.path {path}: {place} cannot be written to. Change its permissions, or choose another folder."
        )
    raise ConfigError(f"output.path {path}: {place} is {what}, not a folder. Choose another folder.")


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
    files = other_files(path, options)
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
        if files := other_files(path, target.options):
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
    return [without_credentials(storage.canonical(path)) for path in config.input.paths]


def is_published(config: Config) -> bool:
    """True where the output is complete and no file of it has gone missing."""
    path, options = config.output.path, config.output.storage_options
    manifest = read_manifest(path, options) if path else None
    if path is None or manifest is None or manifest["state"] != "complete":
        return False
    names = manifest["files"]
    fs, _ = filesystem(path, options)
    if len(names) <= (MOST_ASKED_OF_A_STORE if is_object_store(fs) else MOST_ASKED):
        return all(storage.exists(storage.join(path, name), options) for name in names)
    root = storage.canonical(path)
    return {storage.join(root, name) for name in names} <= {file.url for file in other_files(path, options)}


def finished_files(path: str, options: Mapping[str, Any]) -> Finished:
    """What of an output is finished and waits for its name."""
    return Finished(storage.join(path, TEMPORARY), options)


def begin(path: str, config: Config, wanted: Collection[str] | None = ()) -> None:
    """Say that work on the output starts: from now on what lies below `path` is ours, even after a crash.

    Args:
        path: From `output_path`.
        config: `input` and `output` count.
        wanted: The marks of finished files that may stay, see `files.copying.finished`; None: of all.
    """
    options = config.output.storage_options
    require_held(path)
    earlier = read_manifest(path, options)
    _clear_unwanted(path, options, wanted)  # of attempts that crashed; first, for they may have filled the disk
    write_manifest(_target(path, config), "publishing", earlier["files"] if earlier else [])


def publish_files(path: str, temporary_by_name: Mapping[str, str], config: Config) -> None:
    """Give written files their final names below `path`, and take away what an earlier run of ours left there."""
    publish(_target(path, config), temporary_by_name)


def publish(target: Target, temporary_by_name: Mapping[str, str], *, keep: frozenset[str] = frozenset()) -> None:
    """Give written files their final names, and take away what the manifest names beside them and `keep`.

    The manifest names the files before the first is moved: after a crash they are still known to be ours. What waits in
    `_temporary` goes last, so that a run after a crash need not make it again. A file may have its name already.

    Raises:
        LeaseError: another run has taken the folder over meanwhile.
    """
    path, options = target.path, target.options
    require_held(path)
    before = read_manifest(path, options)
    earlier = frozenset[str](before["files"] if before else ())
    _require_no_others(target, frozenset(temporary_by_name) - earlier)
    stale = earlier - set(temporary_by_name) - keep
    write_manifest(target, "publishing", {*temporary_by_name, *stale, *keep})
    place = storage.join(path, MANIFEST)
    _move_all({temporary: below(path, name, place) for name, temporary in sorted(temporary_by_name.items())}, options)
    storage.delete_files([below(path, name, place) for name in sorted(stale)], options)
    _sync_folders(path, {*temporary_by_name, *stale}, options)
    write_manifest(target, "complete", {*temporary_by_name, *keep})
    clear_temporary(path, options)


def _move_all(places: Mapping[str, str], options: Mapping[str, Any]) -> None:
    """Move files to their final names; a store copies them, many at a time, and `_temporary` goes later as a whole."""
    fs, _ = filesystem(next(iter(places), "."), options)
    moves = {temporary: final for temporary, final in places.items() if temporary != final}
    if is_object_store(fs):
        storage.at_once([partial(writing.copy, *each, options) for each in moves.items()])
        return
    for temporary, final in moves.items():
        writing.move(temporary, final, options)


def _sync_folders(path: str, names: Collection[str], options: Mapping[str, Any]) -> None:
    """Put on a local disk what was moved and deleted in the folders of these names, before a manifest says it is so."""
    if not is_local(filesystem(path, options)[0]):
        return
    folders = {posixpath.dirname(name) for name in names}
    while above := {posixpath.dirname(folder) for folder in folders} - folders:
        folders |= above
    for folder in sorted(folders):
        if storage.exists(storage.join(path, folder), options):
            writing.sync_folder(storage.join(path, folder), options)


def _require_no_others(target: Target, names: frozenset[str]) -> None:
    """Look, before anything is moved, whether files that we did not write have the names of new ones."""
    root = storage.canonical(target.path)
    there = {file.url[len(root.rstrip("/")) + 1 :] for file in other_files(target.path, target.options)} & names
    if there:
        raise ConfigError(
            f"output.path {target.path} holds {', '.join(sorted(there)[:3])}, which this package did not write, where "
            "the new dataset has a file of that name. Move it away, or choose another folder."
        )


def clear_temporary(
    path: str, options: Mapping[str, Any], job: str = "", wanted: Collection[str] | None = ()
) -> frozenset[str]:
    """Take away the temporary files below `path`, or those of one job; also what a cut write of the manifest left.

    A task that Spark has given up may write there meanwhile. What then stays is hidden, and goes the next time.

    Args:
        path: The output folder.
        options: Of its storage.
        job: A folder below `_temporary`: only this.
        wanted: The marks of finished files that stay; None: of all.

    Returns:
        The marks of those that stay.

    Raises:
        LeaseError: another run has taken the folder over, and what lies there is its own.
    """
    require_held(path)
    if job:
        with suppress(OSError):
            storage.delete(storage.join(path, TEMPORARY, job), options)
        return frozenset()
    kept = _clear_unwanted(path, options, wanted)
    with suppress(OSError):
        if not kept:
            storage.delete(storage.join(path, TEMPORARY), options)
        writing.sync_folder(path, options)  # else a power loss brings it back
    return kept


def _clear_unwanted(path: str, options: Mapping[str, Any], wanted: Collection[str] | None) -> frozenset[str]:
    """Take away what nobody needs but the manifest's copy: the manifest may be damaged."""
    kept = frozenset[str]()
    with suppress(OSError):
        kept = finished_files(path, options).clear_others(wanted)
    with suppress(OSError):
        writing.clear_unfinished(storage.join(path, MANIFEST), options)
    return kept
