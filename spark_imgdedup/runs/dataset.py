"""Write the dataset again without the samples that leave it."""

from __future__ import annotations

import posixpath
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from spark_imgdedup import schemas
from spark_imgdedup.config import Config
from spark_imgdedup.counts import OutputCounts, SampleCounts
from spark_imgdedup.errors import CountsError, ImgDedupError
from spark_imgdedup.files import delta_log, storage
from spark_imgdedup.files.copying.copy_plan import plan_copies
from spark_imgdedup.files.loose import list_images
from spark_imgdedup.files.owning import publishing
from spark_imgdedup.files.owning.lease import require_held
from spark_imgdedup.files.tars.shards import list_shards, total_bytes
from spark_imgdedup.runs.delta import table_name, table_size
from spark_imgdedup.runs.fingerprints import input_stamps
from spark_imgdedup.runs.removed_csv import REMOVED_CSV, write_removed
from spark_imgdedup.runs.replace_where import replace_part
from spark_imgdedup.runs.unfinished import ChangedInputError, begun, doubted, take_up
from spark_imgdedup.stages.loose_files import (
    copy_files,
    marks_of_files,
    marks_of_packs,
    pack_images,
    read_kept_files,
)
from spark_imgdedup.stages.object_stores import jvm_path, read_path
from spark_imgdedup.stages.remove import copy_tars, marks_of_tars, read_kept, remove_images
from spark_imgdedup.stages.unchanged import require_unchanged
from spark_imgdedup.stages.user_input.table_copies import copy_table_files
from spark_imgdedup.stages.user_input.user_tables import open_table
from spark_imgdedup.stages.vectors.vector_column import widen_halves

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from spark_imgdedup.runs.tables import Tables

Check = Callable[[OutputCounts], None]
CheckRows = Callable[[int, int, int], OutputCounts]  # of rows, bytes and files written


def write_dataset(tables: Tables, samples: DataFrame, removed: DataFrame, config: Config, check: Check) -> OutputCounts:
    """Write the samples of `samples` that are not in `removed` to the output, and say how much that was.

    Args:
        tables: For the table `kept`, a row per sample and per tar.
        samples: image_id, shard, key, rejected_because of each sample, and sha256 if its image was compared.
        removed: The samples that leave, from `mark_removals`.
        config: `input` and `output` say what is copied where.
        check: Called with the counts before the new files take the place of earlier ones, and raises where they are
            wrong. What Delta's log has published by then is taken back, but for a part of a table of many writers.

    Raises:
        ConfigError: the output folder may not be written to.
        ShardError: the input has changed since its images were compared.
    """
    if config.input.format != "webdataset" and "sha256" in samples.columns:
        with doubted(config):
            require_unchanged(removed, config)
    before = input_stamps(config)

    def check_all(found: OutputCounts) -> None:
        check(found)
        if input_stamps(config) != before:
            raise ChangedInputError(
                f"{', '.join(config.input.paths)} has changed while it was copied. Nothing was published; run again."
            )

    if config.output.mode == "replace_where":
        found = replace_part(tables, _kept_rows(samples, removed, config), config)
        cut = remove_images(samples, removed).count() - found.written
        found = replace(found, cut=cut, bytes_before=_input_bytes(config, tables.spark))
        check(found)
        return found
    with begun(tables):
        if config.output.format == "webdataset":
            return _write_tars(tables, samples, removed, config, check_all)
        if config.output.format == "images":
            return _write_files(tables, samples, removed, config, check_all)
        return _write_rows(samples, removed, config, check_all)


def _place(config: Config) -> str:
    return storage.canonical(str(config.output.path))  # a worker's current folder is another one


def _write_tars(tables: Tables, samples: DataFrame, removed: DataFrame, config: Config, check: Check) -> OutputCounts:
    path = _place(config)
    folder = storage.join(path, publishing.TEMPORARY)
    kept = remove_images(samples, removed)
    if config.input.format == "images":
        n_kept = kept.count()
        take_up(path, config, partial(marks_of_packs, kept, config, n_kept), "tars")
        tars = pack_images(kept, config, folder, n_kept)
    else:
        # Only new divisions need the numbers: another pass over all samples.
        sizes = kept.groupBy("shard").count().collect() if config.output.repack else []
        by_shard = {row["shard"]: int(row["count"]) for row in sizes}
        tasks = plan_copies(list_shards(config.input), by_shard, config.output.repack)
        take_up(path, config, partial(marks_of_tars, removed, tasks, config), "tars")
        tars = copy_tars(removed, tasks, config, folder)
    rows = tables.write("kept", tars).where(f"not {schemas.IS_SAMPLE}").collect()
    found = OutputCounts(
        written=sum(row["n_samples"] for row in rows),
        cut=sum(row["n_cut"] for row in rows),
        bytes_before=_input_bytes(config, tables.spark),
        bytes_after=sum(row["bytes"] for row in rows),
        files=len(rows),
    )
    check(found)
    publishing.publish_files(path, {row["tar"]: row["temporary"] for row in rows}, config)
    return found


def _write_files(tables: Tables, samples: DataFrame, removed: DataFrame, config: Config, check: Check) -> OutputCounts:
    """Files as they are, and which of them are not there: removed.csv."""
    path = _place(config)
    folder = storage.join(path, publishing.TEMPORARY)
    kept = remove_images(samples, removed)
    n_kept = kept.count()
    take_up(path, config, partial(marks_of_files, kept, config, n_kept), "groups of files")
    copied = tables.write("kept", copy_files(kept, config, folder, n_kept))
    rows = copied.select("image_id", "temporary", "bytes").toLocalIterator()
    placed, n_bytes = dict[str, str](), 0
    for row in rows:
        placed[row["image_id"]] = row["temporary"]
        n_bytes += row["bytes"]
    found = OutputCounts(len(placed), 0, _input_bytes(config, tables.spark), n_bytes, len(placed))
    check(found)
    listed = storage.join(folder, REMOVED_CSV)
    write_removed(tables, removed, config, listed)
    publishing.publish_files(path, placed | {REMOVED_CSV: listed}, config)
    return found


def _write_rows(samples: DataFrame, removed: DataFrame, config: Config, check: Check) -> OutputCounts:
    if config.input.format == "table" and config.output.format == "parquet":
        found = _copy_files(samples, removed, config, check)
        if found is not None:
            return found
    write = _write_delta if config.output.format == "delta" else _write_parquet
    n_expected = remove_images(samples, removed).count()
    before = _input_bytes(config, samples.sparkSession)

    def check_written(written: int, n_bytes: int, n_files: int) -> OutputCounts:
        found = OutputCounts(written, n_expected - written, before, n_bytes, n_files)
        check(found)
        return found

    return write(_kept_rows(samples, removed, config), _place(config), config, check_written)


def _copy_files(samples: DataFrame, removed: DataFrame, config: Config, check: Check) -> OutputCounts | None:
    """The files of a Parquet table without the rows that leave; None where Spark has to write them."""
    path = _place(config)
    folder = storage.join(path, publishing.TEMPORARY, uuid.uuid4().hex)  # a restart writes all of it again
    copied = copy_table_files(removed, config, folder)
    if copied is None:
        return None
    n_rows = sum(file.n_rows for file in copied)
    n_bytes = sum(file.n_bytes for file in copied)
    n_expected = samples.count() - removed.count()
    found = OutputCounts(n_rows, n_expected - n_rows, _input_bytes(config, samples.sparkSession), n_bytes, len(copied))
    check(found)
    publishing.publish_files(path, {file.name: file.temporary for file in copied}, config)
    return found


def _write_parquet(rows: DataFrame, path: str, config: Config, check: CheckRows) -> OutputCounts:
    spark, options = rows.sparkSession, config.output.storage_options
    temporary = storage.join(path, publishing.TEMPORARY, uuid.uuid4().hex)  # a restart writes all of it again
    rows.write.parquet(jvm_path(spark, temporary, options))
    written = spark.read.parquet(read_path(spark, temporary, options)).count()
    files = storage.list_files(temporary, ".parquet", options)
    found = check(written, sum(file.n_bytes for file in files), len(files))
    publishing.publish_files(path, {posixpath.basename(file.url): file.url for file in files}, config)
    return found


def _write_delta(rows: DataFrame, path: str, config: Config, check: CheckRows) -> OutputCounts:
    """Delta's log publishes as it writes: where the counts are wrong, the version before is restored."""
    spark, options = rows.sparkSession, config.output.storage_options
    earlier = delta_log.trace(path, options).version if delta_log.is_delta(path, options) else None
    place = jvm_path(spark, path, options)
    require_held(path)
    rows.write.format("delta").mode("overwrite").option("overwriteSchema", "true").save(place)
    written = spark.read.format("delta").load(place).count()
    try:
        found = check(written, *table_size(spark, path))
    except ImgDedupError:
        if earlier is None:
            storage.delete(storage.join(path, delta_log.LOG), options)
        else:
            spark.sql(f"RESTORE TABLE {table_name(path)} TO VERSION AS OF {earlier}").collect()
        raise
    publishing.publish_files(path, {}, config)
    return found


def _kept_rows(samples: DataFrame, removed: DataFrame, config: Config) -> DataFrame:
    if config.input.format == "table":
        rows = widen_halves(open_table(samples.sparkSession, config.input.paths, config.input.storage_options))
        return remove_images(rows, removed, image_id=config.input.id_field or "image_id", id_field="image_id")
    if config.input.format == "images":
        kept = remove_images(samples, removed)
        return read_kept_files(kept, config, kept.count())
    return read_kept(removed, list_shards(config.input), config)


def _input_bytes(config: Config, spark: SparkSession) -> int:
    if config.input.format == "webdataset":
        return total_bytes(list_shards(config.input))
    if config.input.format == "table" and delta_log.is_delta(config.input.paths[0], config.input.storage_options):
        return table_size(spark, config.input.paths[0])[0]
    if config.input.format == "images":
        return sum(file.n_bytes for file in list_images(config.input)[0])
    files = [file for path in config.input.paths for file in storage.list_files(path, "", config.input.storage_options)]
    return sum(file.n_bytes for file in files if file.url.lower().endswith(".parquet"))


def require_sums(samples: SampleCounts, removed: Mapping[str, int], found: OutputCounts) -> None:
    """Check read = written + removed for each reason + cut, before anything is published.

    Raises:
        CountsError: with the numbers.
    """
    accounted = found.written + sum(removed.values()) + found.cut
    if accounted != samples.read or not 0 <= found.cut <= samples.n_damaged_shards:
        raise CountsError(
            f"remove: {samples.read} samples were read, but {found.written} written + {dict(removed)} removed + "
            f"{found.cut} cut off (in {samples.n_damaged_shards} damaged shards) make {accounted}. The input may have "
            "changed during the run: run again with --force."
        )
