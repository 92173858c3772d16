from __future__ import annotations

import numpy as np
import pytest

from spark_imgdedup.errors import SchemaError
from spark_imgdedup.files import artifacts, storage


@pytest.mark.parametrize("scheme", ["", "memory:/"])
def test_an_array_comes_back_as_it_was_stored(tmp_path, scheme):
    url = f"{scheme}{tmp_path}/centroids"
    array = np.arange(12, dtype=np.float32).reshape(3, 4)

    saved = artifacts.save(url, array, {"seed": 1})

    loaded = artifacts.load(artifacts.find(url))
    np.testing.assert_array_equal(loaded, array, strict=True)
    assert artifacts.find(url).sha256 == saved.sha256


def test_an_array_without_its_manifest_was_not_finished(tmp_path):
    url = str(tmp_path / "centroids")
    artifacts.save(url, np.zeros(3))
    storage.delete(f"{url}/manifest.json")

    with pytest.raises(SchemaError, match="no finished array"):
        artifacts.find(url)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}"])
def test_an_array_whose_manifest_is_damaged_is_one_line(tmp_path, text):
    artifacts.save(str(tmp_path / "centroids"), np.ones(3))
    (tmp_path / "centroids" / "manifest.json").write_text(text)

    with pytest.raises(SchemaError, match="damaged"):
        artifacts.find(str(tmp_path / "centroids"))


def test_an_array_that_was_exchanged_behind_our_back_is_refused(tmp_path):
    url = str(tmp_path / "centroids")
    artifacts.save(url, np.full(3, 7.5))
    stored = artifacts.find(url)
    np.save(tmp_path / "centroids" / "array.npy", np.full(3, 8.5))

    with pytest.raises(SchemaError, match="does not match its manifest"):
        artifacts.load(stored)


@pytest.mark.parametrize("left", [None, b"", b"\x93NUMPY"])
def test_an_array_that_is_gone_or_cut_is_one_line_with_the_way_out(tmp_path, left):
    saved = artifacts.save(str(tmp_path / "centroids"), np.full(3, 9.25))
    (tmp_path / "centroids/array.npy").unlink()
    if left is not None:
        (tmp_path / "centroids/array.npy").write_bytes(left)

    with pytest.raises(SchemaError, match=r"centroids: array\.npy does not match .* again, with --force"):
        artifacts.load(saved)


def test_a_relative_place_is_remembered_from_where_the_driver_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved = artifacts.save("centroids", np.full(3, 3.25))
    monkeypatch.chdir("/")

    assert artifacts.load(saved)[0] == 3.25


def test_an_array_stored_again_under_the_same_name_is_not_taken_from_the_cache(tmp_path):
    url = str(tmp_path / "centroids")
    for value in (1.0, 2.0):
        artifacts.save(url, np.full(3, value))

        assert artifacts.load(artifacts.find(url))[0] == value
