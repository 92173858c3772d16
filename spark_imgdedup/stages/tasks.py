"""Numbered pieces of work, each a Spark task of its own, and what every task of ours does first."""

from __future__ import annotations

import sys
import zipimport
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from spark_imgdedup.stages.gpu_tasks import as_option

if TYPE_CHECKING:
    from pyspark.resource import ResourceProfile
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

Batches = Iterable[pa.RecordBatch]
NumberedWork = Callable[[Iterator[int]], Iterator[pa.RecordBatch]]


def map_tasks(
    spark: SparkSession, n: int, work: NumberedWork, schema: StructType | str, profile: ResourceProfile | None = None
) -> DataFrame:
    """The rows of the batches that `work` makes of the numbers 0 to n - 1, each in a task of its own.

    A range of one row a partition gives each number a task: a shuffle would put two on one core and none on another,
    and adaptive execution would merge tasks by the bytes of their rows, which say nothing of the work.
    """

    def run(batches: Batches) -> Iterator[pa.RecordBatch]:
        forget_zips()
        return work(number for batch in batches for number in batch.column(0).to_pylist())

    return spark.range(0, n, 1, max(1, n)).mapInArrow(run, schema, **as_option(profile))


def forget_zips() -> None:
    """Keep the next task of this worker from reading the index of pyspark.zip again.

    PySpark invalidates all importers before each task, and Python before 3.13 then reads the whole index of each zip on
    its path: 0.13 s of processor time for a task that does nothing (measured on PySpark 4.1.3). An importer that is
    not remembered is made anew when something is imported, from the index that zipimport keeps.
    """
    zips = [path for path, finder in sys.path_importer_cache.items() if isinstance(finder, zipimport.zipimporter)]
    for path in zips:
        del sys.path_importer_cache[path]
