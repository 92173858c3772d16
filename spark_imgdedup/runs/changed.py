"""Which files of the input are not what was read of them any more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from spark_imgdedup.config import Config
from spark_imgdedup.errors import without_credentials
from spark_imgdedup.files import storage
from spark_imgdedup.files.loose import ImageFile, list_images, url_below
from spark_imgdedup.files.owning.places import PARTS
from spark_imgdedup.files.parts.part_files import sources_in
from spark_imgdedup.files.parts.plan import Source
from spark_imgdedup.files.tars.shards import Shard, input_root, list_shards

if TYPE_CHECKING:
    from spark_imgdedup.runs.tables import Tables


def changed_files(tables: Tables, config: Config, names: Sequence[str]) -> Iterator[str]:
    """Of these tars or loose images, those that are gone, or have changed since they were decoded, each in words.

    What has changed is known of files that `embed` or `detect` has decoded alone, and of no table.

    Args:
        tables: Of the run.
        config: `input` counts.
        names: Of shards, or of loose images.

    Raises:
        ConfigError: nothing is left of the input.
    """
    if config.input.format == "table":
        return
    listed = list_images(config.input)[0] if config.input.format == "images" else list_shards(config.input)
    there: dict[str, Shard | ImageFile] = {file.name: file for file in listed}
    known = _read_before(tables)
    for name in names:
        file = there.get(name)
        if file is None:
            yield f"{without_credentials(_place(name, config))} is gone"
        elif known and Source(file.name, file.n_bytes, file.stamp).digest not in known:
            yield f"{without_credentials(_place(name, config))} has changed"


def _place(name: str, config: Config) -> str:
    root = input_root(config.input)
    return url_below(root, name) if config.input.format == "images" else storage.join(root, f"{name}.tar")


def _read_before(tables: Tables) -> frozenset[bytes]:
    """The digests of the files that were decoded, as they were then."""
    options = tables.config.storage_options
    for name in ("embeddings", "hashes"):
        folder = tables.path(name if tables.is_folder(name) else storage.join(PARTS, name))
        if tables.record("embed" if name == "embeddings" else name) is not None:
            return sources_in(folder, options)
    return frozenset()
