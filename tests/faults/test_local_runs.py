"""`spark-imgdedup run` on one machine: killed in every part, on full disks, and run again."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.datasets import settings, write_tars
from tests.faults.plans import LOCAL, N_LOCAL, Fault, planned
from tests.faults.processes import kill, of_session, python_daemons, python_workers, wait_for
from tests.faults.results import result_of
from tests.faults.runs import Run, inject, local_run, moment
from tests.faults.verdicts import Undisturbed, judge


@pytest.fixture(scope="module")
def tars(tmp_path_factory):
    return write_tars(tmp_path_factory.mktemp("dataset"))


@pytest.fixture(scope="module")
def undisturbed(tars, tmp_path_factory):
    """The run that nothing happens to, and what it leaves."""
    place = tmp_path_factory.mktemp("undisturbed") / "place"
    run = local_run(settings(str(tars), str(place)), place, "log").start()
    left = run.wait()
    assert (run.code, left) == (0, []), run.said[-3000:]
    return Undisturbed(run, result_of(place))


def targets(kind, run):
    """The processes of a run that a kind of fault may kill."""
    found = of_session(run.session)
    if kind == "driver killed":
        return [process for process in found if process.pid == run.session]
    if kind == "JVM killed":
        return [process for process in found if process.is_driver_jvm]
    return python_workers(found) if kind == "Python worker killed" else python_daemons(found)


def kill_one(fault: Fault, run: Run, seconds, share) -> bool:
    """At the moment of the fault, or once there is such a process, kill one; False where the run ended before."""
    if not moment(run, fault, seconds, share):
        return False
    wait_for(lambda: run.is_over or targets(fault.kind, run), 30)
    found = targets(fault.kind, run)
    if run.is_over or not found:
        return False
    kill(found[fault.seed % len(found)])
    return True


@pytest.mark.parametrize("fault", [f for f in planned(LOCAL, N_LOCAL) if f.kind.endswith("killed")], ids=str)
def test_a_run_that_was_killed_anywhere_gives_the_undisturbed_result_when_it_is_run_again(
    tars, undisturbed, ledger, tmp_path, fault
):
    place = tmp_path / "place"
    own = settings(str(tars), str(place))

    def fresh():
        shutil.rmtree(place, ignore_errors=True)
        return local_run(own, place, "first").start()

    first = inject(fresh, lambda run, share: kill_one(fault, run, undisturbed.run.step_seconds(), share), fault.share)

    entry = (ledger, "one machine", fault.kind)
    judge(entry, first, second_run(own, place), undisturbed, says_why=fault.kind != "driver killed")


@pytest.mark.parametrize("fault", [f for f in planned(LOCAL, N_LOCAL) if f.kind.endswith("full")], ids=str)
def test_a_run_on_a_full_disk_says_so_in_a_line_and_with_room_gives_the_undisturbed_result(
    tars, undisturbed, ledger, tmp_path, fault
):
    place = tmp_path / "place"
    own = settings(str(tars), str(place))
    disk = place / ("work" if fault.kind.startswith("work_dir") else "out")
    needed = used(undisturbed.run.place / disk.name)

    with small_disk(disk, max(int(needed * fault.share), 8192)):
        first = local_run(own, place, "first").start()
        left = first.wait()
        assert first.code != 0, "it was not full"
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        judge((ledger, "one machine", fault.kind), first, second_run(own, place), undisturbed, left=left)


def second_run(settings, place):
    return lambda: local_run(settings, place, "second").start()


def used(folder: Path) -> int:
    """Bytes of a folder on a disk of pages of 4096 bytes, by which small disks count."""
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in folder.rglob("*") if path.is_file())


@contextmanager
def small_disk(folder: Path, n_bytes: int):
    """A disk of so many bytes at a folder."""
    folder.mkdir(parents=True)
    if os.geteuid() != 0:
        pytest.skip("a small disk of its own needs root: mount -t tmpfs")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={n_bytes}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"a small disk of its own needs mount -t tmpfs, which says: {done.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
