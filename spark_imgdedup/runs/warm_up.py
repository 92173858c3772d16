"""Spark and its workers of Python, made ready while the driver plans a step.

The first query of a session takes 1.7 s until a worker starts, a worker 1.5 s until it has loaded a model, and the
first shuffle another second (two cores, nothing cached). One core would wait for the other meanwhile: 290 images take
27.1 s in place of 30.5 (with `stages.local_rows`; medians of 3 in turns).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pyarrow as pa

from spark_imgdedup.config import Config
from spark_imgdedup.runs.codegen import is_interpreted
from spark_imgdedup.runs.side_by_side import side_by_side
from spark_imgdedup.stages.embed import embed_records
from spark_imgdedup.stages.tasks import map_tasks

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@contextmanager
def warming_up(spark: SparkSession, config: Config, *, with_model: bool, most_tasks: int) -> Iterator[None]:
    """Beside the block, in a local session that we started: a query with a shuffle, over workers that load the model.

    What fails in it fails in the step itself too, which says so.

    Args:
        spark: The session.
        config: All of `embed` counts.
        with_model: As for `embed_shards`.
        most_tasks: Of the step: no more workers than those load the model, which may be large.
    """
    n_workers = min(os.cpu_count() or 1, max(1, most_tasks))
    with side_by_side(spark) as start:
        if is_interpreted(spark):
            start(lambda: _ask(spark, config, with_model, n_workers))
        yield


def _ask(spark: SparkSession, config: Config, with_model: bool, n_workers: int) -> None:
    def load(numbers: Iterator[int]) -> Iterator[pa.RecordBatch]:
        with suppress(Exception):
            next(embed_records((), config, with_model=with_model), None)
        yield pa.RecordBatch.from_pydict({"number": pa.array(list(numbers), pa.int64())})

    map_tasks(spark, n_workers, load, "number bigint").groupBy("number").count().collect()
