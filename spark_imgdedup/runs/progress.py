"""One line now and then while a step runs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from spark_imgdedup.runs.classic import TaskProgress, job_group, task_progress

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def progress_lines(spark: SparkSession, step: str, description: str) -> Iterator[None]:
    """Log how far the step's running stage is: tasks, rows, rows per second, and the time left."""
    done = threading.Event()
    group = f"spark-imgdedup {step}"
    watcher = threading.Thread(target=_watch, args=(spark, step, group, done), daemon=True)
    with job_group(spark, group, description):
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()


def _watch(spark: SparkSession, step: str, group: str, done: threading.Event) -> None:
    stage_id, start = -1, time.monotonic()
    while not done.wait(SECONDS_BETWEEN_LINES):
        try:
            now = task_progress(spark, group)
        except Exception:  # the session may be stopping; a line of progress is not worth a failed run
            log.debug("no progress to be had", exc_info=True)
            continue
        if now is None:
            continue
        if now.stage_id != stage_id:  # rows and rates are those of one stage; it began after the last look
            stage_id, start = now.stage_id, time.monotonic() - SECONDS_BETWEEN_LINES
        log.info(progress_line(step, now, time.monotonic() - start))


def progress_line(step: str, now: TaskProgress, seconds: float) -> str:
    """Such as "embed: 3 of 8 tasks, 412 images, 55.1 images/s, about 0:00:12 left".

    Args:
        step: Its name.
        now: How far the running stage is.
        seconds: Since that stage began.
    """
    line = f"{step}: {now.n_done:,} of {now.n_tasks:,} tasks"
    if now.n_records:
        unit = "images" if step == "embed" else "rows"
        line += f", {now.n_records:,} {unit}, {now.n_records / max(seconds, 1e-9):,.1f} {unit}/s"
    if now.n_done:
        left = timedelta(seconds=round(seconds * (now.n_tasks - now.n_done) / now.n_done))
        line += f", about {left} left"
    return line
