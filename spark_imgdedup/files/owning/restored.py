"""restored.jsonl in a work_dir: the samples that were brought back, and that `remove` copies from then on. No Spark."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from spark_imgdedup.config import Config
from spark_imgdedup.files import storage, writing
from spark_imgdedup.files.id_lists import read_ids

RESTORED = "restored.jsonl"
# Of the list; remove.id_field is that of the user's own lists.
ID_FIELD = "image_id"


def list_place(config: Config) -> str:
    """Where the list is, as a user names it."""
    return storage.join(config.work_dir, RESTORED)


def find_list(config: Config) -> storage.FileInfo | None:
    """The list, or None where nothing was brought back yet."""
    return storage.look_at(storage.canonical(list_place(config)), config.storage_options)


def restored_ids(config: Config) -> Iterator[str]:
    """The image_ids of the list, in the order in which they were added.

    Raises:
        SchemaError: a line of it was changed into something else.
    """
    if find_list(config) is not None:
        ids = read_ids(storage.canonical(list_place(config)), ID_FIELD, config.storage_options)
        yield from (each for each in ids if each is not None)


def add_restored(config: Config, reasons: Mapping[str, str]) -> None:
    """Add samples to the list; a crash leaves the old list or the new one.

    Args:
        config: Names the work_dir.
        reasons: Why each was removed, by image_id.
    """
    place = storage.canonical(list_place(config))
    try:
        before = storage.read_text(place, config.storage_options)
    except FileNotFoundError:
        before = ""
    if before and not before.endswith("\n"):  # edited by hand
        before += "\n"
    lines = (json.dumps({ID_FIELD: image_id, "reason": why}) + "\n" for image_id, why in reasons.items())
    writing.write_bytes(place, (before + "".join(lines)).encode(), config.storage_options)
