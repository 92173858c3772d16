"""Write the dataset again without the samples that leave it."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from spark_imgdedup.config import Config
from spark_imgdedup.errors import CountsError
from spark_imgdedup.files import publishing, storage
from spark_imgdedup.files.shard_writer import plan_copies
from spark_imgdedup.files.shards import IMAGE_SUFFIXES, list_shards, total_bytes
from spark_imgdedup.stages.read import open_table, read_images
from spark_imgdedup.stages.remove import copy_tars, pack_images, read_kept, remove_images

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from spark_imgdedup.runs.tables import Tables

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
    """
    if config.output.format == "webdataset":
        return _write_tars(tables, samples, removed, config)
    return _write_rows(samples, removed, config)


def _write_tars(tables: Tables, samples: DataFrame, removed: DataFrame, config: Config) -> Counts:
    path = publishing.output_path(config)
    folder = storage.join(path, publishing.TEMPORARY)
    publishing.write_manifest(
        path,
        config,
        "publishing",
        (publishing.read_manifest(path, config.output.storage_options) or {}).get("files", []),
    )
    kept = remove_images(samples, removed)
    if config.input.format == "images":
        tars = pack_images(kept, config, folder, kept.count())
    else:
        n_kept = {row["shard"]: int(row["count"]) for row in kept.groupBy("shard").count().collect()}
        tasks = plan_copies(list_shards(config.input), n_kept, config.output.repack)
        tars = copy_tars(removed, tasks, config, folder)
    rows = tables.write("kept", tars).collect()
    publishing.publish_files(path, {f"{row['name']}.tar": row["temporary"] for row in rows}, config)
    return {
        "written": sum(row["n_samples"] for row in rows),
        "cut": sum(row["n_cut"] for row in rows),
        "bytes_before": _input_bytes(config),
        "bytes_after": sum(row["n_bytes"] for row in rows),
        "files": len(rows),
    }


def _write_rows(samples: DataFrame, removed: DataFrame, config: Config) -> Counts:
    path, options = publishing.output_path(config), config.output.storage_options
    spark = samples.sparkSession
    rows = _kept_rows(samples, removed, config)
    if config.output.format == "delta":
        rows.write.format("delta").mode("overwrite").option("overwriteSchema", "true").save(storage.spark_path(path))
    else:
        temporary = f"{path.rstrip('/')}.{uuid.uuid4().hex}.tmp"
        rows.write.parquet(storage.spark_path(temporary))
        storage.delete(path, options)
        storage.move(temporary, path, options)
    publishing.write_manifest(path, config, "complete", [])
    written = spark.read.format(config.output.format).load(storage.spark_path(path)).count()
    expected = remove_images(samples, removed).count()
    files = storage.list_files(path, ".parquet", options)
    return {
        "written": written,
        "cut": expected - written,
        "bytes_before": _input_bytes(config),
        "bytes_after": sum(file.n_bytes for file in files),
        "files": len(files),
    }


def _kept_rows(samples: DataFrame, removed: DataFrame, config: Config) -> DataFrame:
    from pyspark.sql import functions as F

    spark = samples.sparkSession
    if config.input.format == "table":
        return remove_images(
            open_table(spark, config.input.paths),
            removed,
            image_id=config.input.id_field or "image_id",
            id_field="image_id",
        )
    if config.input.format == "images":
        images = remove_images(read_images(spark, config), removed)
        suffix = F.lower(F.regexp_extract("key", r"\.([^.]*)$", 1))
        return images.select("image_id", "shard", "key", F.create_map(suffix, "image").alias("members"))
    return read_kept(removed, list_shards(config.input), config)


def _input_bytes(config: Config) -> int:
    if config.input.format == "webdataset":
        return total_bytes(list_shards(config.input))
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
