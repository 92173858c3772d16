"""Questions that do not wait for each other's answers, asked of Spark at the same time.

A query over a small table leaves most of a machine idle: it is planned by one thread, and its jobs run one after the
other. The report asks about thirty of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import TYPE_CHECKING, Protocol, TypeVar

from spark_imgdedup.runs.classic import with_job_names

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

T = TypeVar("T")

# Measured on two cores, cold: the report of 290 images takes 6.1 s by one, 4.9 by two and 4.5 by three.
MOST_AT_ONCE = 3


class Start(Protocol):
    """Begins a piece of work beside the others."""

    def __call__(self, work: Callable[[], T]) -> Future[T]:
        """Its result, once it is there; an error is raised where the result is asked for."""


@contextmanager
def side_by_side(spark: SparkSession) -> Iterator[Start]:
    """Inside, pieces of work run beside each other in threads, their jobs named as those of the caller.

    The block ends when all of them have; where it ends by an error, what has not begun by then never does.
    """
    with ThreadPoolExecutor(MOST_AT_ONCE, thread_name_prefix="beside") as pool:

        def start(work: Callable[[], T]) -> Future[T]:
            context = copy_context()  # one each: a context is entered by one thread at a time
            return pool.submit(with_job_names(spark, lambda: context.run(work)))

        try:
            yield start
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
