"""conf/spark-gpu.conf on a real cluster. Spark schedules what the discovery script names: no GPU is needed for that."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise

import pytest

from tests.cluster.results import events_of
from tests.cluster.submitting import LIMIT_SECONDS, ROOT, SPARK_HOME, Cluster, script, submit_environment
from tests.rapids.explain import properties

N_GPUS = 2
CONF = ROOT / "conf/spark-gpu.conf"


@pytest.fixture(scope="module")
def gpu_cluster(tmp_path_factory):
    """One worker with the cores and memory of two executors of the settings, and an nvidia-smi that lists two GPUs."""
    folder = tmp_path_factory.mktemp("gpus")
    (folder / "bin").mkdir()
    tool = folder / "bin/nvidia-smi"
    tool.write_text(f"#!/bin/sh\nseq 0 {N_GPUS - 1}\n")
    tool.chmod(0o755)
    discovery = folder / "discover.sh"
    discovery.write_text(f'#!/bin/sh\nPATH="{tool.parent}:$PATH" exec "{ROOT}/conf/get_gpus.sh"\n')
    discovery.chmod(0o755)
    options = f"-Dspark.worker.resource.gpu.amount={N_GPUS} -Dspark.worker.resource.gpu.discoveryScript={discovery}"
    started = script(
        *("local_cluster.sh", "start", folder / "cluster"),
        **{"N_WORKERS": "1", "WORKER_CORES": "24", "WORKER_MEMORY": "32g", "WORKER_OPTIONS": options},
    )
    assert started.returncode == 0, started.stderr
    yield Cluster(folder / "cluster", started.stdout.strip())
    stopped = script("local_cluster.sh", "stop", folder / "cluster")
    assert stopped.returncode == 0, stopped.stderr


def submit(cluster, *words, settings):
    named = {
        "spark.ui.enabled": "false",
        "spark.pyspark.python": sys.executable,
        "spark.executorEnv.PYTHONPATH": str(ROOT),
        # No task before both executors are there: else the first may do them all.
        "spark.scheduler.minRegisteredResourcesRatio": "1",
        "spark.cores.max": "16",
        **settings,
    }
    return subprocess.run(
        [
            *(str(SPARK_HOME / "bin/spark-submit"), "--master", cluster.url),
            *(word for name, value in named.items() for word in ("--conf", f"{name}={value}")),
            *(str(ROOT / "tests/cluster/gpu_job.py"), *map(str, words)),
        ],
        env={**submit_environment(), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_SECONDS,
    )


@pytest.fixture(scope="module")
def tasks(gpu_cluster):
    done = submit(gpu_cluster, settings=properties(CONF))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_each_task_has_one_gpu_and_all_are_used(tasks):
    assert {len(task["addresses"]) for task in tasks} == {1}
    assert {task["addresses"][0] for task in tasks} == {str(number) for number in range(N_GPUS)}


def test_no_two_tasks_have_a_gpu_at_the_same_time(tasks):
    for address in {task["addresses"][0] for task in tasks}:
        spans = sorted((task["start"], task["end"]) for task in tasks if task["addresses"] == [address])

        assert all(earlier[1] <= later[0] for earlier, later in pairwise(spans)), spans


def test_a_task_has_all_cores_of_its_executor(tasks):
    assert {(task["cpus"], task["threads"]) for task in tasks} == {(8, "8")}


def test_one_python_worker_serves_a_gpu_so_that_its_model_is_loaded_once(tasks):
    assert len({task["worker"] for task in tasks}) == N_GPUS
    assert len({(task["worker"], task["addresses"][0]) for task in tasks}) == N_GPUS


def test_a_task_takes_the_gpu_it_was_given_or_says_why_it_cannot(tasks):
    for task in tasks:
        (address,) = task["addresses"]
        if int(address) < task["n_devices"]:
            assert task["auto"] == task["gpu"] == f"cuda:{address}"
        else:
            assert task["auto"] == "cpu"
            assert f"Spark assigned GPU '{address}' to this task, but CUDA sees" in task["gpu"]


@pytest.fixture(scope="module")
def profiled(gpu_cluster, tmp_path_factory):
    """What tasks with `gpu_profile` were given, and the events of an application whose other tasks ask for no GPU."""
    folder = tmp_path_factory.mktemp("profiled")
    (folder / "events").mkdir()
    settings = {
        "spark.executor.cores": "8",
        "spark.executor.memory": "1g",
        "spark.executor.resource.gpu.amount": "1",
        "spark.sql.shuffle.partitions": "2",
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": folder / "events",
        "spark.eventLog.compress": "false",
        "spark.eventLog.rolling.enabled": "false",
    }
    done = submit(gpu_cluster, folder, settings=settings)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1]), events_of(folder / "events")


def test_with_gpu_profile_a_task_has_a_gpu_and_its_cores_although_sparks_settings_ask_for_none(profiled):
    tasks, _ = profiled

    assert {(len(task["addresses"]), task["cpus"]) for task in tasks} == {(1, 4)}


def test_with_gpu_profile_embed_and_cluster_have_gpus_and_the_shuffles_between_them_do_not(profiled):
    _, events = profiled
    stages = [event["Stage Info"] for event in events if event["Event"] == "SparkListenerStageSubmitted"]
    in_python = {
        stage["Stage ID"] for stage in stages if any("MapInArrow" in rdd["Scope"] for rdd in stage["RDD Info"])
    }
    with_gpu = {stage["Stage ID"] for stage in stages if stage["Resource Profile Id"] != 0}

    assert len(in_python) >= 4  # the job's own, embed, train, assign
    assert len(stages) > len(in_python)
    assert with_gpu == in_python
