"""Work on Arrow batches in Spark tasks: on those of a table, or on numbered pieces, each in a task of its own."""

from __future__ import annotations

import gc
import pickle
import sys
import zipimport
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar, cast

import pyarrow as pa

from spark_imgdedup.stages.gpu_tasks import as_option
from spark_imgdedup.stages.local_rows import local_rows

if TYPE_CHECKING:
    from pyspark.resource import ResourceProfile
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

Batches = Iterable[pa.RecordBatch]
BatchWork = Callable[[Batches], Iterator[pa.RecordBatch]]
PackedWork = Callable[[Iterator[bytes]], Iterator[pa.RecordBatch]]
NumberedWork = Callable[[Iterator[int]], Iterator[pa.RecordBatch]]
Item = TypeVar("Item")

# Of all tasks, that each may get with its code.
MAX_BYTES_WITH_EACH = 2**18


class EachAlone(Generic[Item]):
    """What tasks are about, one item each, of which a task unpacks its own alone.

    All of them travel with the code of each task. As objects they are all made there: 20,000 tars took 58 ms of each of
    20,000 tasks (measured), as bytes 2 ms.
    """

    def __init__(self, items: Iterable[Item]) -> None:
        self._packed = [pickle.dumps(item) for item in items]

    def __getitem__(self, number: int) -> Item:
        return cast(Item, pickle.loads(self._packed[number]))  # noqa: S301  # what we have packed, as the code beside it

    def __len__(self) -> int:
        return len(self._packed)


def map_batches(
    rows: DataFrame, work: BatchWork, schema: StructType | str, profile: ResourceProfile | None = None
) -> DataFrame:
    """The rows of the batches that `work` makes of those of each partition: Spark's `mapInArrow`, at less cost."""

    def run(batches: Batches) -> Iterator[pa.RecordBatch]:
        try:
            yield from work(batches)
        finally:
            _forget_zips()
            _forget_garbage_of_imports()

    return rows.mapInArrow(run, schema, **as_option(profile))


def map_tasks(
    spark: SparkSession, n: int, work: NumberedWork, schema: StructType | str, profile: ResourceProfile | None = None
) -> DataFrame:
    """The rows of the batches that `work` makes of the numbers 0 to n - 1, each in a task of its own.

    A range of one row a partition gives each number a task: a shuffle would put two on one core and none on another,
    and adaptive execution would merge tasks by the bytes of their rows, which say nothing of the work.
    """

    def run(batches: Batches) -> Iterator[pa.RecordBatch]:
        return work(number for batch in batches for number in batch.column(0).to_pylist())

    return map_batches(spark.range(0, n, 1, max(1, n)), run, schema, profile)


def map_packages(
    spark: SparkSession,
    packages: Sequence[bytes],
    work: PackedWork,
    schema: StructType | str,
    profile: ResourceProfile | None = None,
) -> DataFrame:
    """The rows of the batches that `work` makes of packages, each in a task of its own.

    Few travel in the closure, which saves the two jobs of placing rows. Many travel as rows: each task would get those
    of all tasks, and a Connect server refuses the whole.
    """
    if sum(map(len, packages)) <= MAX_BYTES_WITH_EACH:
        return map_tasks(spark, len(packages), lambda numbers: work(packages[n] for n in numbers), schema, profile)

    def run(batches: Batches) -> Iterator[pa.RecordBatch]:
        return work(package for batch in batches for package in batch.column(1).to_pylist())

    placed = local_rows(spark, list(enumerate(packages)), "task int, package binary")
    # Ranges of distinct numbers give each task its partition; hashing would put two on one core and none on another.
    return map_batches(placed.repartitionByRange(max(1, len(packages)), "task"), run, schema, profile)


def _forget_zips() -> None:
    """Keep the next task of this worker from reading the index of pyspark.zip again; called when one ends.

    PySpark invalidates all importers before each task, and Python before 3.13 then reads the whole index of each zip on
    its path: 0.13 s of processor time for a task that does nothing (measured on PySpark 4.1.3). An importer that is
    not remembered is made anew when something is imported, from the index that zipimport keeps.
    """
    zips = [path for path, finder in sys.path_importer_cache.items() if isinstance(finder, zipimport.zipimporter)]
    for path in zips:
        del sys.path_importer_cache[path]


def _forget_garbage_of_imports() -> None:
    """Keep PySpark from looking for garbage in modules, which it does after each task of a worker.

    With pandas, pyarrow and a model imported that is 0.05 s of processor time each (measured on PySpark 4.1.3), two
    fifths of what a warm worker does in a small run. Modules stay as long as the worker, so they are put aside whenever
    there are more of them.
    """
    if len(sys.modules) > _put_aside["modules"]:
        _put_aside["modules"] = len(sys.modules)
        gc.collect()  # else garbage would be put aside with them
        gc.freeze()


_put_aside = {"modules": 0}
