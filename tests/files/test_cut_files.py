from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_imgdedup.files.cut_files import find_cut


def write_all(folder):
    """One file of each kind that a work_dir holds, and what does not count."""
    table = pa.table({"a": list(range(100))})
    (folder / "sub/_temporary").mkdir(parents=True)
    pq.write_table(table, folder / "sub/part.parquet")
    with pa.ipc.new_stream(folder / "sample.arrow", table.schema) as stream:
        stream.write_table(table)
    np.save(folder / "array.npy", np.ones((7, 3)))
    np.save(folder / "empty.npy", np.ones((0, 3)))
    (folder / "manifest.json").write_text(json.dumps({"shape": [7, 3]}))
    for name in ("_SUCCESS", ".hidden.parquet", "sub/_temporary/half.parquet", "notes.txt"):
        (folder / name).touch()


def test_whole_files_are_whole_and_what_does_not_count_is_not_looked_at(tmp_path):
    write_all(tmp_path)
    assert find_cut(str(tmp_path)) is None


@pytest.mark.parametrize("name", ["sub/part.parquet", "sample.arrow", "array.npy", "empty.npy", "manifest.json"])
def test_a_file_without_its_end_is_found_wherever_it_is_cut(tmp_path, name):
    write_all(tmp_path)
    path = tmp_path / name
    data = path.read_bytes()
    for size in (0, 1, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:size])
        assert find_cut(str(tmp_path)) == str(path), size
    path.write_bytes(data)
    assert find_cut(str(tmp_path)) is None


def test_a_store_shows_whole_files_only_and_is_not_asked():
    assert find_cut("memory://nobody/there") is None
