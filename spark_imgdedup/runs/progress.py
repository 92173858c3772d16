"""One line now and then while a step runs, and one when it is done."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from spark_imgdedup.runs.classic import start_job_group, task_progress

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def progress_lines(spark: SparkSession, step: str, description: str) -> Iterator[None]:
    """Log how far the step's running stage is: tasks, rows, rows per second, and the time left."""
    done = threading.Event()
    start_job_group(spark, f"spark-imgdedup {step}", description)
    watcher = threading.Thread(target=_watch, args=(spark, step, done), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _watch(spark: SparkSession, step: str, done: threading.Event) -> None:
    start = time.monotonic()
    while not done.wait(SECONDS_BETWEEN_LINES):
        try:
            now = task_progress(spark, f"spark-imgdedup {step}")
        except Exception:  # the session may be stopping; a line of progress is not worth a failed run
            log.debug("no progress to be had", exc_info=True)
            continue
        if now is not None and now.n_tasks:
            log.info(progress_line(step, now.n_done, now.n_tasks, now.n_records, time.monotonic() - start))


def progress_line(step: str, n_done: int, n_tasks: int, n_records: int, seconds: float) -> str:
    """Such as "embed: 3 of 8 tasks, 412 images, 55.1 images/s, about 0:00:12 left"."""
    unit = "images" if step == "embed" else "rows"
    line = f"{step}: {n_done} of {n_tasks} tasks, {n_records:,} {unit}, {n_records / max(seconds, 1e-9):,.1f} {unit}/s"
    if n_done:
        left = timedelta(seconds=round(seconds * (n_tasks - n_done) / n_done))
        line += f", about {left} left"
    return line
