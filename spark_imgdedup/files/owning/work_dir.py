"""Whose a work_dir is. No Spark.

A marker in it names the tables that this package wrote there. A folder of a table's name that is not among them is
somebody else's, and never overwritten. A hidden copy of the marker is written before it: one of the two is whole.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from spark_imgdedup.config import Config
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.files import storage, writing
from spark_imgdedup.files.owning.manifest import MANIFEST
from spark_imgdedup.files.owning.places import written_names

# A work_dir from before there were markers has records.
_RECORDS = "_steps"
_COPY = f".{MANIFEST}.copy"


def require_ours(config: Config, steps: Sequence[str]) -> None:
    """Look, before any work, whether these steps would overwrite something in work_dir that no run wrote.

    Raises:
        ConfigError: with its name; or work_dir is a file, or an output folder.
    """
    _look(config, steps)


def claim(config: Config, steps: Sequence[str]) -> None:
    """Say, before the first of them is written, that what these steps write in work_dir is ours.

    What an earlier run was writing there when it was killed is taken away.

    Raises:
        ConfigError: nothing can be written there, or what `require_ours` refuses.
    """
    there, ours = _look(config, steps)
    for name in ("", *(ours & there)):
        writing.clear_unfinished_in(storage.join(config.work_dir, name), config.storage_options)
    wanted = ours | set(written_names(steps))
    if wanted == ours and _marker(config, MANIFEST) is not None:
        return
    marker = {"format": "work_dir", "version": 1, "tables": sorted(wanted)}
    data = (json.dumps(marker, indent=1) + "\n").encode()
    try:
        for name in (_COPY, MANIFEST):
            writing.write_bytes(storage.join(config.work_dir, name), data, config.storage_options)
    except OSError as error:
        raise ConfigError(
            f"work_dir {config.work_dir} cannot be written to: {error.strerror or error}. Choose another, or make room "
            "or a way for it."
        ) from None


def _look(config: Config, steps: Sequence[str]) -> tuple[set[str], set[str]]:
    """The names in work_dir, and those of them that are ours, once none of the others would be overwritten."""
    if storage.is_file(config.work_dir, config.storage_options):
        raise ConfigError(f"work_dir {config.work_dir} is a file, not a folder. Choose another.")
    there = set(storage.names_in(config.work_dir, config.storage_options))
    ours = _ours(config, there)
    others = [name for name in written_names(steps) if name in there and name not in ours]
    if others:
        raise ConfigError(
            f"work_dir {config.work_dir} holds {', '.join(others)}, which no run of this package wrote there, and "
            "which this one would overwrite. Choose another work_dir, or move that away."
        )
    return there, ours


def _ours(config: Config, there: set[str]) -> set[str]:
    """The names that a run of ours has written, by its marker, or its copy; by its records where there is no marker."""
    markers = [_marker(config, name) for name in (MANIFEST, _COPY) if MANIFEST in there and name in there]
    if any("source" in marker for marker in markers if marker is not None):
        raise ConfigError(
            f"work_dir {config.work_dir} holds the dataset that a run has written. Choose another folder."
        )
    for marker in markers:
        if marker is not None and isinstance(marker.get("tables"), list):
            return {str(name) for name in marker["tables"]}
    if _RECORDS not in there:
        return set()
    if MANIFEST not in there:  # from before there were markers
        return set(there)
    names = storage.names_in(storage.join(config.work_dir, _RECORDS), config.storage_options)
    return set(written_names([name.removesuffix(".json") for name in names]))


def _marker(config: Config, name: str) -> dict[str, Any] | None:
    """None where it was cut off as it was written."""
    try:
        marker = json.loads(storage.read_text(storage.join(config.work_dir, name), config.storage_options))
    except (FileNotFoundError, ValueError):
        return None
    return marker if isinstance(marker, dict) else None
