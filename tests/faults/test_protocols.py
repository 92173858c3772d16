"""Copying and publishing an output, records, manifests, markers: where storage fails at any of its operations."""

from __future__ import annotations

import random

import pytest

from tests.faults.disks import KINDS, DiskFault
from tests.faults.ledger import Entry
from tests.faults.plans import N_PROTOCOLS, N_STORE_PROTOCOLS, SEED
from tests.faults.protocols import PROTOCOLS
from tests.faults.proxy import Proxy, Trouble
from tests.faults.stores import KINDS as STORE_KINDS
from tests.faults.stores import StoreFault
from tests.faults.trying import DONE, Trial

NAMES = [protocol.name for protocol in PROTOCOLS]
HIDDEN = "out/_temporary/"
# What a store does to requests, to which share of them, and what that is called at the end.
TROUBLES = (
    ("errors", 0.3, "S3 answers 500 and 503"),
    ("drops", 0.25, "S3 drops connections"),
    ("slow", 0.3, "S3 is slow"),
)
# What each kind of fault is called at the end.
WORDS = {"killed": "killed at an operation", "power": "power lost", "full": "disk full", "error": "an operation fails"}


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory):
    return {name: Trial.prepared(name, tmp_path_factory.mktemp(name)) for name in NAMES}


@pytest.fixture(scope="module")
def on_s3(s3, tmp_path_factory):
    s3.fs.mkdir("protocols")
    return {
        name: Trial.prepared(name, tmp_path_factory.mktemp(name), f"s3://protocols/{name}", s3.options)
        for name in NAMES
    }


def drawn(kinds, n):
    """(protocol, kind, which of its operations as a share of them all, seed)."""
    draw = random.Random(SEED)
    for number in range(n):
        # Every second one on the output, whose protocol is the longest.
        name = NAMES[0] if number % 2 else NAMES[1 + number // 2 % (len(NAMES) - 1)]
        yield name, kinds[number // 2 % len(kinds)], round(draw.random(), 3), draw.randrange(2**31)


def test_each_protocol_changes_something_and_asks_the_storage_often_enough_to_be_disturbed(on_disk):
    for trial in on_disk.values():
        assert trial.before != trial.after
        assert trial.n_operations >= 5


@pytest.mark.parametrize(("name", "kind", "share", "seed"), list(drawn(KINDS, N_PROTOCOLS)))
def test_after_a_fault_of_a_disk_readers_see_old_or_new_and_doing_it_again_gives_the_undisturbed_result(
    on_disk, ledger, name, kind, share, seed
):
    trial = on_disk[name]

    disturb(trial, DiskFault(kind, 1 + int(share * trial.n_operations), seed), ledger, WORDS[kind])


@pytest.mark.parametrize(("name", "kind", "share", "seed"), list(drawn(STORE_KINDS, N_STORE_PROTOCOLS)))
def test_after_a_fault_at_a_request_readers_see_old_or_new_and_doing_it_again_gives_the_undisturbed_result(
    on_s3, ledger, name, kind, share, seed
):
    trial = on_s3[name]

    disturb(trial, StoreFault(kind, 1 + int(share * trial.n_operations), seed), ledger, f"S3, {WORDS[kind]}")


@pytest.mark.parametrize("number", range(N_STORE_PROTOCOLS // 2))
def test_on_a_store_in_trouble_work_succeeds_or_is_refused_and_then_gives_the_undisturbed_result(
    on_s3, s3, ledger, number
):
    kind, share, word = TROUBLES[number % len(TROUBLES)]
    with Proxy(s3.endpoint, Trouble(kind, share, 20, SEED + number)) as proxy:
        disturb(on_s3["output"], StoreFault(), ledger, word, endpoint_url=proxy.endpoint)
        assert proxy.n_hit > 0


def disturb(trial, fault, ledger, kind, **options):
    """Do the work with a fault, look, do it again, compare, and write down what became of it."""
    trial.reset()

    first = trial.attempt(fault, **options)
    problems = [looked] if (looked := trial.looks_wrong()) else []
    if fault.kind == "power":
        trial.wait_out_leases()
    second = trial.attempt(DiskFault())
    found = trial.tree()
    more = found.keys() - trial.after.keys()
    if more and all(name.startswith(HIDDEN) for name in more) and fault.kind in ("power", "error"):
        # The work was done, but for a deletion that failed or was lost. Nobody sees it, and it goes the next time.
        trial.begin_again()
        found = trial.tree()

    problems += [second.said] if second.code != DONE else []
    problems += [f"left over: {path}" for path in sorted(found.keys() - trial.after.keys())]
    lost = [path for path in sorted(trial.after) if found.get(path) != trial.after[path]]
    problems += [f"lost: {path}" for path in lost]
    n_bytes = sum(len(trial.after[path]) for path in lost)
    ledger.add(Entry("protocols", kind, first.code != DONE, tuple(problems), n_bytes))
    assert not problems, f"{fault}: " + "\n".join(problems)
