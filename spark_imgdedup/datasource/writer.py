"""Rows -> shards, for Spark's data source API. This module imports Spark: only a registered source does import it."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from pyspark.sql.datasource import DataSourceArrowWriter, WriterCommitMessage

from spark_imgdedup.datasource.columns import WriteColumns
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.files import storage
from spark_imgdedup.files.copying.shard_packer import pack_files, pack_samples
from spark_imgdedup.files.owning.publishing import TEMPORARY, clear_temporary, publish, require_own

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql.types import StructType

    from spark_imgdedup.datasource.options import WriteOptions

_NUMBERED = re.compile(r"(\d{6,})\.tar")


@dataclass(frozen=True)
class WrittenTars(WriterCommitMessage):
    """The tars of one task, in order, under their temporary names."""

    urls: tuple[str, ...]


class WebDatasetWriter(DataSourceArrowWriter):
    """Writes tars that nobody sees until the whole job is committed.

    Every attempt of a task writes into a folder of its own, below `_temporary`. Spark's commit names one attempt of
    each task; those tars get their final names, and all else goes. One job at a time may write to a folder.
    """

    def __init__(self, options: WriteOptions, schema: StructType, *, overwrite: bool) -> None:
        self._columns = WriteColumns(tuple((field.name, field.dataType.simpleString()) for field in schema))
        self._options = options
        self._overwrite = overwrite
        # Made on the driver, once: all tasks of the job and its commit have this one.
        self._job = uuid.uuid4().hex
        manifest = require_own(options.target)
        if manifest and manifest["state"] != "complete" and not overwrite:
            raise ConfigError(
                f"webdataset: {options.path} holds what is left of a write that was cut off while it was published. "
                "Nothing can be appended to that; write it again with mode('overwrite')."
            )

    def write(self, iterator: Iterator[pa.RecordBatch]) -> WrittenTars:
        """One attempt of one task.

        Raises:
            SchemaError: a row has no key.
            ShardError: a key or an extension would not be read as it was given.
        """
        options = self._options
        folder = storage.join(options.path, TEMPORARY, self._job, uuid.uuid4().hex)
        samples = chain.from_iterable(map(self._columns.samples, iterator))
        try:
            tars = pack_samples(samples, options.samples_per_tar, folder, options.storage_options)
            return WrittenTars(tuple(tar.temporary for tar in tars))
        except BaseException:
            storage.delete(folder, options.storage_options)
            raise

    def commit(self, messages: list[WrittenTars | None]) -> None:  # type: ignore[override]  # ours are the only ones
        """Give the tars their final names: numbers, by partition and by place in it, after those that are there."""
        options = self._options
        manifest = require_own(options.target)
        earlier = frozenset[str](manifest["files"]) if manifest and not self._overwrite else frozenset[str]()
        urls = [url for message in messages if message for url in message.urls]
        if not urls and not earlier:  # readers expect a tar
            folder = storage.join(options.path, TEMPORARY, self._job)
            urls = [pack_files("000000", [], folder, read={}, write=options.storage_options).temporary]
        first = 1 + max((int(found[1]) for name in earlier if (found := _NUMBERED.fullmatch(name))), default=-1)
        names = {f"{first + place:06d}.tar": url for place, url in enumerate(urls)}
        publish(options.target, names, keep=earlier)

    def abort(self, messages: list[WrittenTars | None]) -> None:  # type: ignore[override]  # ours are the only ones
        """Take away what the job wrote, also by attempts of which Spark has no message."""
        clear_temporary(self._options.path, self._options.storage_options, self._job)
