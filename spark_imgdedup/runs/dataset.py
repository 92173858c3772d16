"""Write the dataset again without the samples that leave it."""

from __future__ import annotations

import posixpath
import uuid
from typing import TYPE_CHECKING, Any

from spark_imgdedup.config import Config
from spark_imgdedup.errors import CountsError, ShardError
from spark_imgdedup.files import delta_log, publishing, storage
from spark_imgdedup.files.copy_plan import plan_copies
from spark_imgdedup.files.shards import IMAGE_SUFFIXES, list_shards, total_bytes
from spark_imgdedup.runs.deletion import is_deleted
from spark_imgdedup.runs.delta import table_size
from spark_imgdedup.runs.replace_where import is_replaced, replace_part
from spark_imgdedup.stages.object_stores import jvm_path
from spark_imgdedup.stages.remove import copy_tars, pack_images, read_kept, read_kept_files, remove_images
from spark_imgdedup.stages.user_tables import open_table
from spark_imgdedup.stages.vector_column import widen_halves

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from spark_imgdedup.runs.tables import StepRecord, Tables

Counts = dict[str, Any]


def write_dataset(tables: Tables, samples: DataFrame, removed: DataFrame, config: Config) -> Counts:
    """Write the samples of `samples` that are not in `removed` to the output, and say how much that was.

    Args:
        tables: For the table `kept`, one row per tar.
        samples: image_id, shard, key, rejected_because of each sample.
        removed: The samples that leave, from `mark_removals`.
        config: `input` and `output` say what is copied where.

    Returns:
        written, cut (samples the input ends inside of), bytes_before, bytes_after, files.

    Raises:
        ConfigError: the output folder may not be written to.
        ShardError: two samples of a shard have one key, so one could not be removed without the other.
    """
    if config.input.format == "webdataset" and config.input.id_field is not None:
        _require_unique_keys(samples)
    if config.output.format == "webdataset":
        return _write_tars(tables, samples, removed, config)
    if config.output.mode == "replace_where":
        found = replace_part(tables, _kept_rows(samples, removed, config), config)
        cut = remove_images(samples, removed).count() - found["written"]
        return {"cut": cut, "bytes_before": _input_bytes(config, tables.spark), **found}
    return _write_rows(samples, removed, config)


def _write_tars(tables: Tables, samples: DataFrame, removed: DataFrame, config: Config) -> Counts:
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
    publishing.publish_files(path, {f"{row['name']}.tar": row["temporary"] for row in rows}, config)
    return {
        "written": sum(row["n_samples"] for row in rows),
        "cut": sum(row["n_cut"] for row in rows),
        "bytes_before": _input_bytes(config, tables.spark),
        "bytes_after": sum(row["n_bytes"] for row in rows),
        "files": len(rows),
    }


def _write_rows(samples: DataFrame, removed: DataFrame, config: Config) -> Counts:
    path, options = publishing.output_path(config), config.output.storage_options
    spark = samples.sparkSession
    publishing.begin(path, config)
    rows = _kept_rows(samples, removed, config)
    if config.output.format == "delta":  # its log publishes
        place = jvm_path(spark, path, options)
        rows.write.format("delta").mode("overwrite").option("overwriteSchema", "true").save(place)
        written = spark.read.format("delta").load(place).count()
        n_bytes, n_files = table_size(spark, path)
        publishing.publish_files(path, {}, config)
    else:
        temporary = storage.join(path, publishing.TEMPORARY, uuid.uuid4().hex)
        rows.write.parquet(jvm_path(spark, temporary, options))
        written = spark.read.parquet(jvm_path(spark, temporary, options)).count()
        files = storage.list_files(temporary, ".parquet", options)
        publishing.publish_files(path, {posixpath.basename(file.url): file.url for file in files}, config)
        n_bytes, n_files = sum(file.n_bytes for file in files), len(files)
    expected = remove_images(samples, removed).count()
    return {
        "written": written,
        "cut": expected - written,
        "bytes_before": _input_bytes(config, spark),
        "bytes_after": n_bytes,
        "files": n_files,
    }


def is_written(record: StepRecord, config: Config) -> bool:
    """True where the output of a finished `remove` is still there."""
    if config.deletes:
        return is_deleted(record, config)
    return is_replaced(record, config) if config.output.mode == "replace_where" else publishing.is_published(config)


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


def require_sums(counts: Counts, *, n_damaged: int) -> None:
    """Check read = written + removed for each reason + cut, before the run is called done.

    Raises:
        CountsError: with the numbers.
    """
    accounted = counts["written"] + sum(counts["removed"].values()) + counts["cut"]
    if accounted != counts["read"] or not 0 <= counts["cut"] <= n_damaged:
        raise CountsError(
            f"remove: {counts['read']} samples were read, but {counts['written']} written + {counts['removed']} "
            f"removed + {counts['cut']} cut off (in {n_damaged} damaged shards) make {accounted}. The input may have "
            "changed during the run: run again with --force."
        )
