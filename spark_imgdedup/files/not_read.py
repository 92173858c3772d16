"""How many files below the input are not read, and why. No Spark."""

from __future__ import annotations

from collections.abc import Mapping

from spark_imgdedup.config import InputConfig
from spark_imgdedup.files.delta_log import is_delta
from spark_imgdedup.files.listing import count_others
from spark_imgdedup.files.loose import list_images
from spark_imgdedup.files.parquet_files import table_files
from spark_imgdedup.files.tars.shards import list_tars


def count_not_read(config: InputConfig) -> Mapping[str, int]:
    """The files that are hidden, or no tars (no images, no Parquet), by reason; a Delta table's log says what is its.

    Raises:
        ConfigError: nothing is found at input.path.
    """
    options = config.storage_options
    if config.path is None:
        return {}
    if config.format == "images":
        return list_images(config)[1]
    if config.format == "webdataset":
        return list_tars(config).not_read
    if any(is_delta(path, options) for path in config.paths):
        return {}
    read = {file.url for path in config.paths for file in table_files(path, options).data}
    return count_others(config.paths, read, options)
