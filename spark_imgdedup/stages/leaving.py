"""Which samples leave the tars of each task: told with the code of the tasks where they are few, else as rows."""

from __future__ import annotations

import pickle
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from spark_imgdedup.files.copying.removal_check import Gone
from spark_imgdedup.files.tars.shards import Shard
from spark_imgdedup.stages.local_rows import local_rows
from spark_imgdedup.stages.tasks import map_batches, map_packages

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import StructType

# What a task is about, by number, and the keys that leave each of its shards.
ShardWork = Callable[[int, dict[str, Gone]], Iterator[pa.RecordBatch]]
# More are not fetched: a key and a digest are 60 bytes and more.
MOST_FETCHED = 4096


def map_shards(
    removed: DataFrame, shards_by_task: Sequence[Sequence[Shard]], work: ShardWork, schema: StructType | str
) -> DataFrame:
    """The rows of the batches that `work` makes of what leaves the shards of each task, each in a partition of its own.

    Args:
        removed: shard, key, sha256 of each sample that leaves.
        shards_by_task: What each task reads.
        work: What it does.
        schema: Of its batches.

    Few keys are fetched and travel as packages do, which saves the five jobs of placing them.
    """
    few = _fetch_few(removed)
    if few is not None:
        told = [{shard.name: few.get(shard.name, {}) for shard in shards} for shards in shards_by_task]

        def unpack(packages: Iterator[bytes]) -> Iterator[pa.RecordBatch]:
            for package in packages:
                yield from work(*pickle.loads(package))  # noqa: S301  # what we pack below

        return map_packages(removed.sparkSession, list(map(pickle.dumps, enumerate(told))), unpack, schema)

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return (batch for number, gone in _placed_keys(batches) for batch in work(number, gone))

    return map_batches(_place_keys(removed, shards_by_task), run, schema)


def _fetch_few(removed: DataFrame) -> dict[str, Gone] | None:
    """The keys that leave each shard, and their digests; None where they are many."""
    one = removed.select("shard", "key", "sha256").coalesce(1)  # else each file is a job
    rows = one.limit(MOST_FETCHED + 1).collect()
    if len(rows) > MOST_FETCHED:
        return None
    found = defaultdict[str, dict[str, str | None]](dict)
    for shard, key, sha256 in rows:
        found[shard][key] = sha256
    return {shard: keys for shard, keys in found.items()}  # its values are mappings of other code


def _place_keys(removed: DataFrame, shards_by_task: Sequence[Sequence[Shard]]) -> DataFrame:
    """(task, its shards with the keys to leave out and their digests), a row and a partition each; no image travels."""
    from pyspark.sql import functions as F

    reads = [(number, shard.name) for number, shards in enumerate(shards_by_task) for shard in shards]
    keys = removed.groupBy("shard").agg(F.collect_list(F.struct("key", "sha256")).alias("keys"))
    work = local_rows(removed.sparkSession, reads, "task int, shard string").join(keys, "shard", "left")
    by_task = work.groupBy("task").agg(F.collect_list(F.struct("shard", "keys")).alias("reads"))
    # Ranges of distinct numbers give each task its partition; hashing would put two on one core and none on another.
    return by_task.repartitionByRange(len(shards_by_task), "task")


def _placed_keys(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[int, dict[str, Gone]]]:
    for batch in batches:
        for number, reads in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            yield (
                number,
                {each["shard"]: {key["key"]: key["sha256"] for key in each["keys"] or ()} for each in reads},
            )
