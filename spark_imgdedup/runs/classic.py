"""The one module that touches SparkContext and the JVM: extras that Spark Connect does not have.

Each function does nothing, or gives None, on a Connect session.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_GROUP_PROPERTIES = ("spark.jobGroup.id", "spark.job.description", "spark.job.interruptOnCancel")


@dataclass(frozen=True)
class TaskProgress:
    """How far the newest running stage of a job group is."""

    stage_id: int
    n_tasks: int
    n_done: int
    n_records: int  # rows written or shuffled by it so far


def is_classic(spark: SparkSession) -> bool:
    """True for a session with a JVM of its own."""
    return not type(spark).__module__.startswith("pyspark.sql.connect")


@contextmanager
def job_group(spark: SparkSession, group: str, description: str) -> Iterator[None]:
    """Name the jobs of the block for Spark's pages and `task_progress`; the caller's own group comes back after it."""
    if not is_classic(spark):
        yield
        return
    context: Any = spark.sparkContext
    before = {name: context.getLocalProperty(name) for name in _GROUP_PROPERTIES}
    context.setJobGroup(group, description)
    try:
        yield
    finally:
        for name, value in before.items():
            context.setLocalProperty(name, value)


def task_progress(spark: SparkSession, group: str) -> TaskProgress | None:
    """The tasks of the newest running stage of a group."""
    if not is_classic(spark):
        return None
    context: Any = spark.sparkContext
    tracker = context.statusTracker()
    jobs = [tracker.getJobInfo(job_id) for job_id in tracker.getJobIdsForGroup(group)]
    of_group = {stage_id for job in jobs if job is not None for stage_id in job.stageIds}
    for stage_id in sorted(of_group.intersection(tracker.getActiveStageIds()), reverse=True):
        stage = tracker.getStageInfo(stage_id)
        if stage is not None:
            data = context._jsc.sc().statusStore().lastStageAttempt(stage_id)
            n_records = max(int(data.outputRecords()), int(data.shuffleWriteRecords()))
            return TaskProgress(stage_id, stage.numTasks, stage.numCompletedTasks, n_records)
    return None
