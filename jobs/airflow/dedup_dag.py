"""An Airflow 3 DAG: each day's folder of images without its duplicates, one spark-submit for each step.

reads   <input>/<day>
writes  <work>/<day> (the tables between the steps), <output>/<day>

Copy this file into the folder of your DAGs and edit the defaults of its params: scheduled runs use those. It needs
`apache-airflow-providers-apache-spark`, and neither spark_imgdedup nor Spark where DAGs are parsed. See
docs/guide-airflow.md.

    airflow dags test spark_imgdedup 2026-01-31
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import DAG, CronDataIntervalTimetable, ObjectStoragePath, Param, chain, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

# The files of jobs/, in order. Add score after embed, and detect before cluster, where your settings use them: a step
# that has nothing to do by its settings fails and says why.
STEPS = ("embed", "cluster", "pairwise", "identify", "remove", "report")
# The master's address, and passwords if any, belong to this connection.
CONNECTION = "spark_default"

PARAMS = {
    "input": Param("/data/incoming", "Folder or URL that holds a folder for each day", type="string", minLength=1),
    "work": Param("/data/work", "Where each day's tables go; executors must see it too", type="string", minLength=1),
    "output": Param("/data/deduplicated", "Where each day's new dataset goes", type="string", minLength=1),
    "config": Param(
        "/opt/imgdedup/dedup.yaml",
        "Settings file on the worker of Airflow; null: the defaults of spark_imgdedup",
        type=["null", "string"],
    ),
    "eps": Param(
        None,
        "Cosine distance up to which an image is a duplicate; null: what the settings file says",
        type=["null", "number"],
        minimum=0,
        exclusiveMaximum=1,
    ),
    "jobs": Param("/opt/imgdedup/jobs", "Folder of embed.py, cluster.py and so on", type="string", minLength=1),
    "spark": Param(
        {
            "spark.archives": "/opt/imgdedup/environment.tar.gz#environment",
            "spark.pyspark.python": "./environment/bin/python",
            "spark.pyspark.driver.python": "/opt/imgdedup/environment/bin/python",
        },
        "Settings of Spark, for every step. They are shown to all who may see a run: no secrets",
        type="object",
        additionalProperties={"type": "string"},
    ),
}


def holds_files(folder: str) -> bool:
    """Whether there is a file below `folder`, apart from names that begin with "." or "_", such as _SUCCESS."""
    place = ObjectStoragePath(folder)
    return place.exists() and any(
        found.is_file() and not found.name.startswith((".", "_")) for found in place.rglob("*")
    )


def arguments(day: str, params: Mapping[str, Any]) -> list[str]:
    """What every step of a day is called with."""
    settings = {
        "input.path": f"{params['input'].rstrip('/')}/{day}",
        "work_dir": f"{params['work'].rstrip('/')}/{day}",
        "output.path": f"{params['output'].rstrip('/')}/{day}",
    }
    if params["eps"] is not None:
        settings["identify.eps"] = params["eps"]
    config = [] if params["config"] is None else ["--config", params["config"]]
    return config + [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]


def prepare(**context: Any) -> dict[str, Any]:
    """What a day's steps are called with, from the context of the run.

    Raises:
        AirflowSkipException: the day has no data; the steps are skipped with it.
    """
    day, params = context.get("ds"), context["params"]
    if day is None:
        raise AirflowFailException("The run has no logical date, so no day. Trigger it with one.")
    folder = f"{params['input'].rstrip('/')}/{day}"
    if not holds_files(folder):
        raise AirflowSkipException(f"{folder} is missing or has no files: no data for {day}, its steps are skipped.")
    return {"arguments": arguments(day, params), "spark": params["spark"]}


with DAG(
    "spark_imgdedup",
    description="Each day's images without their near-duplicates",
    # Not "@daily", whose run of a day starts in Airflow 3 when that day begins. This one starts when it is over.
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1),
    catchup=False,  # days before the DAG was switched on: `airflow backfill create`
    max_active_runs=1,  # days share no folder: raise it if the cluster has room for several
    default_args={
        # Safe: a finished step is skipped, an unfinished one starts again, and tars get their names last.
        "retries": 2,
        "retry_delay": timedelta(minutes=1),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=30),
    },
    params=PARAMS,
    tags=["spark_imgdedup"],
    doc_md=__doc__,
):
    prepared = task(prepare, multiple_outputs=True)()
    chain(
        *(
            SparkSubmitOperator(
                task_id=step,
                name=f"spark_imgdedup {step} {{{{ ds }}}}",
                conn_id=CONNECTION,
                application=f"{{{{ params.jobs }}}}/{step}.py",
                application_args=prepared["arguments"],
                conf=prepared["spark"],
            )
            for step in STEPS
        )
    )
