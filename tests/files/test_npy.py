"""Vectors of .npy files: which rows they have, and which file says whose they are."""

from __future__ import annotations

import numpy as np
import pytest

from spark_imgdedup.errors import ConfigError, SchemaError
from spark_imgdedup.files.npy import read_header, read_rows, vector_files

MATRIX = np.arange(12, dtype=np.float64).reshape(4, 3) / 8


@pytest.mark.parametrize("kind", ["<f2", "<f4", "<f8", ">f4"])
def test_any_rows_of_a_matrix_of_floats_are_read_as_float32(tmp_path, kind):
    np.save(tmp_path / "v.npy", MATRIX.astype(kind))

    file = read_header(str(tmp_path / "v.npy"))

    assert (file.n_rows, file.dim) == (4, 3)
    rows = read_rows(file, 1, 3)
    assert rows.dtype == np.float32
    assert rows.tolist() == MATRIX[1:3].tolist()


def test_what_is_no_matrix_of_floats_is_named_and_nothing_is_unpickled(tmp_path):
    refused = {
        "whole.npy": MATRIX.astype(np.int64),
        "flat.npy": MATRIX[0],
        "columns.npy": np.asfortranarray(MATRIX),
        "objects.npy": np.array([[print]], object),
    }
    for name, array in refused.items():
        np.save(tmp_path / name, array, allow_pickle=True)
    np.save(tmp_path / "cut.npy", MATRIX)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:-1])
    (tmp_path / "text.npy").write_text("1 2 3")
    (tmp_path / "empty.npy").touch()
    messages = dict.fromkeys(refused, "vectors are rows of a matrix") | {"cut.npy": "cut off"}

    for name in (*refused, "cut.npy", "text.npy", "empty.npy"):
        with pytest.raises(SchemaError, match=rf"{name}: .*{messages.get(name, 'no .npy file')}"):
            read_header(str(tmp_path / name))


@pytest.mark.parametrize(
    ("files", "pairs"),
    [
        (
            (
                *("img_emb/img_emb_00.npy", "img_emb/img_emb_01.npy", "text_emb/text_emb_00.npy"),
                *("metadata/metadata_00.parquet", "metadata/metadata_01.parquet"),
            ),
            {"img_emb_00.npy": "metadata_00.parquet", "img_emb_01.npy": "metadata_01.parquet"},
        ),
        (("x/a.npy", "x/a.txt", "x/b.npy", "x/b.csv.gz"), {"a.npy": "a.txt", "b.npy": "b.csv.gz"}),
        (("vectors.npy", "ids.txt"), {"vectors.npy": "ids.txt"}),
        (("text_emb_0.npy", "metadata_0.parquet"), {"text_emb_0.npy": "metadata_0.parquet"}),
    ],
    ids=["clip-retrieval", "of one name", "the only two", "captions alone"],
)
def test_vectors_are_paired_with_the_file_that_has_their_ids(tmp_path, files, pairs):
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")

    found = vector_files(str(tmp_path))

    assert {url.rpartition("/")[2]: ids.rpartition("/")[2] for url, ids in found} == pairs
    if "img_emb_00.npy" in pairs:  # the folder of the vectors alone
        assert vector_files(str(tmp_path / "img_emb")) == found
    elif "vectors.npy" in pairs:
        assert vector_files(str(tmp_path / "vectors.npy")) == found


@pytest.mark.parametrize("files", [("a.npy",), ("a.npy", "b.npy", "ids.txt"), ("a.npy", "a.txt", "a.csv")])
def test_vectors_that_may_be_anybodys_are_refused(tmp_path, files):
    for name in files:
        (tmp_path / name).write_text("x")

    with pytest.raises(ConfigError, match=r"a\.npy: .* of ids belongs to these vectors"):
        vector_files(str(tmp_path))
