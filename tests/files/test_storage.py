from __future__ import annotations

import os

import pytest

from spark_imgdedup.files import storage, writing


def names(found, base):
    return [file.url.removeprefix(f"{base}/") for file in found]


@pytest.fixture
def folder(tmp_path):
    for name in ("a.tar", "sub/b.tar", "sub/deep/c.TAR", "note.txt", ".hidden.tar", "_old/d.tar", ".cache/e.tar"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def test_a_folder_is_searched_recursively_and_what_others_hide_is_left_out(folder):
    assert names(storage.list_files(str(folder), ".tar"), folder) == ["a.tar", "sub/b.tar", "sub/deep/c.TAR"]


def test_a_folder_that_itself_begins_with_an_underscore_can_be_named(folder):
    assert names(storage.list_files(str(folder / "_old"), ".tar"), folder) == ["_old/d.tar"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.tar", ["a.tar"]),
        ("**/*.tar", ["a.tar", "sub/b.tar"]),
        ("s?b/*", ["sub/b.tar", "sub/deep/c.TAR"]),  # a folder that matches is read like one that is given
        ("*/deep/*.TAR", ["sub/deep/c.TAR"]),
        ("[a-c].tar", ["a.tar"]),
        ("sub/b.tar", ["sub/b.tar"]),
        ("nothing*", []),
        ("nothing", []),
    ],
)
def test_globs_and_single_files_name_what_they_match(folder, pattern, expected):
    assert names(storage.list_files(str(folder / pattern), ".tar"), folder) == expected


def test_a_folder_with_brackets_in_its_name_is_not_taken_for_a_glob(tmp_path):
    (tmp_path / "set [1]").mkdir()
    (tmp_path / "set [1]" / "a.tar").write_bytes(b"x")

    assert names(storage.list_files(str(tmp_path / "set [1]"), ".tar"), tmp_path) == ["set [1]/a.tar"]


def test_symbolic_links_count_like_what_they_point_to(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.tar").write_bytes(b"four")
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "file.tar").symlink_to("../real/a.tar")
    (tmp_path / "input" / "folder").symlink_to("../real")

    found = storage.list_files(str(tmp_path / "input"), ".tar")

    assert names(found, tmp_path / "input") == ["file.tar", "folder/a.tar"]
    assert [file.n_bytes for file in found] == [4, 4]


def test_a_link_back_to_a_folder_above_ends_there(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.tar").write_bytes(b"x")
    (tmp_path / "a" / "loop").symlink_to(".")

    assert names(storage.list_files(str(tmp_path), ".tar"), tmp_path) == ["a/x.tar"]


def test_any_fsspec_url_is_listed_written_read_moved_and_deleted_alike():
    base = "memory://storage-test"
    writing.write_bytes(f"{base}/x/one.tar", b"12")
    writing.move(f"{base}/x/one.tar", f"{base}/y/two.tar")

    found = storage.list_files(base, ".tar")

    assert [(file.url, file.n_bytes) for file in found] == [("memory:///storage-test/y/two.tar", 2)]
    assert storage.size(found[0].url) == 2
    assert storage.read_text(found[0].url) == "12"
    storage.delete(base)
    assert not storage.exists(base)


def test_a_file_replaced_on_disk_has_another_stamp(tmp_path):
    file = tmp_path / "a.tar"
    file.write_bytes(b"x")
    before = storage.list_files(str(file), ".tar")
    os.utime(file, (1, 1))

    assert storage.list_files(str(file), ".tar") != before


def test_deleting_what_is_not_there_is_no_error(tmp_path):
    storage.delete(str(tmp_path / "nothing"))


def test_a_file_whose_writing_fails_keeps_its_old_content_and_leaves_nothing_listed(tmp_path):
    target = tmp_path / "a.json"
    writing.write_bytes(str(target), b"old")

    with pytest.raises(TypeError):
        writing.write_bytes(str(target), "not bytes")

    assert target.read_bytes() == b"old"
    assert names(storage.list_files(str(tmp_path), ""), tmp_path) == ["a.json"]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("/data/x/", "/data/x"),
        ("file:///data/x", "/data/x"),
        ("memory://a/b/", "memory:///a/b"),
        ("/data/with space", "/data/with space"),
    ],
)
def test_one_place_has_one_spelling(url, expected):
    assert storage.canonical(url) == expected


def test_a_relative_path_means_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert storage.canonical("data/x") == str(tmp_path / "data" / "x")
    assert storage.is_within("data/x", str(tmp_path))


def test_a_place_is_within_itself_and_the_folders_above_but_not_a_namesake(tmp_path):
    assert storage.is_within(str(tmp_path / "a" / "b"), str(tmp_path / "a"))
    assert storage.is_within(str(tmp_path / "a"), str(tmp_path / "a"))
    assert not storage.is_within(str(tmp_path / "ab"), str(tmp_path / "a"))
    assert storage.is_within("memory://a/b", "memory://a")
    assert not storage.is_within("memory://a/b", "/a")


def test_a_place_reached_through_a_link_is_within_the_real_folder(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")

    assert storage.is_within(str(tmp_path / "link" / "out"), str(tmp_path / "real"))


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [("/a/b*/c.tar", "/a"), ("/a/b/**/c", "/a/b"), ("/a/b", "/a/b"), ("x?.tar", "."), ("/*.tar", "/")],
)
def test_the_fixed_part_of_a_pattern_is_the_folder_above_all_that_it_matches(pattern, expected):
    assert storage.fixed_part(pattern) == expected


def test_spark_gets_s3_urls_in_hadoops_spelling():
    pytest.importorskip("s3fs")

    assert storage.spark_path("s3://bucket/x/") == "s3a://bucket/x"
