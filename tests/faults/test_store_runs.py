"""Runs on an S3 server that is in trouble: its answers, its connections, its speed, and whether it is there at all."""

from __future__ import annotations

import shutil
import uuid

import pytest

from tests.faults.datasets import settings, write_tars
from tests.faults.plans import N_STORE, STORE, planned
from tests.faults.processes import wait_for
from tests.faults.proxy import Proxy, Trouble
from tests.faults.results import result_of
from tests.faults.runs import inject, local_run, moment
from tests.faults.verdicts import Undisturbed, judge

# How many requests are hit, and at most.
TROUBLES = {
    "S3 answers 500 and 503": ("errors", 0.1, 60),
    "S3 drops connections": ("drops", 0.08, 40),
    "S3 is slow": ("slow", 0.1, 60),
}
AWAY_SECONDS = 10


@pytest.fixture(scope="module")
def tars(s3, tmp_path_factory):
    folder = write_tars(tmp_path_factory.mktemp("dataset"))
    s3.fs.mkdir("photos")
    for path in folder.rglob("*.tar"):
        s3.fs.put_file(str(path), f"photos/{path.relative_to(folder)}")
    return "s3://photos"


@pytest.fixture(scope="module")
def undisturbed(s3, tars, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    run = job(s3, s3.endpoint, tars, folder, "log").start()
    left = run.wait()
    assert (run.code, left) == (0, []), run.said[-3000:]
    return Undisturbed(run, downloaded(s3, run.bucket, folder))


def job(s3, endpoint, tars, folder, name, bucket=None):
    """A run with everything in a bucket of its own."""
    if bucket is None:
        bucket = f"run-{uuid.uuid4().hex[:12]}"
        s3.fs.mkdir(bucket)
    options = {**s3.options, "endpoint_url": endpoint}
    place = folder / "place"
    run = local_run({**settings(tars, f"s3://{bucket}"), "storage_options": options}, place, name)
    run.bucket = bucket
    return run


def downloaded(s3, bucket, folder):
    shutil.rmtree(folder / "found", ignore_errors=True)
    found = result_of(s3.download(bucket, folder / "found"))
    assert s3.unfinished(bucket) == []
    return found


@pytest.mark.parametrize("fault", [f for f in planned(STORE, N_STORE) if f.kind in TROUBLES], ids=str)
def test_a_run_on_a_store_in_trouble_gives_the_undisturbed_result_at_last(
    s3, tars, undisturbed, ledger, tmp_path, fault
):
    kind, share, most = TROUBLES[fault.kind]
    with Proxy(s3.endpoint, Trouble(kind, share, most, fault.seed)) as proxy:
        first = job(s3, proxy.endpoint, tars, tmp_path, "first").start()
        left = first.wait()
        assert proxy.n_hit > 0
        again = lambda: job(s3, s3.endpoint, tars, tmp_path, "second", first.bucket).start()  # noqa: E731
        read = lambda: downloaded(s3, first.bucket, tmp_path)  # noqa: E731
        judge((ledger, "S3", fault.kind), first, again, undisturbed, left=left, read=read)


@pytest.mark.parametrize("fault", [f for f in planned(STORE, N_STORE) if f.kind not in TROUBLES], ids=str)
def test_a_run_whose_store_goes_away_for_a_while_gives_the_undisturbed_result_at_last(
    s3, tars, undisturbed, ledger, tmp_path, fault
):
    with Proxy(s3.endpoint) as proxy:

        def hit(run, share):
            if not moment(run, fault, undisturbed.run.step_seconds(), share):
                return False
            proxy.go_away()
            wait_for(lambda: run.is_over, AWAY_SECONDS)
            proxy.come_back()
            return True

        first = inject(lambda: job(s3, proxy.endpoint, tars, tmp_path, "first").start(), hit, fault.share)
        again = lambda: job(s3, proxy.endpoint, tars, tmp_path, "second", first.bucket).start()  # noqa: E731
        read = lambda: downloaded(s3, first.bucket, tmp_path)  # noqa: E731
        judge((ledger, "S3", fault.kind), first, again, undisturbed, read=read)
