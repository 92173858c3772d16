"""dataset, ids -> the dataset without them: a left-anti join, then a copy of bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from spark_imgdedup import schemas
from spark_imgdedup.config import Config
from spark_imgdedup.errors import ShardError
from spark_imgdedup.files.copying.copy_plan import CopyTask
from spark_imgdedup.files.copying.finished import Finished, tar_marks
from spark_imgdedup.files.copying.kept_members import Source
from spark_imgdedup.files.copying.removal_check import Gone, RemovalCheck
from spark_imgdedup.files.copying.resume import resume_kept
from spark_imgdedup.files.copying.tar_writer import WrittenTar
from spark_imgdedup.files.tars.gather import open_tar
from spark_imgdedup.files.tars.shards import (
    Member,
    Sample,
    Shard,
    iter_samples,
    sample_id,
    split_name,
)
from spark_imgdedup.files.tars.strict_headers import DamagedTarError
from spark_imgdedup.stages.columns import free_name, id_as_text
from spark_imgdedup.stages.leaving import map_shards
from spark_imgdedup.stages.read import group_by_bytes
from spark_imgdedup.stages.tasks import EachAlone

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

DEFAULT_SAMPLES_PER_TAR = 1000
ROWS_PER_BATCH = 10_000
_KEPT_TYPES = {
    **dict.fromkeys(("image_id", "shard", "key", "tar"), pa.string()),
    "bytes": pa.int64(),
    "temporary": pa.string(),
    **dict.fromkeys(("n_samples", "n_cut"), pa.int64()),
    "damage": pa.list_(pa.string()),
}


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

    name = free_name("_unwanted", images.columns)
    unwanted = select_ids(ids, id_field or image_id).withColumnRenamed("image_id", name)
    return images.join(unwanted, id_as_text(images, image_id, "image_id") == F.col(name), how="left_anti")


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
    """The rows of `samples` that leave the dataset, with the reason: image_id, shard, key, reason, sha256.

    Args:
        samples: image_id, shard, key, rejected_because of each sample, match_id if that is what `ids` are, and sha256
            if it is known.
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
        reasons.append(F.when(F.col("_listed").isNotNull(), F.lit("listed" if config.remove.paths else "duplicate")))
    unwanted = ids.select(F.col("image_id").alias("_listed"))
    listed = samples.join(unwanted, F.col(match_column(samples)) == F.col("_listed"), "left")
    why = F.coalesce(*reasons) if reasons else F.lit(None).cast("string")
    sha256 = F.col("sha256") if "sha256" in samples.columns else F.lit(None).cast("string")
    found = listed.select("image_id", "shard", "key", why.alias("reason"), sha256.alias("sha256"))
    return found.where(F.col("reason").isNotNull())


def copy_tars(removed: DataFrame, tasks: list[CopyTask], config: Config, folder: str) -> DataFrame:
    """Write the tars of `plan_copies` below `folder`, one task each; rows of schemas.KEPT: of samples, and of tars.

    Those that an earlier run has finished there are taken as they are, see `files.copying.finished`.
    """
    read, finished = source_of(config), Finished(folder, config.output.storage_options)
    alone = EachAlone(tasks)

    def copy(number: int, gone: dict[str, Gone]) -> Iterator[pa.RecordBatch]:
        for tar in resume_kept(alone[number], gone, finished, read=read):
            yield from kept_batches(tar)

    return map_shards(removed, [task.shards for task in tasks], copy, schemas.KEPT)


def marks_of_tars(removed: DataFrame, tasks: list[CopyTask], config: Config) -> DataFrame:
    """The marks of the tars that `copy_tars` would write: schemas.MARKS."""
    read, alone = source_of(config), EachAlone(tasks)

    def mark(number: int, gone: dict[str, Gone]) -> Iterator[pa.RecordBatch]:
        yield marks_batch(tar_marks(alone[number], gone, read))

    return map_shards(removed, [task.shards for task in tasks], mark, schemas.MARKS)


def source_of(config: Config) -> Source:
    """How the tars of the input are read."""
    given = config.input
    return Source(given.storage_options, given.image_member, given.id_field)


def read_kept(removed: DataFrame, shards: list[Shard], config: Config) -> DataFrame:
    """The samples of the tars that stay, as rows: image_id, shard, key, members (extension to bytes)."""
    alone = EachAlone(shards)

    def read(number: int, gone: dict[str, Gone]) -> Iterator[pa.RecordBatch]:
        shard = alone[number]
        return _member_batches(shard, gone[shard.name], config)

    return map_shards(removed, [(shard,) for shard in shards], read, schemas.MEMBERS)


def _member_batches(shard: Shard, gone: Gone, config: Config) -> Iterator[pa.RecordBatch]:
    samples = _whole_samples(shard, gone, config)
    rows = ((image_id, shard.name, key, members) for image_id, key, members in samples)
    return map(members_batch, group_by_bytes(rows, lambda row: sum(map(len, row[3].values()))))


def _whole_samples(shard: Shard, gone: Gone, config: Config) -> Iterator[tuple[str, str, dict[str, bytes]]]:
    def stays(member: Member) -> bool:
        split = split_name(member.info.name)
        is_checked = split is not None and gone.get(split[0]) is not None and member.is_image
        return split is not None and (split[0] not in gone or is_checked)

    check = RemovalCheck(shard.url, gone, config.input.image_member)
    with open_tar(shard, config.input.storage_options) as tar:
        try:
            for sample in iter_samples(tar, stays):
                if sample.key in gone:
                    check.look(sample)
                elif members := sample.data_by_suffix():
                    _require_whole(shard, sample)
                    yield sample_id(shard.name, sample, config.input.id_field)[0], sample.key, members
        except DamagedTarError:
            pass  # named by the embed step; `remove` checks that no more than the cut sample is missing
    check.end()


def _require_whole(shard: Shard, sample: Sample) -> None:
    for member in sample.members:
        if (excess := member.excess(None)) is not None:
            raise ShardError(
                f"{shard.url}: '{member.info.name}' cannot be a cell of a table: {excess}. Remove the sample, or write "
                "tars (output.format=webdataset), into which it is copied as it is."
            )


def members_batch(rows: list[tuple[str, str, str, dict[str, bytes]]]) -> pa.RecordBatch:
    """Rows of schemas.MEMBERS."""
    image_ids, shards, keys, members = zip(*rows, strict=True)
    return pa.RecordBatch.from_pydict(
        {
            "image_id": pa.array(image_ids, pa.string()),
            "shard": pa.array(shards, pa.string()),
            "key": pa.array(keys, pa.string()),
            "members": pa.array([list(each.items()) for each in members], pa.map_(pa.string(), pa.binary())),
        }
    )


def marks_batch(marks: list[str]) -> pa.RecordBatch:
    """Rows of schemas.MARKS."""
    return pa.RecordBatch.from_pydict({"mark": pa.array(marks, pa.string())})


def kept_batches(tar: WrittenTar) -> Iterator[pa.RecordBatch]:
    """Rows of schemas.KEPT: the samples of a tar, and the tar itself."""
    name = f"{tar.name}.tar"
    for start in range(0, len(tar.samples), ROWS_PER_BATCH):
        some = tar.samples[start : start + ROWS_PER_BATCH]
        yield kept_batch(
            image_id=[each.image_id for each in some],
            shard=[each.shard for each in some],
            key=[each.key for each in some],
            tar=[name] * len(some),
            bytes=[each.n_bytes for each in some],
        )
    yield kept_batch(
        tar=[name],
        bytes=[tar.n_bytes],
        temporary=[tar.temporary],
        n_samples=[tar.n_samples],
        n_cut=[tar.n_cut],
        damage=[tar.damage],
    )


def kept_batch(**columns: list[Any]) -> pa.RecordBatch:
    """Rows of schemas.KEPT; columns that are not given are null."""
    n_rows = len(next(iter(columns.values())))
    return pa.RecordBatch.from_pydict(
        {name: pa.array(columns.get(name, [None] * n_rows), kind) for name, kind in _KEPT_TYPES.items()}
    )
