"""dataset -> the files of a few images: only the shards that hold them are read, and of those only these images' bytes.

The bytes go from the worker to storage, never through the JVM.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from spark_imgdedup import schemas
from spark_imgdedup.config import Config, InputConfig
from spark_imgdedup.files import storage
from spark_imgdedup.files.shards import (
    Member,
    Sample,
    Shard,
    choose_image,
    input_root,
    iter_samples,
    list_shards,
    sample_id,
    split_name,
)
from spark_imgdedup.files.tar_stream import DamagedTarError, TarStream
from spark_imgdedup.stages.columns import id_as_text, quoted
from spark_imgdedup.stages.read import map_shards
from spark_imgdedup.stages.user_tables import open_table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# One row per image found; file is null where problem says why. A damaged shard is a row with its name and no image_id.
SAVED = "image_id string, shard string, file string, suffix string, problem string"
Saved = dict[str, str | None]
# The keys of each shard that are wanted; None wants any, since ids of a json field say nothing about keys.
Places = Mapping[str, frozenset[str] | None]


@dataclass(frozen=True)
class _Target:
    """Where the files go, and with which storage options."""

    folder: str
    options: Mapping[str, Any] = field(repr=False)


def save_images(
    spark: SparkSession, config: Config, ids: frozenset[str], folder: str, places: Places | None = None
) -> DataFrame:
    """Write the files of some images into `folder`, and say which were found: see SAVED. An id may be missing.

    Args:
        spark: The session.
        config: `input` says what kind of dataset it is; `storage_options` are those of `folder`.
        ids: image_ids.
        folder: On storage that workers reach too.
        places: For tars, where the images lie, if that is known: shards that are not named are not opened.

    Raises:
        ConfigError: nothing is found at input.path.
        SchemaError: the table lacks its id or image column.
    """
    to = _Target(folder, config.storage_options)
    if config.input.format == "table":
        return _save_from_table(spark, config.input, ids, to)
    if config.input.format == "images":
        return _save_loose(spark, config.input, ids, to)
    shards = list_shards(config.input)
    places = _places_by_name(shards, ids) if places is None and config.input.id_field is None else places
    chosen = [shard for shard in shards if places is None or shard.name in places]

    def save(some: Iterator[Shard]) -> Iterator[pa.RecordBatch]:
        for shard in some:
            keys = None if places is None else places[shard.name]
            yield _batch(_save_from_shard(shard, config.input, keys, ids, to))

    if not chosen:
        return spark.createDataFrame([], SAVED)
    return map_shards(spark, chosen, save, SAVED)


def _places_by_name(shards: list[Shard], ids: frozenset[str]) -> Places:
    """Where ids made of shard and key may lie: any part of an id that ends before a slash may be the shard's name."""
    names = {shard.name for shard in shards}
    found: dict[str, set[str]] = {}
    for image_id in ids:
        for place in (at for at, character in enumerate(image_id) if character == "/"):
            if image_id[:place] in names:
                found.setdefault(image_id[:place], set()).add(image_id[place + 1 :])
    return {name: frozenset(keys) for name, keys in found.items()}


def _save_from_shard(
    shard: Shard, config: InputConfig, keys: frozenset[str] | None, ids: frozenset[str], to: _Target
) -> Iterator[Saved]:
    def wanted(member: Member) -> bool:
        split = split_name(member.info.name)
        is_near = keys is None or (split is not None and split[0] in keys)
        return is_near and (member.is_image or (config.id_field is not None and member.is_sidecar))

    left = None if keys is None else set(keys)
    with storage.open_read(shard.url, config.storage_options) as stream:
        try:
            for sample in iter_samples(TarStream(stream), wanted, max_bytes=config.max_image_bytes):
                if left is not None:
                    if sample.key not in left:
                        continue
                    left.remove(sample.key)
                image_id, _ = sample_id(shard.name, sample, config.id_field)
                if image_id in ids:
                    yield _save_image(image_id, sample, config, to) | {"shard": shard.name}
                if left is not None and not left:
                    return
        except DamagedTarError as error:
            yield {"shard": shard.name, "problem": f"{shard.url}: {error}"}


def _save_image(image_id: str, sample: Sample, config: InputConfig, to: _Target) -> Saved:
    image = choose_image(sample, config.image_member)
    if isinstance(image, str):
        return {"image_id": image_id, "problem": image}
    if image.data is None:
        is_large = image.info.size > config.max_image_bytes
        problem = "larger than input.max_image_bytes" if is_large else "the shard ends inside this image"
        return {"image_id": image_id, "problem": problem}
    return _saved(image_id, image.data, image.suffix.rpartition(".")[2], to)


def _save_from_table(spark: SparkSession, config: InputConfig, ids: frozenset[str], to: _Target) -> DataFrame:
    from pyspark.sql import functions as F

    table = open_table(spark, config.paths, config.storage_options)
    schemas.require(table, {config.image_column: "binary"}, stage="sample")
    image_id = id_as_text(table, config.id_field or "image_id", "input.id_field")
    rows = table.where(image_id.isin(sorted(ids))).select(
        image_id.alias("image_id"), F.col(quoted(config.image_column))
    )

    def save(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            pairs = zip(*(column.to_pylist() for column in batch.columns), strict=True)
            yield _batch(
                {"image_id": name, "problem": "no_image"} if data is None else _saved(name, data, None, to)
                for name, data in pairs
            )

    return rows.mapInArrow(save, SAVED)


def _save_loose(spark: SparkSession, config: InputConfig, ids: frozenset[str], to: _Target) -> DataFrame:
    root = input_root(config)

    def save(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield _batch(_save_file(name, root, config, to) for name in batch.column(0).to_pylist())

    return spark.createDataFrame([(name,) for name in sorted(ids)], "image_id string").mapInArrow(save, SAVED)


def _save_file(image_id: str, root: str, config: InputConfig, to: _Target) -> Saved:
    try:
        with storage.open_read(storage.join(root, image_id), config.storage_options) as file:
            data = file.read()
    except OSError as error:
        return {"image_id": image_id, "problem": f"{type(error).__name__}: {error}"}
    return _saved(image_id, data, image_id.rpartition(".")[2], to)


def _saved(image_id: str, data: bytes, suffix: str | None, to: _Target) -> Saved:
    # Ids hold slashes and more; a task that runs twice writes the same file.
    file = storage.join(to.folder, hashlib.sha256(image_id.encode()).hexdigest()[:32])
    storage.write_bytes(file, data, to.options)
    return {"image_id": image_id, "file": file, "suffix": suffix}


def _batch(rows: Iterable[Saved]) -> pa.RecordBatch:
    found = list(rows)
    return pa.RecordBatch.from_pydict(
        {name: pa.array([row.get(name) for row in found], pa.string()) for name in schemas.column_names(SAVED)}
    )
