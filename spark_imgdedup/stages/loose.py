"""Loose image files -> rows, in tasks that open the files themselves: their bytes never enter the JVM."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from spark_imgdedup.config import InputConfig
from spark_imgdedup.files.loose import ImageFile, list_images, read_files, too_large
from spark_imgdedup.files.tars.shards import input_root
from spark_imgdedup.models.stream import ImageRecord
from spark_imgdedup.stages.tasks import map_packages

if TYPE_CHECKING:
    from pyspark.resource import ResourceProfile
    from pyspark.sql import DataFrame, SparkSession

# Files that a task takes: whole batches of a model, few enough that some hundred pictures keep all cores busy, and so
# many that Spark's scheduler stays out of the way.
FEWEST_FILES = 32
MOST_FILES = 256
USUAL_TASKS = 64
MAX_TASKS = 20_000

FileWork = Callable[[Iterator[ImageFile]], Iterator[pa.RecordBatch]]


def map_loose_images(
    spark: SparkSession, config: InputConfig, work: FileWork, schema: str, profile: ResourceProfile | None = None
) -> DataFrame:
    """`work` applied to the loose images of the input, in tasks of neighbouring files; rows of its batches.

    Raises:
        ConfigError: nothing is found at input.path.
    """
    files, _ = list_images(config)

    def run(packages: Iterator[bytes]) -> Iterator[pa.RecordBatch]:
        return work(file for package in packages for file in unpack(package))

    return map_packages(spark, [pack(group) for group in group_files(files)], run, schema, profile)


def with_root(config: InputConfig) -> InputConfig:
    """`config` with its root in full: a worker's current folder is another one than the driver's."""
    return config.model_copy(update={"root": input_root(config)})


def iter_loose_images(files: Iterable[ImageFile], config: InputConfig) -> Iterator[ImageRecord]:
    """The files as records, in their order; one that cannot be read says why.

    image_id and key are the path below input.root, extension included; shard is the folder.
    """
    for file, content in read_files(files, input_root(config), config):
        yield ImageRecord(file.name, file.folder, file.name, content.data, content.reason, content.error)


def name_loose_images(files: Iterable[ImageFile], config: InputConfig) -> Iterator[ImageRecord]:
    """Like `iter_loose_images`, and no file is opened."""
    for file in files:
        refused = too_large(file.n_bytes, config)
        reason, error = (None, None) if refused is None else (refused.reason, refused.error)
        yield ImageRecord(file.name, file.folder, file.name, None, reason, error)


def group_files(files: Sequence[ImageFile]) -> Iterator[Sequence[ImageFile]]:
    """The files in groups of neighbours, a task's work each."""
    n_batches = max(1, -(-len(files) // (USUAL_TASKS * FEWEST_FILES)))
    size = max(min(n_batches * FEWEST_FILES, MOST_FILES), -(-len(files) // MAX_TASKS))
    return (files[start : start + size] for start in range(0, len(files), size))


def pack(files: Sequence[ImageFile]) -> bytes:
    """Files as few bytes: neighbours have most of their names in common."""
    return zlib.compress(json.dumps([(file.name, file.n_bytes) for file in files]).encode())


def unpack(package: bytes) -> Iterator[ImageFile]:
    """What `pack` was given, without the stamps."""
    return (ImageFile(name, n_bytes, "") for name, n_bytes in json.loads(zlib.decompress(package)))
