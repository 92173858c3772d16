"""jobs/dedup.py on two executors gives what it gives in local mode, however the package comes to them."""

from __future__ import annotations

import os
import signal
import subprocess
import time

from tests.cluster.results import assert_same_result, events_of, rows_of, tars_of
from tests.cluster.submitting import LIMIT_SECONDS, submit, submit_command, submit_environment


def test_local_mode_finds_something_to_remove_so_that_equal_is_not_equally_empty(local):
    assert len(rows_of(local, "embeddings")) > len(rows_of(local, "duplicates")) > 10
    assert sorted(tars_of(local)) == [
        "tars/crawl/clipart-00001.tar",
        "tars/crawl/photos-00000.tar",
        "tars/photos-00000.tar",
    ]


def test_a_packed_environment_gives_the_tables_and_tars_of_local_mode(
    cluster, packed, unpacked, dataset, local, tmp_path
):
    done = submit(
        cluster,
        dataset.command(tmp_path, report=True),
        spark_archives=f"{packed}#environment",
        spark_pyspark_python="./environment/bin/python",
        spark_pyspark_driver_python=unpacked / "bin/python",
    )

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert cluster.files_of_executors("environment/bin/python") == {"python"}
    assert "data:image/webp" in (tmp_path / "work/report/index.html").read_text()
    assert_same_result(tmp_path, local)


def test_a_zip_beside_preinstalled_dependencies_gives_the_tables_and_tars_of_local_mode(
    cluster, zipped, preinstalled, dataset, local, tmp_path
):
    done = submit(
        cluster,
        dataset.command(tmp_path),
        spark_submit_pyFiles=zipped,
        spark_pyspark_python=preinstalled / "bin/python",
    )

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert cluster.files_of_executors("*.zip") == {zipped.name}
    assert_same_result(tmp_path, local)


def test_a_worker_that_is_killed_while_it_embeds_changes_nothing_in_the_result(
    cluster, unpacked, dataset, local, tmp_path
):
    (tmp_path / "events").mkdir()
    command = submit_command(
        cluster,
        dataset.command(tmp_path),
        spark_pyspark_python=unpacked / "bin/python",
        spark_eventLog_enabled="true",
        spark_eventLog_dir=tmp_path / "events",
        spark_eventLog_compress="false",
        spark_eventLog_rolling_enabled="false",
    )
    with (tmp_path / "log").open("w") as log:
        job = subprocess.Popen(command, env=submit_environment(), stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_until(lambda: has_begun_to_embed(tmp_path / "events"), job)
            wait_until(lambda: has_python_worker(cluster.pid("worker-2")), job)
            time.sleep(1)  # a worker that was there before, for what its tasks are told, takes the next one
            os.kill(cluster.pid("worker-2"), signal.SIGKILL)
            code = job.wait(LIMIT_SECONDS)
        finally:
            job.kill()
            job.wait()

    said = (tmp_path / "log").read_text()
    assert code == 0, said[-3000:]
    lost = [event for event in events_of(tmp_path / "events") if is_lost_task(event)]
    assert lost, "no task was running on the worker when it was killed"
    assert {event["Stage ID"] for event in lost} == {first_embedding_stage(tmp_path / "events")}
    assert_same_result(tmp_path, local)


def wait_until(condition, job):
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert job.poll() is None, "the job ended before anything was killed"
        assert time.monotonic() < deadline, f"nothing to kill within {LIMIT_SECONDS} s"
        time.sleep(0.1)


def has_begun_to_embed(folder):
    """True once Spark has written of the job whose tasks embed, which it does as the job starts."""
    lines = [line for log in folder.iterdir() for line in log.read_text().splitlines()]
    return any("SparkListenerJobStart" in line and "MapInArrow" in line for line in lines)


def has_python_worker(pid):
    """True where a process below this one is a Python worker of Spark."""
    # -ww: with 80 columns the name of the module is cut off behind a long path.
    listed = subprocess.run(["ps", "-e", "-ww", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True)
    processes = [line.split(maxsplit=2) for line in listed.stdout.splitlines()]
    below = {str(pid)}
    for _ in range(5):  # worker, executor, daemon, its fork
        below |= {own for own, parent, *_ in processes if parent in below}
    daemons = {own for own, _, *arguments in processes if own in below and "pyspark.daemon" in " ".join(arguments)}
    return any(parent in daemons for _, parent, *_ in processes)


def is_lost_task(event):
    return event["Event"] == "SparkListenerTaskEnd" and event["Task End Reason"].get("Reason") == "ExecutorLostFailure"


def first_embedding_stage(folder):
    """The number of the stage whose tasks embed: the first to run Python in its tasks."""
    stages = [event["Stage Info"] for event in events_of(folder) if event["Event"] == "SparkListenerStageSubmitted"]
    return min(
        stage["Stage ID"]
        for stage in stages
        if any("MapInArrow" in rdd["Scope"] for rdd in stage["RDD Info"] if "Scope" in rdd)
    )
