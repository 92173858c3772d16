"""Blocks: what was written is read again, by cluster, by part of a cluster, and from wherever it lies."""

from __future__ import annotations

import os
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_imgdedup.errors import SchemaError
from spark_imgdedup.files import block_reader, storage
from spark_imgdedup.files import blocks as module
from spark_imgdedup.files.block_index import load_index, save_index
from spark_imgdedup.files.block_reader import BlockReader
from spark_imgdedup.files.blocks import (
    BlockIndex,
    Rows,
    rows_per_file,
    write_block,
)

DIM = 3


def rows_of(clusters, dtype="<f4", first_id=0):
    ids = np.arange(first_id, first_id + len(clusters))
    vectors = np.repeat(ids[:, None], DIM, axis=1).astype(dtype)
    thin = pa.table({"id": ids, "cluster_id": pa.array(clusters, pa.int32())})
    return Rows(thin, vectors, np.array(clusters, np.int64))


def written(folder, parts, n_clusters, dtype="<f4"):
    """The index of files with these clusters, one list a file; ids count on through them."""
    counts, first = {}, 0
    for number, clusters in enumerate(parts):
        name = f"{number}.parquet"
        found = write_block(f"{folder}/{name}", rows_of(clusters, dtype, first), n_clusters, {})
        counts[name], first = found.astype("<i8").tobytes(), first + len(clusters)
    return BlockIndex.of(str(folder), counts, n_clusters, DIM, dtype)


def read(index, *span):
    with BlockReader(index, {}) as reader:
        parts = reader.read(index.slices(*span))
    for thin, vectors in parts:
        assert (vectors == thin["id"].to_numpy()[:, None]).all()
    rows = (thin.select(["id", "cluster_id"]).to_pydict().values() for thin, _ in parts)
    return [pair for columns in rows for pair in zip(*columns, strict=True)]


@pytest.mark.parametrize("dtype", ["<f2", "<f4"])
def test_the_rows_of_a_cluster_come_back_with_their_vectors(tmp_path, dtype):
    index = written(tmp_path, [[1, 0, 1, 3], [3, 3, 0]], 4, dtype)

    assert Counter(read(index, 1, 2)) == Counter([(0, 1), (2, 1)])
    assert Counter(read(index, 0, 4)) == Counter(enumerate([1, 0, 1, 3, 3, 3, 0]))
    assert read(index, 2, 3) == []
    assert index.sizes.tolist() == [2, 2, 0, 3]


@given(
    st.lists(st.lists(st.integers(0, 5), max_size=12), max_size=4),
    st.integers(0, 5),
    st.integers(0, 20),
    st.integers(0, 20),
)
def test_parts_of_clusters_are_cut_from_one_order_of_their_rows(tmp_path_factory, parts, first, start, stop):
    index = written(tmp_path_factory.mktemp("blocks"), parts, 6)

    whole = read(index, first, 6)
    assert read(index, first, 6, start, stop) == whole[start:stop]
    assert sorted(id_ for id_, _ in whole) == [
        id_ for id_, cluster in enumerate(cluster for part in parts for cluster in part) if cluster >= first
    ]


def test_of_many_files_few_are_open_at_a_time(tmp_path, monkeypatch):
    index = written(tmp_path, [[number % 2, 0] for number in range(12)], 2)
    monkeypatch.setattr(block_reader, "MOST_OPEN", 3)
    before = len(os.listdir("/proc/self/fd"))

    with BlockReader(index, {}) as reader:
        for _ in range(2):
            parts = reader.read(index.slices(0, 1))
            assert sum(len(thin) for thin, _ in parts) == 18
            assert all((vectors == thin["id"].to_numpy()[:, None]).all() for thin, vectors in parts)
            assert len(os.listdir("/proc/self/fd")) - before == 3
    assert len(os.listdir("/proc/self/fd")) == before


def test_rows_without_a_cluster_are_kept_and_never_searched(tmp_path):
    index = written(tmp_path, [[0, 2, 1, 2]], 2)

    assert index.sizes.tolist() == [1, 1]
    assert Counter(read(index, 0, 2)) == Counter([(0, 0), (2, 1)])
    assert pq.read_table(tmp_path / "0.parquet").num_rows == 4


def test_a_row_group_holds_several_clusters_where_there_are_many(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_BANDS", 2)
    index = written(tmp_path, [[4, 0, 1, 3, 2, 4]], 5)

    assert pq.ParquetFile(tmp_path / "0.parquet").num_row_groups == 2
    assert Counter(read(index, 1, 3)) == Counter([(2, 1), (4, 2)])
    with BlockReader(index, {}) as reader:
        bands = [thin["cluster_id"].to_pylist() for thin, _ in reader.bands(0)]
    assert bands == [[0, 1], [2, 3, 4, 4]]


def test_the_index_comes_back_and_files_that_it_does_not_know_go(tmp_path):
    index = written(tmp_path, [[1, 0], [], [2, 2, 1]], 3)
    write_block(f"{tmp_path}/left-over.parquet", rows_of([0]), 3, {})
    save_index(index, {})

    again = load_index(str(tmp_path), {})
    assert (again.folder, again.names, again.dim, again.dtype) == (str(tmp_path), index.names, DIM, "<f4")
    assert again.counts.tolist() == index.counts.tolist()
    assert not (tmp_path / "left-over.parquet").exists()
    assert pq.read_table(tmp_path / "index.parquet").column_names == ["cluster_id", "file", "n_rows"]


def test_no_index_is_no_blocks(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_index(str(tmp_path), {})


def test_nothing_can_be_written_and_read(tmp_path):
    index = BlockIndex.of(str(tmp_path), {}, 0, 1, "<f4")
    save_index(index, {})

    again = load_index(str(tmp_path), {})
    assert (again.n_clusters, again.names, again.sizes.tolist()) == (0, (), [])


def test_a_file_that_could_not_be_written_goes_with_the_next_index(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("the disk is full")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", fail)
    with pytest.raises(OSError, match="the disk is full"):
        write_block(f"{tmp_path}/0.parquet", rows_of([0, 1]), 2, {})
    monkeypatch.undo()
    save_index(BlockIndex.of(str(tmp_path), {}, 2, DIM, "<f4"), {})

    assert not (tmp_path / "0.parquet").exists()


def test_other_storage_is_read_alike():
    index = written("memory://elsewhere", [[1, 0, 1], [0]], 2)

    assert Counter(read(index, 1, 2)) == Counter([(0, 1), (2, 1)])
    save_index(index, {})
    assert load_index("memory://elsewhere", {}).sizes.tolist() == [2, 2]
    storage.delete("memory://elsewhere")


def test_a_file_is_as_large_as_its_vectors_may_be():
    assert rows_per_file(512, "<f4") * 512 * 4 == module.FILE_BYTES
    assert rows_per_file(10**9, "<f4") == 1


def test_an_index_that_is_cut_wherever_is_one_line_with_the_way_out(tmp_path):
    save_index(written(tmp_path, [[0, 1, 1]], 2), {})
    data = (tmp_path / "index.parquet").read_bytes()
    for size in range(0, len(data), 97):
        (tmp_path / "index.parquet").write_bytes(data[:size])
        with pytest.raises(SchemaError, match=r"index\.parquet is damaged\. Run the step .* with --force"):
            load_index(str(tmp_path), {})
    pq.write_table(pa.table({"another": [1]}), tmp_path / "index.parquet")
    with pytest.raises(SchemaError, match="is damaged"):
        load_index(str(tmp_path), {})
