"""What travels to tasks."""

from __future__ import annotations

import gc
import ipaddress
import os
import pickle
import sys
import zipimport

import pyarrow as pa

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

    tasks = spark.range(0, 12, 1, 12)
    found = map_batches(tasks, look, "worker bigint, zips bigint, put_aside bigint").collect()

    later = [row for place, row in enumerate(found) if row.worker in {each.worker for each in found[:place]}]
    assert later
    assert {row.zips for row in later} == {0}
    assert all(row.put_aside > 10_000 for row in later)
