"""Loose image files that stay -> files of their own, tars, or rows. Only names travel: a task opens what it writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from spark_imgdedup import schemas
from spark_imgdedup.config import Config
from spark_imgdedup.files import storage
from spark_imgdedup.files.copying.finished import Finished
from spark_imgdedup.files.copying.resume import FileGroup, resume_files, resume_pack
from spark_imgdedup.files.owning.names import below
from spark_imgdedup.files.tars.shards import input_root
from spark_imgdedup.stages.read import group_by_bytes
from spark_imgdedup.stages.remove import (
    DEFAULT_SAMPLES_PER_TAR,
    kept_batch,
    kept_batches,
    marks_batch,
    members_batch,
)
from spark_imgdedup.stages.tasks import map_batches

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


def copy_files(kept: DataFrame, config: Config, folder: str, n_kept: int) -> DataFrame:
    """The files as they are, under names of this attempt below `folder`; a row per file, see schemas.KEPT.

    They are copied a thousand at a time, and those that an earlier run has finished are taken as they are.
    """
    finished, group_of = Finished(folder, config.output.storage_options), _file_group(config)

    def copy(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for rows in _by_part(batches):
            found = resume_files(group_of(rows), finished)
            yield kept_batch(
                image_id=[row["image_id"] for row in rows],
                shard=[row["shard"] for row in rows],
                key=[row["key"] for row in rows],
                bytes=[n_bytes for _, n_bytes in found],
                temporary=[place for place, _ in found],
            )

    return map_batches(_file_parts(kept, n_kept), copy, schemas.KEPT)


def marks_of_files(kept: DataFrame, config: Config, n_kept: int) -> DataFrame:
    """The marks of the groups that `copy_files` would copy: schemas.MARKS."""
    return map_batches(_file_parts(kept, n_kept), _marking(_file_group(config)), schemas.MARKS)


def _file_parts(kept: DataFrame, n_kept: int) -> DataFrame:
    return _in_parts(_numbered(kept, DEFAULT_SAMPLES_PER_TAR, "shard", "key"), n_kept, DEFAULT_SAMPLES_PER_TAR)


def _file_group(config: Config) -> Callable[[list[dict[str, Any]]], FileGroup]:
    root, read = input_root(config.input), config.input.storage_options

    def group_of(rows: list[dict[str, Any]]) -> FileGroup:
        names = [row["image_id"] for row in rows]
        return FileGroup(names, [below(root, name, "the table of samples") for name in names], read=read)

    return group_of


def read_kept_files(kept: DataFrame, config: Config, n_kept: int) -> DataFrame:
    """Loose image files as rows, like those of `read_kept`. Only names travel: a task opens the files it writes."""
    n_parts = max(1, -(-n_kept // DEFAULT_SAMPLES_PER_TAR))
    root, options = input_root(config.input), config.input.storage_options

    def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        names = (
            row for batch in batches for row in zip(*(column.to_pylist() for column in batch.columns), strict=True)
        )
        rows = ((*name, _file_as_member(below(root, name[0], "the table of samples"), options)) for name in names)
        return map(members_batch, group_by_bytes(rows, lambda row: sum(map(len, row[3].values()))))

    placed = kept.select("image_id", "shard", "key").repartitionByRange(n_parts, "image_id")
    return map_batches(placed, read, schemas.MEMBERS)


def _file_as_member(url: str, options: storage.Options) -> dict[str, bytes]:
    with storage.open_read(url, options) as file:
        return {url.rpartition(".")[2].lower(): file.read()}


def pack_images(kept: DataFrame, config: Config, folder: str, n_kept: int) -> DataFrame:
    """Loose image files as tars of `output.repack` (default 1,000) samples, in the order of their ids.

    A key is the path without its extension, or, where that is another image's too or holds a dot, the whole path with
    its dots escaped: WebDataset ends a key at the first dot, and would make one sample of a.1.jpg and a.2.jpg. Tars
    that an earlier run has finished are taken as they are.
    """
    finished, group_of = Finished(folder, config.output.storage_options), _tar_group(config)

    def pack(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for rows in _by_part(batches):
            yield from kept_batches(resume_pack(group_of(rows), finished))

    return map_batches(_tar_parts(kept, config, n_kept), pack, schemas.KEPT)


def marks_of_packs(kept: DataFrame, config: Config, n_kept: int) -> DataFrame:
    """The marks of the tars that `pack_images` would write: schemas.MARKS."""
    return map_batches(_tar_parts(kept, config, n_kept), _marking(_tar_group(config)), schemas.MARKS)


def _tar_parts(kept: DataFrame, config: Config, n_kept: int) -> DataFrame:
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    per_tar = config.output.repack or DEFAULT_SAMPLES_PER_TAR
    stem = F.regexp_replace("image_id", r"\.[^./]*$", "")
    is_twin = (F.count(F.lit(1)).over(Window.partitionBy(stem)) > 1).alias("is_twin")
    return _in_parts(_numbered(kept, per_tar, is_twin), n_kept, per_tar)


def _tar_group(config: Config) -> Callable[[list[dict[str, Any]]], FileGroup]:
    files_of = _file_group(config)

    def group_of(rows: list[dict[str, Any]]) -> FileGroup:
        in_tar = [_tar_name(row["image_id"], is_twin=row["is_twin"]) for row in rows]
        return replace(files_of(rows), in_tar=in_tar, part=f"{rows[0]['part']:06d}")

    return group_of


def _numbered(kept: DataFrame, per_part: int, *columns: str | Column) -> DataFrame:
    """(part, image_id, and these columns): so many files in the order of their ids make a part, in every run alike."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    # One task orders all names: that is meant, and the constant says so. Connect warns of a window without partitions.
    place = F.row_number().over(Window.partitionBy(F.lit(0)).orderBy("image_id")) - 1
    return kept.select(F.floor(place / per_part).cast("int").alias("part"), "image_id", *columns)


def _in_parts(numbered: DataFrame, n_kept: int, per_part: int) -> DataFrame:
    n_parts = max(1, -(-n_kept // per_part))
    return numbered.repartitionByRange(n_parts, "part").sortWithinPartitions("part", "image_id")


def _by_part(batches: Iterable[pa.RecordBatch]) -> Iterator[list[dict[str, Any]]]:
    rows = (row for batch in batches for row in batch.to_pylist())
    for _, some in groupby(rows, key=lambda row: row["part"]):
        yield list(some)


def _marking(
    group_of: Callable[[list[dict[str, Any]]], FileGroup],
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def mark(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        groups = map(group_of, _by_part(batches))
        yield from (marks_batch([group.mark(group.stamps())]) for group in groups)

    return mark


def _tar_name(name: str, *, is_twin: bool) -> str:
    folder, slash, base = name.replace("%", "%25").rpartition("/")
    if is_twin or base.count(".") != 1:
        base = f"{base.replace('.', '%2E')}.{base.rpartition('.')[2]}"
    return folder + slash + base
