"""A folder on S3 belongs to one run at a time, by what the server itself decides."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace

import pytest

from spark_imgdedup.errors import LeaseError
from spark_imgdedup.files.owning.lease import Place, slot_at, take
from spark_imgdedup.files.owning.lease_holder import Holder
from spark_imgdedup.files.owning.lease_slots import LEASE
from tests.object_stores.stores import ROOT, bare_environment, one_line, run_cli, write_settings
from tests.racing import taken_at_once

HOLD = """
import sys
from spark_imgdedup.files.owning.lease import Place, take
take(Place("work_dir", sys.argv[1], {}), "steps embed", ttl_seconds=float(sys.argv[2]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def place(strict_s3, bucket):
    return Place("work_dir", f"s3://{bucket}/work", strict_s3.options)


@pytest.fixture
def start(strict_s3, bucket, request):
    """Starts a process that holds the folder."""

    def begin(ttl):
        environment = {**bare_environment(), **strict_s3.environment, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", HOLD, f"s3a://{bucket}/work/", str(ttl)]
        process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        request.addfinalizer(lambda: (process.kill(), process.communicate()))
        assert process.stdout.readline() == "held\n"
        return process

    return begin


def test_a_process_has_its_folder_until_it_is_killed(place, start, strict_s3, bucket):
    process = start(90.0)
    with pytest.raises(LeaseError, match=f"s3://{bucket}/work is in use: by .*, process {process.pid}, steps embed"):
        take(place, "steps embed")
    os.kill(process.pid, signal.SIGKILL)
    while not Holder.parse(slot_at(place.url, place.options).read().data).has_died:
        time.sleep(0.01)
    taken = take(place, "steps remove")
    taken.require_held()
    assert strict_s3.names(f"{bucket}/work") == [LEASE]
    taken.release()
    assert strict_s3.names(bucket) == []


def test_a_process_that_was_stopped_for_too_long_loses_its_folder_and_gives_no_sign_of_life(
    place, start, strict_s3, bucket
):
    process = start(1.0)
    os.kill(process.pid, signal.SIGSTOP)
    give_up = time.monotonic() + 300
    taken = None
    while taken is None:
        assert time.monotonic() < give_up
        with suppress(LeaseError):
            taken = take(place, "steps embed")
    os.kill(process.pid, signal.SIGCONT)
    time.sleep(2)
    taken.require_held()
    taken.release()
    assert strict_s3.names(bucket) == []


def test_of_many_that_want_a_folder_or_follow_a_dead_run_never_two_have_it(place, strict_s3, bucket):
    for round_ in range(6):
        if round_ % 2:
            dead = replace(Holder.here("steps embed"), started="1")
            slot_at(place.url, place.options).put(dead.to_bytes(), None)
        taken = taken_at_once(place)
        assert len(taken) == 1
        taken[0].require_held()
        taken[0].release()
    assert strict_s3.names(bucket) == []


def test_a_run_is_refused_beside_another_before_spark_and_leaves_nothing(place, dataset, strict_s3, bucket, tmp_path):
    settings = {
        "input": {"path": dataset},
        "output": {"path": place.url},
        "work_dir": f"s3://{bucket}/another",
        "detect": {"method": "exact"},
    }
    taken = take(place, "steps remove")
    config = write_settings(tmp_path / "mine.yaml", settings)
    refused = run_cli("run", "--config", config, **strict_s3.environment, JAVA_HOME="/none")
    assert one_line(refused).startswith(f"LeaseError: output.path {place.url} is in use: by ")
    assert strict_s3.names(bucket) == [f"work/{LEASE}"]
    taken.release()
    assert strict_s3.names(bucket) == []
