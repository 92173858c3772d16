"""shards -> images: tars, loose image files or a table, one row per sample.

The jobs do not use `read_images` on tars: they run `map_shards`, in which the bytes of an image never leave the worker
that decodes it. Both go through the same samples.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa

from spark_imgdedup import schemas
from spark_imgdedup.config import Config, InputConfig
from spark_imgdedup.config.values import JsonType
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.files import storage
from spark_imgdedup.files.shards import (
    IMAGE_SUFFIXES,
    Member,
    Sample,
    Shard,
    choose_image,
    input_root,
    iter_samples,
    list_shards,
    sample_fields,
    sample_id,
)
from spark_imgdedup.files.tar_stream import DamagedTarError, TarStream
from spark_imgdedup.models.stream import ImageRecord
from spark_imgdedup.stages.columns import field_arrays, field_columns, id_as_text, quoted
from spark_imgdedup.stages.object_stores import jvm_path
from spark_imgdedup.stages.tasks import map_tasks
from spark_imgdedup.stages.user_tables import open_table

if TYPE_CHECKING:
    from pyspark.resource import ResourceProfile
    from pyspark.sql import Column, DataFrame, SparkSession

# Beyond this many shards a task takes several, so that Spark's scheduler stays out of the way.
MAX_TASKS = 20_000
# Rows leave a reader when their bytes reach this: Arrow batches of 10,000 photographs would not fit a worker.
BATCH_BYTES = 32 * 2**20

Row = TypeVar("Row")
ShardWork = Callable[[Iterator[Shard]], Iterator[pa.RecordBatch]]


def read_images(spark: SparkSession, config: Config) -> DataFrame:
    """The images of the input as a DataFrame: image_id, shard, key, image, rejected_because, error, the json fields.

    Samples without a usable image are rows too; a damaged tar adds one whose key is null. A table keeps its columns.

    Raises:
        ConfigError: nothing is found at input.path.
        SchemaError: the table lacks a column that a setting names.
    """
    if config.input.format == "images":
        return _read_loose_images(spark, config.input)
    if config.input.format == "table":
        return _read_table(spark, config.input)

    def read(shards: Iterator[Shard]) -> Iterator[pa.RecordBatch]:
        return _batches((record for shard in shards for record in iter_images(shard, config.input)), fields)

    fields = config.input.json_fields
    return map_shards(spark, list_shards(config.input), read, schemas.IMAGES + field_columns(fields))


def map_shards(
    spark: SparkSession, shards: list[Shard], work: ShardWork, schema: str, profile: ResourceProfile | None = None
) -> DataFrame:
    """`work` applied to every shard, in tasks of their own; rows of its batches."""
    groups = group_shards(shards, MAX_TASKS)

    def run(numbers: Iterator[int]) -> Iterator[pa.RecordBatch]:
        return work(shard for number in numbers for shard in groups[number])

    return map_tasks(spark, len(groups), run, schema, profile)


def iter_images(shard: Shard, config: InputConfig, *, with_data: bool = True) -> Iterator[ImageRecord]:
    """The samples of one shard; a damaged tar ends with a record that says so and has no key."""
    return (record for record, _ in iter_records(shard, config, with_data=with_data))


def iter_records(
    shard: Shard, config: InputConfig, *, with_data: bool = True, also: Callable[[Member], bool] = lambda _: False
) -> Iterator[tuple[ImageRecord, Sample]]:
    """Like `iter_images`, each record with its sample, in which the members that `also` names were read too.

    The sample of a damaged tar's record is empty.
    """
    reads_json = config.id_field is not None or bool(config.json_fields)

    def wanted(member: Member) -> bool:
        return (with_data and member.is_image) or (reads_json and member.is_sidecar) or also(member)

    with storage.open_read(shard.url, config.storage_options) as stream:
        try:
            for sample in iter_samples(TarStream(stream), wanted, max_bytes=config.max_image_bytes):
                yield _record(shard, sample, config, with_data=with_data), sample
        except DamagedTarError as error:
            problem = f"{shard.url}: {error}"
            yield ImageRecord(shard.name, shard.name, None, None, schemas.DAMAGED_SHARD, problem), Sample("")


def _record(shard: Shard, sample: Sample, config: InputConfig, *, with_data: bool) -> ImageRecord:
    image_id, reason = sample_id(shard.name, sample, config.id_field)
    image = choose_image(sample, config.image_member)
    error: str | None = None
    data: bytes | None = None
    if isinstance(image, str):
        reason, error = reason or image, f"members: {', '.join(member.suffix for member in sample.members)}"
    elif with_data:
        data = image.data
        if image.info.size > config.max_image_bytes:
            reason, error = (
                reason or "too_large",
                f"{image.info.size} bytes, input.max_image_bytes is {config.max_image_bytes}",
            )
        elif data is None:
            reason, error = reason or "unreadable", "the shard ends inside this image"
    return ImageRecord(
        *(image_id, shard.name, sample.key, data, reason, error), fields=sample_fields(sample, config.json_fields)
    )


def _batches(records: Iterator[ImageRecord], fields: Mapping[str, JsonType]) -> Iterator[pa.RecordBatch]:
    # 256 bytes for the ids and reasons: an index has no images, and its batches must end too.
    for rows in group_by_bytes(records, lambda record: len(record.data or b"") + 256):
        yield _to_batch(rows, fields)


def group_by_bytes(rows: Iterable[Row], n_bytes: Callable[[Row], int]) -> Iterator[list[Row]]:
    """The rows in lists that end when their bytes reach BATCH_BYTES; none is empty."""
    group: list[Row] = []
    held = 0
    for row in rows:
        group.append(row)
        held += n_bytes(row)
        if held >= BATCH_BYTES:
            yield group
            group, held = [], 0
    if group:
        yield group


def _to_batch(rows: list[ImageRecord], fields: Mapping[str, JsonType]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(
        {
            "image_id": pa.array([row.image_id for row in rows], pa.string()),
            "shard": pa.array([row.shard for row in rows], pa.string()),
            "key": pa.array([row.key for row in rows], pa.string()),
            "image": pa.array([row.data for row in rows], pa.binary()),
            "rejected_because": pa.array([row.rejected_because for row in rows], pa.string()),
            "error": pa.array([row.error for row in rows], pa.string()),
            **field_arrays([row.fields for row in rows], fields),
        }
    )


def group_shards(shards: list[Shard], most: int) -> list[list[Shard]]:
    """The shards in at most `most` groups: each by itself, in their order, or else groups of like size in bytes."""
    if len(shards) <= most:
        return [[shard] for shard in shards]
    groups: list[list[Shard]] = [[] for _ in range(most)]
    for place, shard in enumerate(sorted(shards, key=lambda shard: (-shard.n_bytes, shard.name))):
        turn, offset = divmod(place, most)
        groups[offset if turn % 2 == 0 else most - 1 - offset].append(shard)  # there and back: groups of like size
    return groups


def _read_loose_images(spark: SparkSession, config: InputConfig) -> DataFrame:
    """image_id and key are the path below input.root, extension included; shard is the folder."""
    from pyspark.sql import functions as F

    root = input_root(config)
    _require_visible(config)
    in_any_case = ("".join(f"[{c}{c.upper()}]" for c in suffix) for suffix in sorted(IMAGE_SUFFIXES))
    reader = spark.read.format("binaryFile").option("recursiveFileLookup", "true")
    reader = reader.option("pathGlobFilter", f"*.{{{','.join(in_any_case)}}}")
    files = reader.load([jvm_path(spark, path, config.storage_options) for path in config.paths])
    # Two reads: a filter on length is pushed down, so an over-large file is never opened.
    small = files.where(F.col("length") <= config.max_image_bytes).select("path", "length", "content")
    large = files.where(F.col("length") > config.max_image_bytes).select(
        "path", "length", F.lit(None).cast("binary").alias("content")
    )
    prefix = storage.spark_path(root).rstrip("/") + "/"
    bare = F.regexp_replace("path", r"^file:/*", "/") if "://" not in prefix else F.col("path")
    name = F.substr(bare, F.lit(len(prefix) + 1))
    too_large = F.col("content").isNull()
    return small.unionByName(large).select(
        name.alias("image_id"),
        F.regexp_replace(name, r"/?[^/]*$", "").alias("shard"),
        name.alias("key"),
        F.col("content").alias("image"),
        F.when(too_large, F.lit("too_large")).alias("rejected_because"),
        F.when(
            too_large, F.concat(F.col("length"), F.lit(f" bytes, input.max_image_bytes is {config.max_image_bytes}"))
        ).alias("error"),
    )


def _require_visible(config: InputConfig) -> None:
    """Spark's file readers pass over names that begin with an underscore, such as a camera's _MG_0001.JPG."""
    suffixes = tuple(f".{suffix}" for suffix in IMAGE_SUFFIXES)
    for path in config.paths:
        for file in storage.list_files(path, "", config.storage_options):
            name = posixpath.basename(file.url)
            if name.startswith("_") and name.lower().endswith(suffixes):
                raise ConfigError(
                    f"input.path: {file.url}: Spark does not see files whose names begin with '_'. Rename them, or "
                    "pack the images into tars and set input.format=webdataset."
                )


def _read_table(spark: SparkSession, config: InputConfig) -> DataFrame:
    from pyspark.sql import functions as F

    table = open_table(spark, config.paths, config.storage_options)
    named = dict.fromkeys((config.id_field or "image_id", *config.json_fields))
    schemas.require(table, {**named, config.image_column: "binary"}, stage="embed")
    ours = ("image_id", "shard", "key", "image", "rejected_because", "error", config.image_column)
    own = [quoted(name) for name in table.columns if name not in ours]
    return table.select(
        *sample_columns(table, config),
        F.col(config.image_column).alias("image"),
        F.when(F.col(config.image_column).isNull(), F.lit("no_image")).alias("rejected_because"),
        F.lit(None).cast("string").alias("error"),
        *own,
    )


def sample_columns(table: DataFrame, config: InputConfig) -> list[Column]:
    """image_id, shard and key of a table's rows."""
    from pyspark.sql import functions as F

    image_id = id_as_text(table, config.id_field or "image_id", "input.id_field")
    shard = F.col("shard").cast("string") if "shard" in table.columns else F.lit(None).cast("string")
    key = F.col("key").cast("string") if "key" in table.columns else image_id
    return [
        image_id.alias("image_id"),
        shard.alias("shard"),
        F.coalesce(key, F.lit("")).alias("key"),  # a null key would say "damaged shard"; a null id is refused later
    ]
