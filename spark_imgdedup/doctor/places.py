"""The places that a configuration names: can they be read and written with the credentials that there are?"""

from __future__ import annotations

import os
import posixpath
import uuid
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from spark_imgdedup.config import Config
from spark_imgdedup.config.values import HIDDEN
from spark_imgdedup.doctor.check import Check, in_one_line
from spark_imgdedup.files import storage
from spark_imgdedup.files.delta_log import LOG
from spark_imgdedup.files.publishing import output_path
from spark_imgdedup.files.shards import list_shards, total_bytes
from spark_imgdedup.runs.tables import Tables

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def check_places(config: Config, spark: SparkSession | None) -> Iterator[Check]:
    """The places that the settings name: listed if they are read, and a hidden file put there if they are written."""
    if config.input.path is not None:
        options = config.input.storage_options
        yield _try("input.path", "the dataset", "list", lambda: _listed_input(config), options)
    for name, paths in (
        ("cluster.embeddings_path", filter(None, [config.cluster.embeddings_path])),
        ("remove.ids_path", config.remove.paths),
        ("score heads", config.score.heads.values()),
    ):
        for path in paths:
            yield _try(name, "read by the run", "list", partial(_listed, path), {})
    if config.input.path is not None or config.own_embeddings or "work_dir" in config.model_fields_set:
        yield _try("work_dir", "tables, records, report", "write", lambda: _written(config.work_dir, {}), {})
    if config.deletes and config.input.path is not None:
        options = config.input.storage_options
        yield _try("input.path (delete)", "rows are deleted from it", "write", lambda: _deletable(config), options)
    elif config.output.path is not None:
        attempt = partial(_written, config.output.path, config.output.storage_options)
        yield _try("output.path", "the new dataset", "write", attempt, config.output.storage_options)
    if config.tables.schema_name is not None and spark is not None:
        yield _try("tables.schema", "the tables", "use", lambda: _named_tables(config, spark), {})


def _try(name: str, why: str, verb: str, attempt: Callable[[], str], options: Mapping[str, Any]) -> Check:
    remedy = f"check the path, the credentials ({name.partition('.')[0]}.storage_options) and the right to {verb}"
    if not name.startswith(("input", "output")):
        remedy = f"check the name, the credentials in the environment and the right to {verb}"
    try:
        return Check(name, True, attempt(), why, remedy, True)
    except Exception as error:  # of any storage's own kind
        found = in_one_line(error)
        for secret in filter(None, map(str, options.values())):
            found = found.replace(secret, HIDDEN)
        return Check(name, False, found, why, remedy, True)


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
        storage.write_bytes(file, b"", options)
    finally:
        storage.delete(file, options)
    return f"{folder} can be written"


def _deletable(config: Config) -> str:
    return _written(storage.join(output_path(config), LOG), config.input.storage_options)


def _named_tables(config: Config, spark: SparkSession) -> str:
    tables = Tables(spark, config)
    tables.require_writable([step for step in config.steps if step != "report"])
    return tables.place("<table>")
