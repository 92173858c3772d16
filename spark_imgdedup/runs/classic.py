"""The one module that touches SparkContext and the JVM: extras that Spark Connect does not have.

Each function does nothing, or gives None, on a Connect session.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

T = TypeVar("T")

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


class _Named:
    """The name that the jobs of a block get, and the caller's own, which comes back after it."""

    def __init__(self, group: str, description: str) -> None:
        self._group, self._description = group, description
        self._spark: Any = None
        self._before: dict[str, Any] = {}

    def apply(self, spark: Any) -> None:
        if self._spark is spark:
            return
        self._spark = spark
        if is_classic(spark):
            context = spark.sparkContext
            self._before = {name: context.getLocalProperty(name) for name in _GROUP_PROPERTIES}
            context.setJobGroup(self._group, self._description)
        elif self._tag in spark.getTags():  # a block within another of this name leaves it to that one
            self._spark = None
        else:
            spark.addTag(self._tag)

    def restore(self) -> None:
        if self._spark is None:
            return
        if is_classic(self._spark):
            for name, value in self._before.items():
                self._spark.sparkContext.setLocalProperty(name, value)
        else:
            self._spark.removeTag(self._tag)

    @property
    def _tag(self) -> str:
        return self._group.replace(" ", "-")  # a tag has no spaces


_NAMED: ContextVar[_Named | None] = ContextVar("named", default=None)


@contextmanager
def job_group(spark: SparkSession | None, group: str, description: str) -> Iterator[None]:
    """Name the jobs of the block for Spark's pages and `TasksOfGroup`; on Connect, where jobs have tags, by a tag.

    Args:
        spark: The session; None where it is not there yet: `name_jobs` is told of it then.
        group: Its name.
        description: What a job's page says of it.
    """
    named = _Named(group, description)
    if spark is not None:
        named.apply(spark)
    before = _NAMED.set(named)
    try:
        yield
    finally:
        _NAMED.reset(before)
        named.restore()


def name_jobs(spark: SparkSession) -> None:
    """Give the jobs of a session the name of the block that this is called from."""
    if (named := _NAMED.get()) is not None:
        named.apply(spark)


def with_job_names(spark: SparkSession, work: Callable[[], T]) -> Callable[[], T]:
    """`work` for another thread: its jobs get the names, tags and other properties that those of this thread have.

    PySpark's `inheritable_thread_target` does so too, but takes a classic session from 4.0 on only.
    """
    if not is_classic(spark):
        tags = spark.getTags()

        def tagged() -> T:
            for tag in tags:
                spark.addTag(tag)
            return work()

        return tagged
    context: Any = spark.sparkContext._jsc.sc()
    properties = context.getLocalProperties().clone()

    def named() -> T:
        context.setLocalProperties(properties)
        return work()

    return named


def quiet_accumulators(spark: SparkSession) -> None:
    """Print no stack from the thread that counts for Spark where the JVM at its other end has died."""
    server = getattr(spark.sparkContext, "_accumulatorServer", None) if is_classic(spark) else None
    if server is not None:
        server.handle_error = lambda request, address: None


class TasksOfGroup:
    """The tasks of the newest running stage of a job group; on Connect, of what this session runs."""

    def __init__(self, group: str) -> None:
        self._group = group
        self._connect: Any = None
        self._told: TaskProgress | None = None

    def look(self, spark: SparkSession | None) -> TaskProgress | None:
        """How far they are; None where none run."""
        if spark is None:
            return None
        if is_classic(spark):
            return task_progress(spark, self._group)
        if self._connect is None:
            self._connect = spark
            spark.registerProgressHandler(self._hear)
        return self._told

    def close(self) -> None:
        """Hear no more of them."""
        if self._connect is not None:
            self._connect.removeProgressHandler(self._hear)

    def _hear(self, stages: Any, inflight_tasks: int, operation_id: str | None, done: bool) -> None:
        running = [stage for stage in stages or () if not stage.done]
        newest = max(running, key=lambda stage: stage.stage_id, default=None)
        self._told = (
            None
            if done or newest is None
            else TaskProgress(newest.stage_id, newest.num_tasks, newest.num_completed_tasks, 0)
        )


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
