"""A folder belongs to one run at a time, whatever happens to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from spark_imgdedup.errors import LeaseError
from spark_imgdedup.files import storage
from spark_imgdedup.files.owning import lease, lease_slots
from spark_imgdedup.files.owning.lease import Place, holder_in_words, require_free, require_held, slot_at, take
from spark_imgdedup.files.owning.lease_holder import Holder
from spark_imgdedup.files.owning.lease_slots import LEASE
from tests.racing import at_once, taken_at_once

ROOT = Path(lease.__file__).parents[3]
SHORT = 0.5  # seconds without a sign of life
LIMIT_SECONDS = 120
# As another process does it: takes the folder, says so, and holds it until it is killed.
HOLD = """
import sys
from spark_imgdedup.files.owning.lease import Place, take
take(Place("work_dir", sys.argv[1], {}), "steps embed", ttl_seconds=float(sys.argv[2]))
print("held", flush=True)
sys.stdin.read()
"""


class Unsteady(MemoryFileSystem):
    """A store that answers with an error when told to, having stored what it was sent or not."""

    protocol = "unsteady"
    store = {}  # noqa: RUF012  # of the class, as its base has it
    pseudo_dirs = [""]  # noqa: RUF012
    fails, stores = False, True

    def pipe_file(self, path, value, mode="overwrite", **_):
        if self.stores:
            super().pipe_file(path, value, mode)
        if self.fails:
            raise ConnectionError("503 Slow Down")


fsspec.register_implementation("unsteady", Unsteady, clobber=True)


def place(folder, **options):
    return Place("work_dir", str(folder), options)


@pytest.fixture(params=["local", "store"])
def folder(request, tmp_path, monkeypatch):
    """A local one, and one on a store that knows no conditions."""
    monkeypatch.setattr(lease_slots, "SETTLE_SECONDS", 0.05)
    return str(tmp_path / "new" / "work") if request.param == "local" else f"memory://{tmp_path.name}/work"


@pytest.fixture
def start(request):
    """Starts a process that holds a folder."""

    def begin(folder, ttl=90.0):
        command = [sys.executable, "-c", HOLD, str(folder), str(ttl)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        request.addfinalizer(lambda: (process.kill(), process.communicate()))
        assert process.stdout.readline() == "held\n"
        return process

    return begin


def holds(folder, **changes):
    """Leave a lease behind as another machine would, and say who holds it."""
    holder = replace(Holder.here("steps embed, cluster"), machine="another start", host="far", user="ann", **changes)
    slot_at(folder).put(holder.to_bytes(), None)
    return holder


def names_in(folder):
    fs, path = fsspec.core.url_to_fs(folder)
    return [name.rsplit("/", 1)[1] for name in fs.ls(path, detail=False)] if fs.exists(path) else []


def test_a_second_run_is_refused_with_who_holds_the_folder_and_what_to_do(folder):
    held = holds(folder)
    with pytest.raises(LeaseError) as refused:
        take(place(folder), "steps embed")
    text = str(refused.value)
    assert f"work_dir {folder} is in use: by ann@far, process {held.pid}, steps embed, cluster, since 20" in text
    assert "UTC, last sign of life 0 s ago" in text
    assert "name another folder" in text
    assert " s from now." in text
    assert "\n" not in text
    with pytest.raises(LeaseError, match="ann@far"):
        require_free(place(folder))
    assert "by ann@far" in holder_in_words(place(folder))
    assert names_in(folder) == [LEASE]  # what asked for the time has gone


def test_nothing_of_a_lease_stays_and_the_folder_is_free_again(folder, tmp_path):
    for _ in range(2):
        taken = take(place(folder), "steps embed")
        assert storage.list_files(folder, "") == []  # hidden from every listing
        taken.require_held()
        taken.release()
    assert names_in(folder) == []
    assert not (tmp_path / "new").exists()


def test_what_was_written_in_the_folder_meanwhile_stays(tmp_path):
    taken = take(place(tmp_path / "a" / "b"), "steps embed")
    (tmp_path / "a" / "mine").touch()
    taken.release()
    assert [each.name for each in (tmp_path / "a").iterdir()] == ["mine"]


def test_two_spellings_of_a_folder_meet(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    taken = take(place("link/"), "steps embed")
    for spelling in ("real", "./real/", tmp_path / "link", f"file://{tmp_path}/real"):
        with pytest.raises(LeaseError, match="is in use"):
            take(place(spelling), "steps embed")
    (tmp_path / "real" / LEASE).unlink()
    with pytest.raises(LeaseError, match="was deleted"):
        require_held(str(tmp_path / "real"))
    taken.release()
    require_held(str(tmp_path / "real"))  # nobody's: nothing is asked


def test_a_lease_without_a_sign_of_life_is_taken_over_and_its_run_writes_nothing_more(folder):
    first = take(place(folder), "steps embed", ttl_seconds=90)
    slot = slot_at(folder)
    old = replace(Holder.parse(slot.read().data), ttl_seconds=0.0, machine="another start")
    slot.put(old.to_bytes(), slot.read())  # as if the other run had read it long after
    time.sleep(0.05)
    second = take(place(folder), "steps remove")
    with pytest.raises(LeaseError, match="another one has taken the folder over"):
        first.require_held()
    first.release()  # takes nothing away from the second
    second.require_held()
    second.release()
    assert names_in(folder) == []


def test_a_run_gives_signs_of_life_while_it_lasts(folder):
    taken, slot = take(place(folder), "steps embed", ttl_seconds=SHORT), slot_at(folder)
    seen, deadline = {slot.read().modified}, time.monotonic() + LIMIT_SECONDS
    while len(seen) < 4:
        assert time.monotonic() < deadline
        found = slot.read()
        seen |= {found.modified} if found else set()  # a store without conditions shows none for a moment
        time.sleep(0.02)
    taken.require_held()
    taken.release()


@pytest.mark.parametrize("stores", [True, False])
def test_a_store_that_fails_for_a_while_takes_no_lease_away(monkeypatch, stores):
    monkeypatch.setattr(lease_slots, "SETTLE_SECONDS", 0)
    taken = take(place("unsteady://bucket/work"), "steps embed")
    monkeypatch.setattr(Unsteady, "fails", True)
    monkeypatch.setattr(Unsteady, "stores", stores)
    with suppress(ConnectionError):  # where it has stored, that is found out
        taken.require_held()
        assert stores
    monkeypatch.undo()
    taken.require_held()
    taken.release()
    assert names_in("unsteady://bucket/work") == []


def test_a_sign_of_life_that_arrives_late_is_still_ours(monkeypatch):
    monkeypatch.setattr(lease_slots, "SETTLE_SECONDS", 0)
    taken, slot = take(place("unsteady://bucket/work"), "steps embed"), slot_at("unsteady://bucket/work")
    late = replace(Holder.parse(slot.read().data), renewed="a moment ago")
    slot.put(late.to_bytes(), slot.read())
    taken.require_held()
    taken.release()
    assert names_in("unsteady://bucket/work") == []


@pytest.mark.parametrize("left", [b"", b'{"run": "a', b"[]", b"\xff\xfe", b'{"pid": "x"}'], ids=repr)
def test_a_damaged_lease_is_one_whose_holder_is_unknown(tmp_path, left):
    (tmp_path / LEASE).write_bytes(left)
    with pytest.raises(LeaseError, match="whose lease is damaged"):
        take(place(tmp_path), "steps embed")
    os.utime(tmp_path / LEASE, (1, 1))
    take(place(tmp_path), "steps embed").release()
    assert list(tmp_path.iterdir()) == []


def test_a_lease_says_for_how_long_at_most_an_hour(tmp_path):
    holds(str(tmp_path), ttl_seconds=1e12)
    os.utime(tmp_path / LEASE, (time.time() - 4000,) * 2)
    take(place(tmp_path), "steps embed").release()


def test_a_killed_process_of_this_machine_is_followed_at_once(tmp_path, start):
    process = start(tmp_path)
    with pytest.raises(LeaseError, match=f"process {process.pid}, steps embed"):
        take(place(tmp_path), "steps embed")
    os.kill(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + LIMIT_SECONDS
    while not Holder.parse((tmp_path / LEASE).read_bytes()).has_died:  # it is not waited for: a zombie is dead, too
        assert time.monotonic() < deadline
    take(place(tmp_path), "steps embed").release()
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_has_the_number_of_a_dead_one_is_another(tmp_path):
    ours = Holder.here("steps embed")
    assert not ours.has_died
    assert replace(ours, started="1").has_died
    assert not replace(ours, started="1", machine="of another namespace").has_died
    assert not replace(ours, pid=1, started="").has_died or os.getuid() == 0


def test_a_process_that_was_stopped_for_too_long_has_lost_its_folder(tmp_path, start):
    process = start(tmp_path, ttl=SHORT)
    os.kill(process.pid, signal.SIGSTOP)
    deadline = time.monotonic() + LIMIT_SECONDS
    while True:
        try:
            taken = take(place(tmp_path), "steps embed")
            break
        except LeaseError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    os.kill(process.pid, signal.SIGCONT)
    time.sleep(2 * SHORT)  # its signs of life go nowhere
    taken.require_held()
    taken.release()
    assert list(tmp_path.iterdir()) == []


def test_of_many_that_want_a_folder_never_two_have_it(tmp_path):
    inside, most, n_taken, wrong = [0], [0], [0], []
    counting = threading.Lock()

    def want():
        for _ in range(15):
            try:
                taken = take(place(tmp_path / "work"), "steps embed", ttl_seconds=90)
            except LeaseError:
                continue
            with counting:
                inside[0] += 1
                n_taken[0] += 1
                most[0] = max(most[0], inside[0])
            time.sleep(0.001)
            with counting:
                inside[0] -= 1
            try:
                taken.require_held()
            except LeaseError as error:
                wrong.append(error)
            taken.release()

    at_once(want)
    assert most == [1]
    assert not wrong
    assert n_taken[0] >= 1
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_of_many_that_follow_a_dead_run_one_does(tmp_path):
    for round_ in range(10):
        folder = tmp_path / str(round_)
        folder.mkdir()
        dead = replace(Holder.here("steps embed"), started="1")
        (folder / LEASE).write_bytes(json.dumps(asdict(dead)).encode())
        taken = taken_at_once(place(folder))
        assert len(taken) == 1
        taken[0].require_held()
        taken[0].release()
        assert list(folder.iterdir()) == []
