"""dataset, ids -> the dataset without them: a left-anti join, then a copy of bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from spark_imgdedup import schemas
from spark_imgdedup.config import Config
from spark_imgdedup.files import storage
from spark_imgdedup.files.copy_plan import CopyTask
from spark_imgdedup.files.shard_writer import WrittenTar, copy_kept, pack_files
from spark_imgdedup.files.shards import (
    Member,
    Shard,
    input_root,
    iter_samples,
    sample_id,
    split_name,
)
from spark_imgdedup.files.tar_stream import DamagedTarError, TarStream
from spark_imgdedup.stages.columns import id_as_text
from spark_imgdedup.stages.read import group_by_bytes
from spark_imgdedup.stages.user_tables import open_table

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

DEFAULT_SAMPLES_PER_TAR = 1000


def remove_images(
    images: DataFrame, ids: DataFrame, *, image_id: str = "image_id", id_field: str | None = None
) -> DataFrame:
    """The rows of `images` whose id is not in `ids`; all columns, nothing else changed.

    Args:
        images: Any DataFrame with an id column.
        ids: Any DataFrame of ids to remove, such as what `identify_duplicates` gives.
        image_id: Id column of `images`.
        id_field: Id column of `ids`; the same name by default.

    Ids are compared as text, so that 7 is "7".

    Raises:
        SchemaError: a named column is missing, or holds neither text nor whole numbers.
    """
    from pyspark.sql import functions as F

    schemas.require(images, {image_id: None}, stage="remove")
    unwanted = select_ids(ids, id_field or image_id).withColumnRenamed("image_id", "_unwanted")
    return images.join(unwanted, id_as_text(images, image_id, "image_id") == F.col("_unwanted"), how="left_anti")


def read_ids(
    spark: SparkSession, paths: Sequence[str], id_field: str, options: Mapping[str, Any] | None = None
) -> DataFrame:
    """The ids of one or more Parquet or Delta tables as text, in a column `image_id`: a row for each of their rows.

    Each table is opened by itself, so that one may have numbers and another text.

    Raises:
        ConfigError: there is no table at a path.
        SchemaError: a table has no column `id_field`, or it holds neither text nor whole numbers.
    """
    tables = (open_table(spark, (path,), options) for path in paths)
    columns = (table.select(id_as_text(table, id_field, "remove.id_field").alias("image_id")) for table in tables)
    return reduce(lambda one, other: one.unionByName(other), columns)


def select_ids(ids: DataFrame, id_field: str) -> DataFrame:
    """The distinct ids of a table as strings, in a column `image_id`.

    Raises:
        SchemaError: there is no column `id_field`, or it holds neither text nor whole numbers.
    """
    column = id_as_text(ids, id_field, "remove.id_field").alias("image_id")
    return ids.select(column).where("image_id is not null").distinct()


def match_column(samples: DataFrame) -> str:
    """The column that ids to remove are values of: match_id where there is one, else image_id."""
    return "match_id" if "match_id" in samples.columns else "image_id"


def mark_removals(samples: DataFrame, ids: DataFrame, config: Config) -> DataFrame:
    """The rows of `samples` that leave the dataset, with the reason: image_id, shard, key, reason.

    Args:
        samples: image_id, shard, key, rejected_because of each sample, and match_id if that is what `ids` are.
        ids: Distinct ids to remove, from `select_ids`.
        config: `remove.drop` and `remove.unreadable` decide which reasons count.
    """
    from pyspark.sql import functions as F

    rejected = F.col("rejected_because")
    is_unreadable = rejected.isin(*schemas.UNREADABLE_REASONS)
    # What no filter could judge passes none; without filters nothing speaks against it.
    is_filtered = ~is_unreadable if config.uses_scores else ~is_unreadable & ~rejected.isin(*schemas.VECTOR_REASONS)
    reasons: list[Column] = []
    if config.remove.unreadable == "drop":
        reasons.append(F.when(is_unreadable, rejected))
    if "rejected" in config.remove.drop:
        reasons.append(F.when(is_filtered, rejected))
    if "duplicates" in config.remove.drop:
        reasons.append(F.when(F.col("_listed").isNotNull(), F.lit("duplicate")))
    unwanted = ids.select(F.col("image_id").alias("_listed"))
    listed = samples.join(unwanted, F.col(match_column(samples)) == F.col("_listed"), "left")
    why = F.coalesce(*reasons) if reasons else F.lit(None).cast("string")
    return listed.select("image_id", "shard", "key", why.alias("reason")).where(F.col("reason").isNotNull())


def copy_tars(removed: DataFrame, tasks: list[CopyTask], config: Config, folder: str) -> DataFrame:
    """Write the tars of `plan_copies`, one task each, below `folder`; a row per tar, see schemas.KEPT."""
    read, write = config.input.storage_options, config.output.storage_options

    def copy(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for number, gone in _keys_by_task(batches):
            yield _kept_batch(list(copy_kept(tasks[number], gone, folder, read=read, write=write)))

    return _place_keys(removed, [task.shards for task in tasks]).mapInArrow(copy, schemas.KEPT)


def read_kept(removed: DataFrame, shards: list[Shard], config: Config) -> DataFrame:
    """The samples of the tars that stay, as rows: image_id, shard, key, members (extension to bytes)."""

    def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for number, gone in _keys_by_task(batches):
            shard = shards[number]
            yield from _member_batches(shard, gone[shard.name], config)

    return _place_keys(removed, [(shard,) for shard in shards]).mapInArrow(read, schemas.MEMBERS)


def _place_keys(removed: DataFrame, shards_by_task: list[tuple[Shard, ...]]) -> DataFrame:
    """(task, its shards with the keys to leave out), a row and a partition each. Only keys travel, never images."""
    from pyspark.sql import functions as F

    reads = [(number, shard.name) for number, shards in enumerate(shards_by_task) for shard in shards]
    keys = removed.groupBy("shard").agg(F.collect_list("key").alias("keys"))
    work = removed.sparkSession.createDataFrame(reads, "task int, shard string").join(keys, "shard", "left")
    by_task = work.groupBy("task").agg(F.collect_list(F.struct("shard", "keys")).alias("reads"))
    # Ranges of distinct numbers give each task its partition; hashing would put two on one core and none on another.
    return by_task.repartitionByRange(len(shards_by_task), "task")


def _keys_by_task(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[int, dict[str, frozenset[str]]]]:
    for batch in batches:
        for number, reads in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            yield number, {each["shard"]: frozenset(each["keys"] or ()) for each in reads}


def _member_batches(shard: Shard, gone: frozenset[str], config: Config) -> Iterator[pa.RecordBatch]:
    samples = _whole_samples(shard, gone, config)
    rows = ((image_id, shard.name, key, members) for image_id, key, members in samples)
    return map(_members_batch, group_by_bytes(rows, lambda row: sum(map(len, row[3].values()))))


def _whole_samples(shard: Shard, gone: frozenset[str], config: Config) -> Iterator[tuple[str, str, dict[str, bytes]]]:
    def stays(member: Member) -> bool:
        split = split_name(member.info.name)
        return split is not None and split[0] not in gone

    with storage.open_read(shard.url, config.input.storage_options) as stream:
        try:
            for sample in iter_samples(TarStream(stream), stays):
                members = sample.data_by_suffix()
                if sample.key not in gone and members:
                    yield sample_id(shard.name, sample, config.input.id_field)[0], sample.key, members
        except DamagedTarError:
            return  # named by the embed step; `remove` checks that no more than the cut sample is missing


def _members_batch(rows: list[tuple[str, str, str, dict[str, bytes]]]) -> pa.RecordBatch:
    image_ids, shards, keys, members = zip(*rows, strict=True)
    return pa.RecordBatch.from_pydict(
        {
            "image_id": pa.array(image_ids, pa.string()),
            "shard": pa.array(shards, pa.string()),
            "key": pa.array(keys, pa.string()),
            "members": pa.array([list(each.items()) for each in members], pa.map_(pa.string(), pa.binary())),
        }
    )


def read_kept_files(kept: DataFrame, config: Config, n_kept: int) -> DataFrame:
    """Loose image files as rows, like those of `read_kept`. Only names travel: a task opens the files it writes."""
    n_parts = max(1, -(-n_kept // DEFAULT_SAMPLES_PER_TAR))
    root, options = input_root(config.input), config.input.storage_options

    def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        names = (
            row for batch in batches for row in zip(*(column.to_pylist() for column in batch.columns), strict=True)
        )
        rows = ((*name, _file_as_member(storage.join(root, name[0]), options)) for name in names)
        return map(_members_batch, group_by_bytes(rows, lambda row: sum(map(len, row[3].values()))))

    placed = kept.select("image_id", "shard", "key").repartitionByRange(n_parts, "image_id")
    return placed.mapInArrow(read, schemas.MEMBERS)


def _file_as_member(url: str, options: storage.Options) -> dict[str, bytes]:
    with storage.open_read(url, options) as file:
        return {url.rpartition(".")[2].lower(): file.read()}


def pack_images(kept: DataFrame, config: Config, folder: str, n_kept: int) -> DataFrame:
    """Loose image files as tars of `output.repack` (default 1,000) samples, in the order of their ids.

    A key is the path without its extension, or, where that is another image's too or holds a dot, the whole path with
    its dots escaped: WebDataset ends a key at the first dot, and would make one sample of a.1.jpg and a.2.jpg.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    per_tar = config.output.repack or DEFAULT_SAMPLES_PER_TAR
    root = input_root(config.input)
    # One task orders all names: that is meant, and the constant says so. Connect warns of a window without partitions.
    place = F.row_number().over(Window.partitionBy(F.lit(0)).orderBy("image_id")) - 1
    stem = F.regexp_replace("image_id", r"\.[^./]*$", "")
    numbered = kept.select(
        F.floor(place / per_tar).cast("int").alias("part"),
        "image_id",
        (F.count(F.lit(1)).over(Window.partitionBy(stem)) > 1).alias("is_twin"),
    )
    n_parts = max(1, -(-n_kept // per_tar))
    placed = numbered.repartitionByRange(n_parts, "part").sortWithinPartitions("part", "image_id")
    read, write = config.input.storage_options, config.output.storage_options

    def pack(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        parts: dict[int, list[tuple[str, str]]] = {}
        for batch in batches:
            for part, name, is_twin in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                parts.setdefault(part, []).append((_tar_name(name, is_twin=is_twin), storage.join(root, name)))
        for part, files in sorted(parts.items()):
            yield _kept_batch([pack_files(f"{part:06d}", files, folder, read=read, write=write)])

    return placed.mapInArrow(pack, schemas.KEPT)


def _tar_name(name: str, *, is_twin: bool) -> str:
    folder, slash, base = name.replace("%", "%25").rpartition("/")
    if is_twin or base.count(".") != 1:
        base = f"{base.replace('.', '%2E')}.{base.rpartition('.')[2]}"
    return folder + slash + base


def _kept_batch(tars: list[WrittenTar]) -> pa.RecordBatch:
    names = ("name", "temporary", "n_samples", "n_cut", "n_bytes", "damage")
    kinds = (pa.string(), pa.string(), pa.int64(), pa.int64(), pa.int64(), pa.list_(pa.string()))
    columns = {
        name: pa.array([getattr(tar, name) for tar in tars], kind) for name, kind in zip(names, kinds, strict=True)
    }
    return pa.RecordBatch.from_pydict(columns)
