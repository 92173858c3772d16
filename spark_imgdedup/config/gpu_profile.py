"""What the tasks of the stages that use a GPU ask Spark for, where other stages ask for less."""

from __future__ import annotations

from pydantic import Field

from spark_imgdedup.config.values import Count, Section


class GpuProfileConfig(Section):
    """GPUs and cores of the tasks that embed tars, train centroids and assign clusters; all others take Spark's own."""

    gpus_per_task: Count | None = Field(
        default=None,
        description="GPUs of a task that embeds tars, trains centroids or assigns clusters. Null: Spark's settings "
        "alone decide. Needs standalone, YARN or Kubernetes, without dynamic allocation",
    )
    cores_per_task: Count = Field(default=8, description="Cores of such a task, at most those of an executor")
