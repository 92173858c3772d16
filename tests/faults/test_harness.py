"""That the harness injects what it says, and sees what is lost: else a summary of zeros would say nothing."""

from __future__ import annotations

import json
import multiprocessing
import os
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_imgdedup.files import writing
from tests.faults.disks import DEAD, Disk, DiskFault
from tests.faults.ledger import Entry, Ledger
from tests.faults.plans import CLUSTER, LOCAL, STEPS, STORE, planned
from tests.faults.proxy import Proxy, Trouble
from tests.faults.results import differences, result_of

TEXT = b"0123456789" * 100


def lose_power(folder, seed):
    """Write one file as it should be done and one carelessly, rename a third, and lose the power at a fourth."""
    place, shadow = folder / "place", folder / "shadow"
    (place / "old").write_bytes(b"old")
    Disk(place, shadow, DiskFault("power", 10, seed)).install()
    writing.write_bytes(f"{place}/careful", TEXT)
    with open(place / "careless", "wb") as file:
        file.write(TEXT)
    os.replace(place / "old", place / "renamed")
    for name in ("fourth", "fifth"):
        (place / name).touch()
    raise SystemExit(1)


def test_a_lost_power_takes_what_was_not_synced_and_nothing_else(tmp_path):
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["tests.faults.trying", "s3fs"])
    sizes, renamed = set(), set()
    for seed in range(12):
        folder = tmp_path / str(seed)
        (folder / "place").mkdir(parents=True)
        (folder / "shadow").mkdir()
        process = server.Process(target=lose_power, args=(folder.resolve(), seed))
        process.start()
        process.join()

        assert process.exitcode == DEAD
        assert (folder / "place/careful").read_bytes() == TEXT
        assert (folder / "place/old").exists() != (folder / "place/renamed").exists()
        renamed.add((folder / "place/renamed").exists())
        careless = folder / "place/careless"
        sizes.add(careless.stat().st_size if careless.exists() else None)

    assert renamed == {True, False}
    assert len(sizes) > 2  # cut anywhere


def leave_a_run(place):
    """What a run has left, in small."""
    for folder in ("work/removed", "work/report", "out"):
        (place / folder).mkdir(parents=True)
    pq.write_table(pa.table({"id": [1, 2], "temporary": ["x", "y"]}), place / "work/removed/part-00000.parquet")
    (place / "work/report/report.json").write_text(json.dumps({"summary": {"read": 2, "seconds": {"embed": 1}}}))
    (place / "out/a.tar").write_bytes(TEXT)
    return place


def test_what_is_lost_left_over_or_another_is_told(tmp_path):
    wanted = result_of(leave_a_run(tmp_path / "one"))
    place = leave_a_run(tmp_path / "two")
    assert differences(result_of(place), wanted) == ([], 0)

    (place / "out/a.tar").write_bytes(TEXT[:-1])
    (place / "out/_temporary").mkdir()
    (place / "out/_temporary/b.tar").touch()
    (place / "work/.x.tmp").touch()
    pq.write_table(pa.table({"id": [1], "temporary": ["z"]}), place / "work/removed/part-00000.parquet")
    (place / "work/report/report.json").write_text(json.dumps({"summary": {"read": 1}}))

    said, n_bytes = differences(result_of(place), wanted)
    assert said == [
        "left over: out/_temporary/b.tar",
        "left over: work/.x.tmp",
        "table removed: 1 rows, not 2; 1 missing, 0 more",
        "file out/a.tar is another",
        "report.json: read is 1, not 2",
    ]
    assert n_bytes == len(TEXT)


class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(TEXT)))
        self.end_headers()
        self.wfile.write(TEXT)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as found:
        Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_address[1]}"
        found.shutdown()


def get(url):
    """What comes of a request: its data, a status, or the name of an error."""
    connection = HTTPConnection(url.removeprefix("http://"), timeout=60)
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        data = answer.read()
        return data if answer.status == 200 else answer.status
    except (OSError, HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()


def test_a_store_in_trouble_answers_wrong_or_not_at_all_as_often_as_it_may_and_then_well(server):
    for kind in ("errors", "drops"):
        with Proxy(server, Trouble(kind, 0.5, 5, seed=1)) as proxy:
            found = [get(proxy.endpoint) for _ in range(40)]
            bad = [each for each in found if each != TEXT]

            assert proxy.n_hit == 5 == len(bad)
            assert found[-1] == TEXT
            assert set(bad) <= {500, 503} if kind == "errors" else all(isinstance(each, str) for each in bad)


def test_a_store_that_is_away_is_there_again_when_it_comes_back(server):
    with Proxy(server) as proxy:
        proxy.go_away()
        away = get(proxy.endpoint)
        proxy.come_back()

        assert isinstance(away, str)
        assert get(proxy.endpoint) == TEXT


@pytest.mark.parametrize("kinds", [LOCAL, CLUSTER, STORE])
def test_a_hundred_faults_are_of_every_kind_at_every_step_and_a_seed_gives_the_same_again(kinds):
    faults = planned(kinds, 100, seed=3)

    assert {(fault.kind, fault.step) for fault in faults} == {(kind, step) for kind in kinds for step in kinds[kind]}
    assert faults == planned(kinds, 100, seed=3) != planned(kinds, 100, seed=4)
    assert {fault.kind for fault in planned(CLUSTER, 8)} == set(CLUSTER)
    assert set(STEPS) >= {fault.step for fault in planned(CLUSTER, 8) if fault.step != "publish"}


def test_what_was_not_survived_is_counted_and_written(tmp_path):
    ledger = Ledger(seed=3)
    ledger.add(Entry("one machine", "killed", rerun=True, seconds_repeated=4.0))
    ledger.add(Entry("one machine", "killed", rerun=False, differences=("file a is another",), bytes_lost=7))

    *_, line = ledger.lines()
    ledger.write(tmp_path / "faults.json")

    assert line.split() == ["all", "2", "1", "1", "7", "4.0", "each"]
    found = json.loads((tmp_path / "faults.json").read_text())
    assert found["by_kind"][0] | {"injected": 2, "survived": 1, "bytes_lost": 7} == found["by_kind"][0]
    assert [each["differences"] for each in found["not_survived"]] == [["file a is another"]]
