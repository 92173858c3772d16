"""The same for Databricks: each day, the bundle's job dedup_images on that day's folder of a volume.

reads   <volume>/shards/<day>
writes  <volume>/work/<day>, tables in <catalog>.<schema>_<day>, <volume>/deduplicated/<day>

Deploy the bundle first (docs/guide-databricks.md), then copy this file into the folder of your DAGs and edit the
defaults of its params: scheduled runs use those. It needs `apache-airflow-providers-databricks` and a connection
`databricks_default` whose extra names the http_path of a SQL warehouse. See docs/guide-airflow.md.

    airflow dags test spark_imgdedup_databricks 2026-01-31
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.providers.databricks.operators.databricks import DatabricksRunNowOperator
from airflow.providers.databricks.operators.databricks_sql import DatabricksSqlOperator
from airflow.sdk import DAG, CronDataIntervalTimetable, Param

PARAMS = {
    "job": Param(
        "dedup-images",
        "Name of the deployed job; the bundle's target dev puts a prefix before it",
        type="string",
        minLength=1,
    ),
    "volume": Param(
        "/Volumes/main/dedup/images", "Folder of a volume, with shards/<day>", type="string", pattern="^/Volumes/"
    ),
    "catalog": Param("main", "Catalog of the tables", type="string", pattern="^[A-Za-z0-9_]+$"),
    "schema": Param("dedup", "Each day has the schema <this>_<yyyymmdd>", type="string", pattern="^[A-Za-z0-9_]+$"),
    "eps": Param(
        None,
        "Cosine distance up to which an image is a duplicate; null: the job stops at identify, for you to look",
        type=["null", "number"],
        minimum=0,
        exclusiveMaximum=1,
    ),
}

with DAG(
    "spark_imgdedup_databricks",
    description="Each day's images without their near-duplicates, on Databricks",
    # Not "@daily", whose run of a day starts in Airflow 3 when that day begins. This one starts when it is over.
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1),
    catchup=False,  # days before the DAG was switched on: `airflow backfill create`
    max_active_runs=1,  # the job's own max_concurrent_runs
    default_args={
        # A retry runs the job again, and the job skips the steps that are finished.
        "retries": 1,
        "retry_delay": timedelta(minutes=5),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=30),
    },
    params=PARAMS,
    tags=["spark_imgdedup"],
    doc_md=__doc__,
):
    # A run refuses tables of another work_dir, so each day has a schema of its own.
    schema = DatabricksSqlOperator(
        task_id="create_schema",
        sql="CREATE SCHEMA IF NOT EXISTS {{ params.catalog }}.{{ params.schema }}_{{ ds_nodash }}",
    )
    dedup = DatabricksRunNowOperator(
        task_id="dedup",
        job_name="{{ params.job }}",
        job_parameters={
            "input_path": "{{ params.volume }}/shards/{{ ds }}",
            "work_dir": "{{ params.volume }}/work/{{ ds }}",
            "output_path": "{{ params.volume }}/deduplicated/{{ ds }}",
            "catalog": "{{ params.catalog }}",
            "schema": "{{ params.schema }}_{{ ds_nodash }}",
            "eps": "{{ 'null' if params.eps is none else params.eps }}",
        },
    )
    schema >> dedup
