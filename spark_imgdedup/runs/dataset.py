"""Write the dataset again without the samples that leave it."""

from __future__ import annotations

import posixpath
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from spark_imgdedup.config import Config
from spark_imgdedup.counts import OutputCounts, SampleCounts
from spark_imgdedup.errors import CountsError, ShardError
from spark_imgdedup.files import delta_log, publishing, storage
from spark_imgdedup.files.copy_plan import plan_copies
from spark_imgdedup.files.shards import IMAGE_SUFFIXES, list_shards, total_bytes
from spark_imgdedup.runs.delta import table_name, table_size
from spark_imgdedup.runs.replace_where import replace_part
from spark_imgdedup.stages.object_stores import jvm_path
from spark_imgdedup.stages.remove import copy_tars, pack_images, read_kept, read_kept_files, remove_images
from spark_imgdedup.stages.user_tables import open_table
from spark_imgdedup.stages.vector_column import widen_halves

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from spark_imgdedup.runs.tables import Tables

Check = Callable[[OutputCounts], None]
CheckRows = Callable[[int, int, int], OutputCounts]  # of rows, bytes and files written


def write_dataset(tables: Tables, samples: DataFrame, removed: DataFrame, config: Config, check: Check) -> OutputCounts:
    """Write the samples of `samples` that are not in `removed` to the output, and say how much that was.

    Args:
        tables: For the table `kept`, one row per tar.
        samples: image_id, shard, key, rejected_because of each sample.
        removed: The samples that leave, from `mark_removals`.
        config: `input` and `output` say what is copied where.
        check: Called with the counts before the new files take the place of earlier ones, and raises where they are
            wrong. What Delta's log has published by then is taken back, but for a part of a table of many writers.

    Raises:
        ConfigError: the output folder may not be written to.
        ShardError: two samples of a shard have one key, so one could not be removed without the other.
    """
    if config.input.format == "webdataset" and config.input.id_field is not None:
        _require_unique_keys(samples)
    if config.output.format == "webdataset":
        return _write_tars(tables, samples, removed, config, check)
    if config.output.mode == "replace_where":
        found = replace_part(tables, _kept_rows(samples, removed, config), config)
        cut = remove_images(samples, removed).count() - found.written
        found = replace(found, cut=cut, bytes_before=_input_bytes(config, tables.spark))
        check(found)
        return found
    return _write_rows(samples, removed, config, check)


def _write_tars(tables: Tables, samples: DataFrame, removed: DataFrame, config: Config, check: Check) -> OutputCounts:
    path = publishing.output_path(config)
    folder = storage.join(path, publishing.TEMPORARY)
    publishing.begin(path, config)
    kept = remove_images(samples, removed)
    if config.input.format == "images":
        tars = pack_images(kept, config, folder, kept.count())
    else:
        # Only new divisions need the numbers: another pass over all samples.
        sizes = kept.groupBy("shard").count().collect() if config.output.repack else []
        n_kept = {row["shard"]: int(row["count"]) for row in sizes}
        tasks = plan_copies(list_shards(config.input), n_kept, config.output.repack)
        tars = copy_tars(removed, tasks, config, folder)
    rows = tables.write("kept", tars).collect()
    found = OutputCounts(
        written=sum(row["n_samples"] for row in rows),
        cut=sum(row["n_cut"] for row in rows),
        bytes_before=_input_bytes(config, tables.spark),
        bytes_after=sum(row["n_bytes"] for row in rows),
        files=len(rows),
    )
    check(found)
    publishing.publish_files(path, {f"{row['name']}.tar": row["temporary"] for row in rows}, config)
    return found


def _write_rows(samples: DataFrame, removed: DataFrame, config: Config, check: Check) -> OutputCounts:
    path = publishing.output_path(config)
    publishing.begin(path, config)
    write = _write_delta if config.output.format == "delta" else _write_parquet
    n_expected = remove_images(samples, removed).count()
    before = _input_bytes(config, samples.sparkSession)

    def check_written(written: int, n_bytes: int, n_files: int) -> OutputCounts:
        found = OutputCounts(written, n_expected - written, before, n_bytes, n_files)
        check(found)
        return found

    return write(_kept_rows(samples, removed, config), path, config, check_written)


def _write_parquet(rows: DataFrame, path: str, config: Config, check: CheckRows) -> OutputCounts:
    spark, options = rows.sparkSession, config.output.storage_options
    temporary = storage.join(path, publishing.TEMPORARY, uuid.uuid4().hex)
    rows.write.parquet(jvm_path(spark, temporary, options))
    written = spark.read.parquet(jvm_path(spark, temporary, options)).count()
    files = storage.list_files(temporary, ".parquet", options)
    found = check(written, sum(file.n_bytes for file in files), len(files))
    publishing.publish_files(path, {posixpath.basename(file.url): file.url for file in files}, config)
    return found


def _write_delta(rows: DataFrame, path: str, config: Config, check: CheckRows) -> OutputCounts:
    """Delta's log publishes as it writes: where the counts are wrong, the version before is restored."""
    spark, options = rows.sparkSession, config.output.storage_options
    earlier = delta_log.trace(path, options).version if delta_log.is_delta(path, options) else None
    place = jvm_path(spark, path, options)
    rows.write.format("delta").mode("overwrite").option("overwriteSchema", "true").save(place)
    written = spark.read.format("delta").load(place).count()
    try:
        found = check(written, *table_size(spark, path))
    except CountsError:
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


def _require_unique_keys(samples: DataFrame) -> None:
    """Ids from a field say nothing about keys, by which samples are copied."""
    twice = samples.groupBy("shard", "key").count().where("count > 1").orderBy("shard", "key").first()
    if twice is not None:
        raise ShardError(
            f"shard '{twice['shard']}' holds {twice['count']} samples with the key '{twice['key']}'. Rename them, or "
            "write that shard again with its samples' members side by side."
        )


def _input_bytes(config: Config, spark: SparkSession) -> int:
    if config.input.format == "webdataset":
        return total_bytes(list_shards(config.input))
    if config.input.format == "table" and delta_log.is_delta(config.input.paths[0], config.input.storage_options):
        return table_size(spark, config.input.paths[0])[0]
    suffixes = tuple(IMAGE_SUFFIXES) if config.input.format == "images" else (".parquet",)
    files = [file for path in config.input.paths for file in storage.list_files(path, "", config.input.storage_options)]
    return sum(file.n_bytes for file in files if file.url.lower().endswith(suffixes))


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
