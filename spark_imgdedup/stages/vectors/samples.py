"""dataset -> the files of a few images: only the shards that hold them are read, and of those only these images' bytes.

Files go from the worker to storage, never through the JVM; what is made of them in the task, such as a small picture,
comes back through it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from spark_imgdedup import schemas
from spark_imgdedup.config import Config, InputConfig
from spark_imgdedup.errors import printable
from spark_imgdedup.files import storage, writing
from spark_imgdedup.files.loose import url_below
from spark_imgdedup.files.tars.gather import open_tar
from spark_imgdedup.files.tars.shards import (
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
from spark_imgdedup.files.tars.strict_headers import DamagedTarError
from spark_imgdedup.kernels.bounds import ImageError
from spark_imgdedup.stages.columns import id_as_text
from spark_imgdedup.stages.local_rows import local_rows
from spark_imgdedup.stages.read import map_shards
from spark_imgdedup.stages.tasks import map_batches
from spark_imgdedup.stages.user_input.image_column import find_image_column
from spark_imgdedup.stages.user_input.user_tables import open_table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# One row per image found; file is null where problem says why. A damaged shard is a row with its name and no image_id.
SAVED = "image_id string, shard string, file string, suffix string, problem string"
# The same without files: `shown` is what became of the bytes, null where problem says why.
SHOWN = "image_id string, shard string, shown string, problem string"
Saved = dict[str, str | None]
# The keys of each shard that are wanted; None wants any, since ids of a json field say nothing about keys.
Places = Mapping[str, frozenset[str] | None]


# (image_id, the file, the suffix of its name) -> columns of its row.
Keep = Callable[[str, bytes, str | None], Saved]


@dataclass(frozen=True)
class _Folder:
    """Where files go, and with which storage options."""

    folder: str
    options: Mapping[str, Any] = field(repr=False)

    def __call__(self, image_id: str, data: bytes, suffix: str | None) -> Saved:
        # Ids hold slashes and more; a task that runs twice writes the same file.
        file = storage.join(self.folder, hashlib.sha256(image_id.encode()).hexdigest()[:32])
        writing.write_bytes(file, data, self.options)
        return {"file": file, "suffix": suffix}


@dataclass(frozen=True)
class _Maker:
    """What makes text of a file."""

    make: Callable[[bytes], str]

    def __call__(self, image_id: str, data: bytes, suffix: str | None) -> Saved:
        try:
            return {"shown": self.make(data)}
        except ImageError as error:
            return {"problem": str(error)}


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
    return _map_images(spark, config, ids, (_Folder(folder, config.storage_options), SAVED), places)


def show_images(
    spark: SparkSession, config: Config, ids: frozenset[str], make: Callable[[bytes], str], places: Places | None = None
) -> DataFrame:
    """What a function makes of the files of some images, such as small pictures, and which were found: see SHOWN.

    Args:
        spark: The session.
        config: As for `save_images`.
        ids: image_ids.
        make: Runs in the tasks; its text comes back through the JVM. An ImageError of its is a row's problem.
        places: As for `save_images`.

    Raises:
        ConfigError: nothing is found at input.path.
        SchemaError: the table lacks its id or image column.
    """
    return _map_images(spark, config, ids, (_Maker(make), SHOWN), places)


def _map_images(
    spark: SparkSession, config: Config, ids: frozenset[str], to: tuple[Keep, str], places: Places | None
) -> DataFrame:
    keep, schema = to
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
            yield _batch(_save_from_shard(shard, config.input, keys, ids, keep), schema)

    if not chosen:
        return local_rows(spark, [], schema)
    return map_shards(spark, chosen, save, schema)


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
    shard: Shard, config: InputConfig, keys: frozenset[str] | None, ids: frozenset[str], keep: Keep
) -> Iterator[Saved]:
    def wanted(member: Member) -> bool:
        split = split_name(member.info.name)
        is_near = keys is None or (split is not None and split[0] in keys)
        return is_near and (member.is_image or (config.id_field is not None and member.is_sidecar))

    left = None if keys is None else set(keys)
    with open_tar(shard, config.storage_options) as tar:
        try:
            for sample in iter_samples(tar, wanted, max_bytes=config.max_image_bytes):
                if left is not None:
                    if sample.key not in left:
                        continue
                    left.remove(sample.key)
                image_id, _ = sample_id(shard.name, sample, config.id_field)
                if image_id in ids:
                    yield _save_image(image_id, sample, config, keep) | {"shard": shard.name}
                if left is not None and not left:
                    return
        except DamagedTarError as error:
            yield {"shard": shard.name, "problem": printable(f"{shard.url}: {error}")}


def _save_image(image_id: str, sample: Sample, config: InputConfig, keep: Keep) -> Saved:
    image = choose_image(sample, config.image_member)
    if isinstance(image, str):
        return {"image_id": image_id, "problem": image}
    if image.data is None:
        problem = image.excess(config.max_image_bytes) or "the shard ends inside this image"
        return {"image_id": image_id, "problem": problem}
    return {"image_id": image_id} | keep(image_id, image.data, image.suffix.rpartition(".")[2])


def _save_from_table(spark: SparkSession, config: InputConfig, ids: frozenset[str], to: tuple[Keep, str]) -> DataFrame:
    keep, schema = to
    table = open_table(spark, config.paths, config.storage_options)
    image = find_image_column(table.schema, config.image_column)
    image_id = id_as_text(table, config.id_field or "image_id", "input.id_field")
    rows = table.where(image_id.isin(sorted(ids))).select(image_id.alias("image_id"), image.column.alias("image"))

    def save(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            pairs = zip(*(column.to_pylist() for column in batch.columns), strict=True)
            yield _batch(
                (
                    {"image_id": name} | ({"problem": "no_image"} if data is None else keep(name, data, None))
                    for name, data in pairs
                ),
                schema,
            )

    return map_batches(rows, save, schema)


def _save_loose(spark: SparkSession, config: InputConfig, ids: frozenset[str], to: tuple[Keep, str]) -> DataFrame:
    keep, schema = to
    root = input_root(config)

    def save(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            names = batch.column(0).to_pylist()
            yield _batch((_save_file(name, root, config, keep) for name in names), schema)

    return map_batches(local_rows(spark, [(name,) for name in sorted(ids)], "image_id string"), save, schema)


def _save_file(image_id: str, root: str, config: InputConfig, keep: Keep) -> Saved:
    try:
        with storage.open_read(url_below(root, image_id), config.storage_options) as file:
            data = file.read()
    except (OSError, ValueError) as error:
        return {"image_id": image_id, "problem": f"{type(error).__name__}: {error}"}
    return {"image_id": image_id} | keep(image_id, data, image_id.rpartition(".")[2])


def _batch(rows: Iterable[Saved], schema: str) -> pa.RecordBatch:
    found = list(rows)
    return pa.RecordBatch.from_pydict(
        {name: pa.array([row.get(name) for row in found], pa.string()) for name in schemas.column_names(schema)}
    )
