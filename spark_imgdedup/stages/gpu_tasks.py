"""Tasks with a GPU in some stages of an application, and without one in the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spark_imgdedup.config import Config
from spark_imgdedup.errors import ConfigError

if TYPE_CHECKING:
    from pyspark.resource import ResourceProfile
    from pyspark.sql import SparkSession


def gpu_profile(spark: SparkSession, config: Config) -> ResourceProfile | None:
    """What a task of a stage that uses a GPU asks for; None where `gpu_profile` is not set.

    It asks for nothing of executors, so it runs on those that there are. `mapInArrow` takes it; grouped functions and
    pandas UDFs take none, so `score_pairs` and `embed_images` run with Spark's own settings.

    Raises:
        ConfigError: this kind of Spark cannot schedule it: Spark itself would say so in the middle of the step.
    """
    wanted = config.gpu_profile
    if wanted.gpus_per_task is None:
        return None
    master = spark.conf.get("spark.master", "") or ""
    if master.startswith("local"):
        problem = f"the master is {master}, and local mode schedules no GPUs"
    elif spark.version.startswith("3."):
        problem = f"Spark {spark.version} takes no profile for the functions of these stages"
    elif spark.conf.get("spark.dynamicAllocation.enabled", "false") == "true":
        problem = "spark.dynamicAllocation.enabled is true, with which a profile gets executors of its own"
    else:
        from pyspark.resource import ResourceProfileBuilder, TaskResourceRequests

        tasks = TaskResourceRequests().cpus(wanted.cores_per_task).resource("gpu", wanted.gpus_per_task)
        return ResourceProfileBuilder().require(tasks).build
    raise ConfigError(
        f"gpu_profile.gpus_per_task is {wanted.gpus_per_task}, but {problem}. Leave it out, or run on standalone, YARN "
        "or Kubernetes with Spark 4 and without dynamic allocation."
    )


def as_option(profile: ResourceProfile | None) -> dict[str, Any]:
    """For a call of `mapInArrow`: Spark 3.5's has no such parameter."""
    return {} if profile is None else {"profile": profile}
