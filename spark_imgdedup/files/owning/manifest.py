"""The manifest of an output folder: what this package wrote there, and from what. No Spark.

While files get their names a copy of it lies in `_temporary`, written before the manifest itself: whatever a power loss
cuts, one of the two is whole, and the copy names all that may have been moved by then.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from spark_imgdedup.errors import ConfigError
from spark_imgdedup.files import storage, writing
from spark_imgdedup.files.owning.names import require_inner

log = logging.getLogger(__name__)

MANIFEST = "_spark_imgdedup.json"
TEMPORARY = "_temporary"
_TEXTS = ("state", "format")
_LISTS = ("source", "files")


@dataclass(frozen=True)
class Target:
    """An output folder, and what makes its files ours."""

    path: str
    source: tuple[str, ...]  # what the output is made from
    format: str
    options: Mapping[str, Any] = field(repr=False)


def read_manifest(path: str, options: Mapping[str, Any]) -> dict[str, Any] | None:
    """What this package says it wrote below `path`, or None.

    One that is damaged is read from its copy, see above. Without a word in it, in a folder with nothing else, it counts
    as none: nothing can be lost there.

    Raises:
        ConfigError: it is damaged and there is no copy, is that of a work_dir, or names a file outside of the folder.
    """
    place, copy = storage.join(path, MANIFEST), storage.join(path, TEMPORARY, MANIFEST)
    text = _text(place, options)
    if text is None:
        return None
    manifest = _parsed(text)
    if manifest is None and (manifest := _parsed(_text(copy, options) or "")) is not None:
        log.warning("%s was damaged; its copy in %s says what is ours", place, TEMPORARY)
    if manifest is None and not text.strip() and not other_files(path, options):
        return None
    if manifest is None:
        raise ConfigError(
            f"{place}: damaged, so nobody can say which files there are ours and nothing there is touched. Delete the "
            "folder if it holds nothing but an earlier output of this package, or choose another."
        )
    if "tables" in manifest:
        raise ConfigError(f"{path} is the work_dir of a run. Choose another folder for the dataset.")
    for name in manifest["files"]:
        require_inner(name, place)
    return manifest


def write_manifest(target: Target, state: str, files: Iterable[str]) -> None:
    """Say what lies in the folder (state complete), or is about to (state publishing)."""
    manifest = {"source": target.source, "state": state, "format": target.format, "files": sorted(files)}
    data = (json.dumps(manifest, indent=1) + "\n").encode()
    if state != "complete":
        writing.write_bytes(storage.join(target.path, TEMPORARY, MANIFEST), data, target.options)
    writing.write_bytes(storage.join(target.path, MANIFEST), data, target.options)


def other_files(path: str, options: Mapping[str, Any]) -> list[storage.FileInfo]:
    """The files below `path` beside its manifest; none where there is no such folder."""
    if not storage.exists(path, options):
        return []
    manifest = storage.canonical(storage.join(path, MANIFEST))
    return [file for file in storage.list_files(path, "", options) if file.url != manifest]


def _text(place: str, options: Mapping[str, Any]) -> str | None:
    try:
        return storage.read_text(place, options)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError:
        return "not text"


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    if isinstance(found.get("tables"), list):
        return found
    is_whole = all(isinstance(found.get(name), str) for name in _TEXTS) and all(
        isinstance(found.get(name), list) for name in _LISTS
    )
    return found if is_whole and all(isinstance(name, str) for name in found["source"]) else None
