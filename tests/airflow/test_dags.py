"""The files of jobs/airflow as Airflow reads them. Databricks is not called: there is no workspace."""

from __future__ import annotations

import json
import subprocess
from datetime import datetime, timedelta

import pytest

from tests.airflow.running import DAGS, ROOT
from tests.cluster.submitting import LIMIT_SECONDS
from tests.test_databricks import JOBS, arguments, filled, settings

STEPS = ["embed", "cluster", "pairwise", "identify", "remove", "report"]


@pytest.fixture(scope="module")
def found(airflow):
    done = subprocess.run(
        [airflow.python, ROOT / "tests/airflow/describe.py", airflow.env["AIRFLOW__CORE__DAGS_FOLDER"]],
        env=airflow.env,
        cwd=airflow.cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_SECONDS,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stderr.splitlines()[-1])


def test_both_files_are_imported_without_errors_and_warnings_where_the_package_is_not_installed(airflow, found):
    looked = subprocess.run(
        [airflow.python, "-c", "import spark_imgdedup"], env=airflow.env, cwd=airflow.cwd, capture_output=True
    )

    assert looked.returncode == 1
    assert b"ModuleNotFoundError: No module named 'spark_imgdedup'" in looked.stderr
    assert (found["errors"], found["warnings"]) == ({}, [])
    assert sorted(found["dags"]) == ["spark_imgdedup", "spark_imgdedup_databricks"]


def test_each_step_is_a_job_of_ours_and_waits_for_the_one_before(found):
    tasks = found["dags"]["spark_imgdedup"]["tasks"]

    assert list(tasks) == ["prepare", *STEPS]
    assert [set(tasks[step]["after"]) for step in STEPS] == [
        {"prepare"},
        *({"prepare", before} for before in STEPS[:-1]),
    ]
    for step in STEPS:
        assert tasks[step]["fields"]["application"] == f"/opt/imgdedup/jobs/{step}.py"
        assert (ROOT / f"jobs/{step}.py").is_file()


def test_days_are_not_made_up_for_by_themselves_run_one_at_a_time_and_are_tried_again_with_growing_pauses(found):
    for dag in found["dags"].values():
        assert (dag["catchup"], dag["max_active_runs"]) == (False, 1)
        assert all(task["retries"] >= 1 and task["backoff"] for task in dag["tasks"].values())
    for file in DAGS.glob("*.py"):
        assert "timedelta(minutes=" in file.read_text()


def test_every_param_is_explained_here_and_in_the_guide(found):
    guide = (ROOT / "docs/guide-airflow.md").read_text()

    for dag in found["dags"].values():
        for name, description in dag["params"].items():
            assert description
            assert f"| `{name}` |" in guide, name


def test_the_run_of_a_day_starts_when_that_day_is_over(airflow):
    assert airflow.run("dags", "reserialize").returncode == 0
    for dag in ("spark_imgdedup", "spark_imgdedup_databricks"):
        said = airflow.run("dags", "details", dag, "--output", "json").stdout
        (line,) = [line for line in said.splitlines() if line.startswith("[{")]
        (details,) = json.loads(line)
        start, day = (
            datetime.fromisoformat(details[name]) for name in ("next_dagrun_run_after", "next_dagrun_logical_date")
        )

        assert start - day == timedelta(days=1)
        assert day.time() == datetime.min.time()


def test_the_databricks_job_is_the_bundles_and_gets_its_parameters_with_the_day_in_them(found):
    _, job = JOBS["dedup_images"]
    tasks = found["dags"]["spark_imgdedup_databricks"]["tasks"]
    given = tasks["dedup"]["fields"]["job_parameters"]
    defaults = {each["name"]: filled(each["default"]) for each in job["parameters"]}

    assert tasks["dedup"]["fields"]["job_name"] == job["name"]
    assert defaults.keys() - given.keys() == {"model"}  # the bundle's own
    assert given.keys() <= defaults.keys()
    for name, value in given.items():
        dated = {"catalog": "", "eps": "", "schema": "_20260106"}.get(name, "/2026-01-06")
        assert value == defaults[name] + dated
    for words in arguments(job, **given).values():
        config = settings(words)
        assert config.work_dir == "/Volumes/main/dedup/images/work/2026-01-06"
        assert (config.tables.schema_name, config.identify.eps) == ("dedup_20260106", None)


def test_the_schema_of_the_day_is_made_before_the_job_that_writes_to_it(found):
    tasks = found["dags"]["spark_imgdedup_databricks"]["tasks"]
    given = tasks["dedup"]["fields"]["job_parameters"]

    assert tasks["dedup"]["after"] == ["create_schema"]
    assert tasks["create_schema"]["fields"]["sql"] == (
        f"CREATE SCHEMA IF NOT EXISTS {given['catalog']}.{given['schema']}"
    )
