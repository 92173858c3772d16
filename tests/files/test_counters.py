"""Tasks say how far they are within a part; the driver adds that up with the parts that are there."""

from __future__ import annotations

import json
import os

import pyarrow as pa
import pytest

from spark_imgdedup.files.parts import counters
from spark_imgdedup.files.parts.counters import Counter, Made, PartsInWork, in_work, parts_below
from spark_imgdedup.files.parts.part_files import PartForm, keep_only, open_round, write_part

SCHEMA = pa.schema([("shard", pa.string()), ("rejected_because", pa.string())])


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A round of two parts, of one tar each with 1000 bytes, the first of which is there; and what the driver knows."""
    monkeypatch.setattr(counters, "_SECONDS_BETWEEN_LOOKS", 0.0)
    folder = str(tmp_path / "embeddings")
    form = PartForm("settings", SCHEMA, "{}", "shard")
    one = open_round(folder, form)
    rows = pa.RecordBatch.from_pydict({"shard": ["a"] * 3, "rejected_because": [None, "truncated", None]}, SCHEMA)
    first, second = form.name([b"a" * 16]), form.name([b"b" * 16])
    write_part(one, [b"a" * 16], [rows])
    return one, second, PartsInWork(folder, {first: (1, 1000), second: (1, 1000)}, {}, False)


def test_what_is_there_and_what_is_being_made_are_added_up(work):
    one, second, parts = work
    clock = Clock()
    counter = Counter(one, second, clock)

    assert parts.look() == Made(3, 1, 1, 2, 1000, 2000, False)
    counter.add(10, 2, 400)
    assert parts.look().images == 3  # it has nothing to say for the first seconds
    clock.now = counters.SECONDS
    counter.add(5, 0, 100)
    assert parts.look() == Made(18, 3, 1, 2, 1500, 2000, False)
    clock.now = 2 * counters.SECONDS
    counter.add(5, 0, 5000)  # images decompress to more than a gzipped tar has
    assert parts.look() == Made(23, 3, 1, 2, 2000, 2000, False)


def test_a_count_that_is_half_written_is_the_one_before(work):
    one, second, parts = work
    place = f"{one.folder}/_count-{second}"
    for text in (json.dumps({"images": 7, "failed": 0, "n_bytes": 70}), '{"images": 9, '):
        with open(place, "w") as file:
            file.write(text)
        os.utime(place, (len(text), len(text)))
        assert parts.look().images == 10


def test_no_count_is_left_in_a_finished_table_and_none_is_written_there(work):
    one, second, _ = work
    clock = Clock()
    counter = Counter(one, second, clock)
    for clock.now in (10.0, 20.0):
        counter.add(1, 0, 1)
        keep_only(one.folder, [one.form.name([b"a" * 16])])

    assert os.listdir(one.folder) == [one.form.name([b"a" * 16])]


def test_parts_are_found_by_the_folder_of_their_run_while_they_are_made(work, tmp_path):
    one, _, parts = work

    with in_work(one.folder, parts):
        assert parts_below(f"{tmp_path}/") is parts_below(str(tmp_path)) is parts
        assert parts_below(f"{tmp_path}/embed") is None
    assert parts_below(str(tmp_path)) is None
