"""The places that a configuration names: can they be read and written with the credentials that there are?"""

from __future__ import annotations

import os
import posixpath
import uuid
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from spark_imgdedup.checkup.check import Check
from spark_imgdedup.config import Config
from spark_imgdedup.files import storage, writing
from spark_imgdedup.files.delta_log import LOG
from spark_imgdedup.files.owning.publishing import output_path
from spark_imgdedup.files.reach import without
from spark_imgdedup.files.s3a import bucket_of
from spark_imgdedup.files.tars.shards import list_shards, total_bytes
from spark_imgdedup.runs.object_stores import hadoop_version, places, store_problem
from spark_imgdedup.runs.problems import in_one_line
from spark_imgdedup.runs.tables import Tables
from spark_imgdedup.stages.object_stores import jvm_path

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def check_places(config: Config, spark: SparkSession | None) -> Iterator[Check]:
    """The places that the settings name: listed if they are read, and a hidden file put there if they are written."""
    ours = config.storage_options
    if config.input.path is not None:
        options = config.input.storage_options
        yield _try("input.path", "the dataset", "list", lambda: _listed_input(config), options)
    for name, paths in (
        ("cluster.embeddings_path", filter(None, [config.cluster.embeddings_path])),
        ("remove.ids_path", config.remove.paths),
        ("score heads", config.score.heads.values()),
    ):
        for path in paths:
            yield _try(name, "read by the run", "list", partial(_listed, path, ours), ours)
    if config.input.path is not None or config.own_embeddings or "work_dir" in config.model_fields_set:
        attempt = partial(_written, config.work_dir, ours)
        yield _try("work_dir", "tables, records, report", "write", attempt, ours)
    if config.deletes and config.input.path is not None:
        options = config.input.storage_options
        yield _try("input.path (delete)", "rows are deleted from it", "write", lambda: _deletable(config), options)
    elif config.output.path is not None:
        attempt = partial(_written, config.output.path, config.output.storage_options)
        yield _try("output.path", "the new dataset", "write", attempt, config.output.storage_options)
    if config.tables.schema_name is not None and spark is not None:
        yield _try("tables.schema", "the tables", "use", lambda: _named_tables(config, spark), {})
    yield from _seen_by_jvm(config, spark)


def _try(name: str, why: str, verb: str, attempt: Callable[[], str], options: Mapping[str, Any]) -> Check:
    remedy = f"check the path, the credentials (storage_options, or the environment's) and the right to {verb}"
    try:
        return Check(name, True, attempt(), why, remedy, True)
    except Exception as error:  # of any storage's own kind
        return Check(name, False, without(in_one_line(error), options), why, remedy, True)


def _listed_input(config: Config) -> str:
    if config.input.format == "webdataset":
        shards = list_shards(config.input)
        return f"{len(shards)} tars, {total_bytes(shards) / 2**20:,.1f} MiB"
    return ", ".join(_listed(path, config.input.storage_options) for path in config.input.paths)


def _listed(path: str, options: Mapping[str, Any] | None = None) -> str:
    files = storage.list_files(path, "", options)
    if not files:
        raise FileNotFoundError(f"{path}: nothing there")
    return f"{len(files)} files, {sum(file.n_bytes for file in files) / 2**20:,.1f} MiB"


def _written(path: str, options: Mapping[str, Any]) -> str:
    """Put a hidden file there and take it away. Where a local folder is missing, the nearest above it is tried."""
    folder = path
    while "://" not in folder and not storage.exists(folder):
        folder = posixpath.dirname(os.path.abspath(folder))
    file = storage.join(folder, f".spark-imgdedup-doctor-{uuid.uuid4().hex}")
    try:
        writing.write_bytes(file, b"", options)
    finally:
        storage.delete(file, options)
    return f"{folder} can be written"


def _deletable(config: Config) -> str:
    return _written(storage.join(output_path(config), LOG), config.input.storage_options)


def _named_tables(config: Config, spark: SparkSession) -> str:
    tables = Tables(spark, config)
    tables.require_writable([step for step in config.steps if step != "report"])
    return tables.place("<table>")


def _seen_by_jvm(config: Config, spark: SparkSession | None) -> Iterator[Check]:
    """Whether Spark's JVM, which goes to S3 by itself, has the jar for it and is let in; nothing where it need not."""
    found = [place for place in places(config) if place.by_jvm and bucket_of(place.url) is not None]
    if not found or spark is None:
        return
    remedy = f"spark.jars.packages=org.apache.hadoop:hadoop-aws:{hadoop_version() or '<version>'}; storage_options"
    for place in found:
        why, name = f"{place.setting} on Spark's side", "hadoop-aws"
        problem = _refused(spark, place.url, place.options)
        yield Check(name, problem is None, without(problem or "the JVM is let in", place.options), why, remedy, True)


def _refused(spark: SparkSession, url: str, options: Mapping[str, Any]) -> str | None:
    try:
        # Spark asks the store when a table is opened; that there is none yet is an answer.
        _ = spark.read.format("binaryFile").load(jvm_path(spark, url, options)).schema
    except Exception as error:
        if "PATH_NOT_FOUND" in str(error):
            return None
        return str(store_problem(error) or in_one_line(error))
    return None
