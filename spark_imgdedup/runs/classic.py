"""The one module that touches SparkContext and the JVM: extras that Spark Connect does not have.

Each function does nothing, or gives None, on a Connect session.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True)
class TaskProgress:
    """How far the jobs of a group are."""

    n_tasks: int
    n_done: int
    n_records: int  # rows written or shuffled so far by the stage that is running


def is_classic(spark: SparkSession) -> bool:
    """True for a session with a JVM of its own."""
    return not type(spark).__module__.startswith("pyspark.sql.connect")


def start_job_group(spark: SparkSession, group: str, description: str) -> None:
    """Name the jobs that follow in Spark's pages, and let `task_progress` find them."""
    if is_classic(spark):
        spark.sparkContext.setJobGroup(group, description)


def task_progress(spark: SparkSession, group: str) -> TaskProgress | None:
    """The tasks of the newest running stage of a group."""
    if not is_classic(spark):
        return None
    context: Any = spark.sparkContext
    tracker = context.statusTracker()
    for stage_id in sorted(tracker.getActiveStageIds(), reverse=True):
        stage = tracker.getStageInfo(stage_id)
        jobs = tracker.getJobIdsForGroup(group)
        in_group = any(stage_id in job.stageIds for job in map(tracker.getJobInfo, jobs) if job)
        if stage is not None and in_group:
            data = context._jsc.sc().statusStore().lastStageAttempt(stage_id)
            records = max(int(data.outputRecords()), int(data.shuffleWriteRecords()))
            return TaskProgress(stage.numTasks, stage.numCompletedTasks, records)
    return None
