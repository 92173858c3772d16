"""What travels to tasks."""

from __future__ import annotations

import gc
import ipaddress
import os
import pickle
import sys
import zipimport

import pyarrow as pa
import pytest

from spark_imgdedup.stages import tasks
from spark_imgdedup.stages.tasks import EachAlone, map_batches

UNPACKED = []


def unpack(number):
    UNPACKED.append(number)
    return number


class Told:
    """Says when it is unpacked."""

    def __init__(self, number):
        self.number = number

    def __reduce__(self):
        return unpack, (self.number,)


def test_a_task_unpacks_its_own_item_alone():
    items = pickle.loads(pickle.dumps(EachAlone(Told(number) for number in range(5))))
    UNPACKED.clear()

    assert items[3] == 3
    assert UNPACKED == [3]
    assert len(items) == 5


def test_a_worker_keeps_no_index_of_a_zip_and_looks_for_no_garbage_in_modules(spark):
    def look(batches):
        zips = sum(isinstance(finder, zipimport.zipimporter) for finder in sys.path_importer_cache.values())
        for _ in batches:
            seen = {"worker": [os.getpid()], "zips": [zips], "put_aside": [gc.get_freeze_count()]}
            yield pa.RecordBatch.from_pydict(seen)
            ipaddress.ip_address("127.0.0.1")  # imported on the way here: the importers come back

    rows = spark.range(0, 12, 1, 12)
    found = map_batches(rows, look, "worker bigint, zips bigint, put_aside bigint").collect()

    later = [row for place, row in enumerate(found) if row.worker in {each.worker for each in found[:place]}]
    assert later
    assert {row.zips for row in later} == {0}
    assert all(row.put_aside > 10_000 for row in later)


@pytest.mark.parametrize("most", [0, 2**18], ids=["as rows", "in the closure"])
def test_each_package_has_a_task_of_its_own_however_it_travels(spark, monkeypatch, most):
    monkeypatch.setattr(tasks, "MAX_BYTES_WITH_EACH", most)

    def work(packages):
        from pyspark import TaskContext

        for package in packages:
            yield pa.RecordBatch.from_pydict({"package": [package], "task": [TaskContext.get().partitionId()]})

    packages = [bytes([number]) * number for number in range(5)]
    found = tasks.map_packages(spark, packages, work, "package binary, task bigint").collect()

    assert sorted(bytes(row["package"]) for row in found) == sorted(packages)
    assert len({row["task"] for row in found}) == 5
