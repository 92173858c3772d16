"""shards -> images: tars, loose image files or a table, one row per sample.

The jobs do not use `read_images` on files: they run `map_records`, in which the bytes of an image never leave the
worker that decodes it. Both go through the same samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa

from spark_imgdedup import schemas
from spark_imgdedup.config import Config, InputConfig
from spark_imgdedup.config.values import JsonType
from spark_imgdedup.errors import printable
from spark_imgdedup.files.loose import ImageFile
from spark_imgdedup.files.tars.gather import open_tar
from spark_imgdedup.files.tars.shards import (
    Member,
    Sample,
    Shard,
    choose_image,
    iter_samples,
    list_shards,
    sample_fields,
    sample_id,
)
from spark_imgdedup.files.tars.sidecar import MAX_JSON_BYTES
from spark_imgdedup.files.tars.strict_headers import MAX_TEXT, DamagedTarError
from spark_imgdedup.models.stream import ImageRecord
from spark_imgdedup.stages.columns import field_arrays, field_columns
from spark_imgdedup.stages.loose import iter_loose_images, map_loose_images, with_root
from spark_imgdedup.stages.tasks import EachAlone, map_tasks
from spark_imgdedup.stages.user_input.image_tables import read_table

if TYPE_CHECKING:
    from pyspark.resource import ResourceProfile
    from pyspark.sql import DataFrame, SparkSession

# Beyond this many shards a task takes several, so that Spark's scheduler stays out of the way.
MAX_TASKS = 20_000
# Rows leave a reader when their bytes reach this: Arrow batches of 10,000 photographs would not fit a worker.
BATCH_BYTES = 32 * 2**20

Row = TypeVar("Row")
RecordWork = Callable[[Iterator[ImageRecord]], Iterator[pa.RecordBatch]]
ShardWork = Callable[[Iterator[Shard]], Iterator[pa.RecordBatch]]


def read_images(spark: SparkSession, config: Config) -> DataFrame:
    """The images of the input as a DataFrame: image_id, shard, key, image, rejected_because, error, the json fields.

    Samples without a usable image are rows too; a damaged tar adds one whose key is null. A table keeps its columns.

    Raises:
        ConfigError: nothing is found at input.path.
        SchemaError: the table lacks a column that a setting names.
    """
    if config.input.format == "table":
        return read_table(spark, config.input)
    fields = config.input.json_fields  # a loose image has none: the settings say so

    def read(records: Iterator[ImageRecord]) -> Iterator[pa.RecordBatch]:
        return _batches(records, fields)

    return map_records(spark, config.input, read, schemas.IMAGES + field_columns(fields))


def map_records(
    spark: SparkSession, config: InputConfig, work: RecordWork, schema: str, profile: ResourceProfile | None = None
) -> DataFrame:
    """`work` applied to the samples of tars, or to loose images, in tasks that open the files themselves.

    Raises:
        ConfigError: nothing is found at input.path.
    """
    if config.format == "images":
        rooted = with_root(config)

        def open_files(files: Iterator[ImageFile]) -> Iterator[pa.RecordBatch]:
            return work(iter_loose_images(files, rooted))

        return map_loose_images(spark, config, open_files, schema, profile)

    def read(shards: Iterator[Shard]) -> Iterator[pa.RecordBatch]:
        return work(record for shard in shards for record in iter_images(shard, config))

    return map_shards(spark, list_shards(config), read, schema, profile)


def map_shards(
    spark: SparkSession, shards: list[Shard], work: ShardWork, schema: str, profile: ResourceProfile | None = None
) -> DataFrame:
    """`work` applied to every shard, in tasks of their own; rows of its batches."""
    groups = EachAlone(group_shards(shards, MAX_TASKS))

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
        is_json = reads_json and member.is_sidecar and member.info.size <= MAX_JSON_BYTES
        return (with_data and member.is_image) or is_json or also(member)

    with open_tar(shard, config.storage_options) as tar:
        try:
            for sample in iter_samples(tar, wanted, max_bytes=config.max_image_bytes):
                yield _record(shard, sample, config, with_data=with_data), sample
        except DamagedTarError as error:
            problem = printable(f"{shard.url}: {error}")
            yield ImageRecord(shard.name, shard.name, None, None, schemas.DAMAGED_SHARD, problem), Sample("")


def _record(shard: Shard, sample: Sample, config: InputConfig, *, with_data: bool) -> ImageRecord:
    image_id, reason = sample_id(shard.name, sample, config.id_field)
    image = choose_image(sample, config.image_member)
    error: str | None = None
    data: bytes | None = None
    if isinstance(image, str):
        suffixes = ", ".join(member.suffix for member in sample.members)
        reason, error = reason or image, printable(f"members: {suffixes}"[:MAX_TEXT])
    elif with_data:
        data = image.data
        if (excess := image.excess(config.max_image_bytes)) is not None:
            reason, error = reason or "too_large", excess
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
