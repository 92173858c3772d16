"""spark-submit to a standalone cluster of which something is killed, or that tries slow tasks twice at once."""

from __future__ import annotations

import json
import shutil
import sys

import pytest
import yaml

from tests.cluster.submitting import (
    ROOT,
    Cluster,
    Dataset,
    start_cluster,
    stop_cluster,
    submit_command,
    submit_environment,
)
from tests.faults.datasets import settings, write_tars
from tests.faults.plans import CLUSTER, N_CLUSTER, Fault, planned
from tests.faults.processes import below, kill, of_session, python_workers, wait_for
from tests.faults.results import result_of
from tests.faults.runs import Run, inject, moment
from tests.faults.verdicts import Undisturbed, judge

WORKERS = ("worker-1", "worker-2")
# Here the JVM is what was started, and Python its child: where it is killed, nobody is left to say why.
SILENT = ("driver killed", "JVM killed", "cluster killed")
# Tasks that take a tenth longer than the others are tried on the other executor too.
SPECULATION = {
    "spark_speculation": "true",
    "spark_speculation_interval": "50ms",
    "spark_speculation_quantile": "0.3",
    "spark_speculation_multiplier": "1.1",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("cluster")
    yield made
    stop_cluster(made)


@pytest.fixture
def cluster(folder):
    """Whole at the start of each test, its workers as if on two machines."""
    return start(folder)


def start(folder):
    return start_cluster(folder, WORKER_HOSTS="each", WORKER_MEMORY="1g")


@pytest.fixture(scope="module")
def tars(tmp_path_factory):
    return write_tars(tmp_path_factory.mktemp("dataset"))


@pytest.fixture(scope="module")
def undisturbed(folder, tars, tmp_path_factory):
    place = tmp_path_factory.mktemp("undisturbed") / "place"
    run = job(start(folder), tars, place, "log").start()
    left = run.wait()
    assert (run.code, left) == (0, []), run.said[-3000:]
    return Undisturbed(run, result_of(place))


def job(cluster, tars, place, name, *, is_slow=False, **conf):
    """jobs/dedup.py, submitted. Its log is `name`, its events go to `name`-events."""
    own = settings(str(tars), str(place))
    if is_slow:
        own["embed"] |= {"model": "tests.faults.datasets:OnceSlowEncoder", "model_dir": str(place.parent)}
    config = place.parent / "dedup.yaml"
    config.write_text(yaml.safe_dump(own))
    events = place.parent / f"{name}-events"
    events.mkdir(exist_ok=True)
    command = submit_command(
        cluster,
        Dataset(place.parent, config).command(place)[:2],
        spark_executor_memory="512m",
        spark_executorEnv_PYTHONPATH=str(ROOT),
        spark_pyspark_python=sys.executable,
        spark_eventLog_enabled="true",
        spark_eventLog_dir=str(events),
        spark_eventLog_compress="false",
        spark_eventLog_rolling_enabled="false",
        **conf,
    )
    environment = {**submit_environment(), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return Run(command, place, place.parent / name, environment, is_quiet=False)


def targets(kind: str, run: Run, cluster: Cluster):
    """The processes that a kind of fault kills, each list of them at once."""
    own = of_session(run.session)
    workers = [process for process in below({cluster.pid(name) for name in WORKERS})]
    executors = [[process] for process in workers if process.is_executor]
    if kind == "driver killed":
        return [[p] for p in own if "jobs/dedup.py" in p.command and not p.is_driver_jvm and "python" in p.command]
    if kind == "JVM killed":
        return [[process] for process in own if process.is_driver_jvm]
    if kind == "executor killed":
        return executors
    if kind == "Python worker killed":
        return [[process] for process in python_workers(workers)]
    master = [process for process in below({cluster.pid("master")}) if process.pid == cluster.pid("master")]
    if kind == "master killed":
        return [master]
    if kind == "cluster killed":  # with the driver, which else waits for a master for ever: Spark's way
        return [master + workers + own] if executors else []
    return [[p] for p in workers if p.pid in {cluster.pid(name) for name in WORKERS}]


def kill_one(fault: Fault, run: Run, cluster: Cluster, seconds, share) -> bool:
    if not moment(run, fault, seconds, share):
        return False
    wait_for(lambda: run.is_over or targets(fault.kind, run, cluster), 30)
    found = targets(fault.kind, run, cluster)
    if run.is_over or not found:
        return False
    for process in found[fault.seed % len(found)]:
        kill(process)
    return True


@pytest.mark.parametrize("fault", [f for f in planned(CLUSTER, N_CLUSTER) if f.kind.endswith("killed")], ids=str)
def test_a_job_on_a_cluster_of_which_something_was_killed_gives_the_undisturbed_result_at_last(
    folder, cluster, tars, undisturbed, ledger, tmp_path, fault
):
    place = tmp_path / "place"

    def fresh():
        shutil.rmtree(place, ignore_errors=True)
        return job(start(folder), tars, place, "first").start()

    seconds = undisturbed.run.step_seconds()
    first = inject(fresh, lambda run, share: kill_one(fault, run, cluster, seconds, share), fault.share)

    entry = (ledger, "cluster", fault.kind)
    again = lambda: job(start(folder), tars, place, "second").start()  # noqa: E731
    judge(entry, first, again, undisturbed, says_why=fault.kind not in SILENT)


@pytest.mark.parametrize("fault", [f for f in planned(CLUSTER, N_CLUSTER) if f.kind == "speculation"], ids=str)
def test_two_attempts_of_one_task_at_once_give_the_result_of_one(cluster, tars, undisturbed, ledger, tmp_path, fault):
    place = tmp_path / "place"

    run = job(cluster, tars, place, "log", is_slow=True, **SPECULATION).start()
    left = run.wait()

    assert run.code == 0, run.said[-3000:]
    assert speculated(tmp_path / "log-events"), "no task was tried twice at once"
    again = lambda: job(cluster, tars, place, "second").start()  # noqa: E731
    judge((ledger, "cluster", fault.kind), run, again, undisturbed, left=left)


def speculated(events):
    """The tasks that began while another attempt of them ran."""
    (log,) = events.iterdir()
    told = map(json.loads, log.read_text().splitlines())
    return [event for event in told if event.get("Task Info", {}).get("Speculative")]
