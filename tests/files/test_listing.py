from __future__ import annotations

import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem

from spark_imgdedup.config import InputConfig
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.files import storage, writing
from spark_imgdedup.files.filesystems import filesystem
from spark_imgdedup.files.listing import MOST_REASONS, list_input
from spark_imgdedup.files.loose import ImageFile, list_images, read_files, url_below
from spark_imgdedup.files.not_read import count_not_read
from spark_imgdedup.files.tars.shards import input_root
from spark_imgdedup.files.walk import expand, look_up, walk


def put(folder, *names, data=b"x"):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def listed(folder, *suffixes):
    found = list_input([str(folder)], suffixes or ("jpg",))
    return [file.url.removeprefix(f"{folder}/") for file in found.files], found.not_read


def names(path, **settings):
    return [image.name for image in list_images(InputConfig(path=path, format="images", **settings))[0]]


def test_every_file_is_read_or_counted_by_reason(tmp_path):
    put(tmp_path, "a.jpg", "b/_MG_1.JPG", "b/e.jpg.json", "note.TXT", "c.heic", "d.heic", "README", "x.b c d", "y.jpg.")
    put(tmp_path, ".z.jpg", "._a.jpg", "_SUCCESS", ".a.jpg.crc", ".git/x/y.jpg", "b/_tmp/z.jpg", "b/_tmp/.deep/z.txt")
    put(tmp_path, "0.jpg", data=b"")

    found, not_read = listed(tmp_path)

    assert found == ["0.jpg", "a.jpg", "b/_MG_1.JPG"]
    assert list(not_read.items()) == [
        *(("hidden folder", 3), ("heic", 2), ("hidden file", 2), ("marker", 2), ("no suffix", 2)),
        *(("json", 1), ("odd suffix", 1), ("txt", 1)),
    ]
    assert len(found) + sum(not_read.values()) == sum(len(files) for _, _, files in os.walk(tmp_path))


def test_a_suffix_of_two_parts_is_one(tmp_path):
    put(tmp_path, "a.tar.gz", "b.gz", "c.TGZ")

    assert listed(tmp_path, "tar.gz", "tgz") == (["a.tar.gz", "c.TGZ"], {"gz": 1})


def test_the_counts_of_very_many_suffixes_end_and_lose_nothing(tmp_path):
    put(tmp_path, *(f"a.{number:05d}" for number in range(100)))

    _, not_read = listed(tmp_path)

    assert len(not_read) == MOST_REASONS + 1
    assert sum(not_read.values()) == 100


def test_a_file_that_two_paths_name_is_read_once(tmp_path):
    put(tmp_path, "a/x.jpg", "a/b/y.jpg", "a/n.txt")

    found = list_input([str(tmp_path / "a"), str(tmp_path / "a/b"), str(tmp_path / "a/*")], ("jpg",))

    assert [file.url for file in found.files] == [str(tmp_path / "a/b/y.jpg"), str(tmp_path / "a/x.jpg")]
    assert found.not_read == {"txt": 1}


@pytest.mark.parametrize("missing", ["nothing", "nothing*", "a/x.png"])
def test_every_path_of_a_list_is_there_or_it_is_named(tmp_path, missing):
    put(tmp_path, "a/x.jpg")

    with pytest.raises(ConfigError, match=f"{tmp_path}/{missing.replace('*', '.')}: there is nothing"):
        list_input([str(tmp_path / "a"), str(tmp_path / missing)], ("jpg",))


def test_a_folder_without_files_is_no_missing_path(tmp_path):
    (tmp_path / "empty").mkdir()

    assert list_input([str(tmp_path / "empty")], ("jpg",)).files == ()


class Closed(LocalFileSystem):
    """A disk whose folder `closed` cannot be listed, as a mount with an I/O error has; root may list all others."""

    def ls(self, path, detail=False, **kwargs):
        if path.endswith("closed"):
            raise OSError(5, "Input/output error", path)
        return super().ls(path, detail, **kwargs)


@pytest.mark.parametrize(
    "find",
    [
        lambda folder: walk(Closed(), folder, in_one_request=False),
        lambda folder: expand(Closed(), f"{folder}/*/*.jpg"),
        lambda folder: expand(Closed(), f"{folder}/**/y.jpg"),
    ],
)
def test_a_folder_that_cannot_be_listed_is_named_wherever_it_lies(tmp_path, find):
    put(tmp_path, "open/x.jpg", "closed/y.jpg")

    with pytest.raises(ConfigError, match=r"/closed: the folder cannot be listed \(Input/output error\)"):
        list(find(str(tmp_path)))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_without_permission_stops_the_listing(tmp_path):
    put(tmp_path, "open/x.jpg", "closed/y.jpg")
    (tmp_path / "closed").chmod(0)
    try:
        with pytest.raises(ConfigError, match="closed: the folder cannot be listed"):
            listed(tmp_path)
    finally:
        (tmp_path / "closed").chmod(0o700)


@pytest.mark.parametrize(("name", "kind"), [("x.jpg", "dangling link"), ("p.jpg", "pipe"), ("l.jpg", "pipe")])
def test_what_only_looks_like_a_file_is_named_and_not_opened(tmp_path, name, kind):
    put(tmp_path, "good.jpg")
    os.mkfifo(tmp_path / "p")
    if name == "p.jpg":
        os.mkfifo(tmp_path / name)
    else:
        (tmp_path / name).symlink_to("nowhere" if name == "x.jpg" else "p")

    with pytest.raises(ConfigError, match=rf"{name}' is no file but a {kind}"):
        listed(tmp_path)
    with pytest.raises(ConfigError, match=rf"{name}' is no file but a {kind}"):
        storage.list_files(str(tmp_path), ".jpg")


def test_a_link_that_leads_nowhere_is_counted_where_nobody_would_open_it(tmp_path):
    put(tmp_path, "good.jpg")
    (tmp_path / "x.txt").symlink_to("nowhere")

    assert listed(tmp_path) == (["good.jpg"], {"txt": 1})
    assert look_up(filesystem(str(tmp_path))[0], str(tmp_path / "x.txt"))["islink"]


@pytest.mark.parametrize("folder", ["set [1]", "a*b", "{x}", "q?", "**", "[!a]", "a::b", "c:d"])
def test_a_folder_is_itself_whatever_characters_its_name_holds(tmp_path, folder):
    put(tmp_path, f"{folder}/{folder}.jpg", "other/b.jpg", "1/c.jpg")

    assert names(str(tmp_path / folder)) == [f"{folder}.jpg"]
    assert names(str(tmp_path / folder / "*.jpg"), root=str(tmp_path)) == [f"{folder}/{folder}.jpg"]


@pytest.mark.parametrize("path", ["x/../in", "in/.", "./in", "in//", "x/y/../../in/cats/.."])
@pytest.mark.parametrize("prefix", ["", "file://"])
def test_however_a_folder_is_spelled_its_images_have_the_same_ids(tmp_path, monkeypatch, path, prefix):
    put(tmp_path, "in/cats/1.jpg", "in/2.jpg", "x/y/n.txt")
    monkeypatch.chdir(tmp_path)

    assert names(f"{prefix}{tmp_path}/{path}") == ["2.jpg", "cats/1.jpg"]
    assert names(path) == ["2.jpg", "cats/1.jpg"]


def test_above_a_link_is_the_folder_above_what_it_leads_to(tmp_path):
    put(tmp_path, "data/real/1.jpg", "data/2.jpg", "other/3.jpg")
    (tmp_path / "other" / "link").symlink_to(tmp_path / "data" / "real")

    assert names(f"{tmp_path}/other/link/..") == ["2.jpg", "real/1.jpg"]


def test_one_image_given_by_its_own_name_has_its_folder_as_root(tmp_path):
    put(tmp_path, "in/1.jpg", "in/2.jpg")

    assert names(str(tmp_path / "in" / "1.jpg")) == ["1.jpg"]


def test_names_that_are_not_utf8_are_counted(tmp_path):
    put(tmp_path, "a.jpg")
    with open(os.fsencode(tmp_path) + b"/caf\xe9.jpg", "wb"):
        pass

    images, not_read = list_images(InputConfig(path=str(tmp_path), format="images"))

    assert [image.name for image in images] == ["a.jpg"]
    assert not_read == {"name that is not UTF-8": 1}


def test_a_folder_of_other_files_says_what_it_holds(tmp_path):
    put(tmp_path, "a.txt", "b.txt", ".c/d.jpg")

    with pytest.raises(ConfigError, match=r"no image found in .*; not read: txt 2, hidden folder 1\. Check the path"):
        list_images(InputConfig(path=str(tmp_path), format="images"))


@pytest.mark.parametrize("base", ["memory://read-files", None])
def test_the_bytes_of_files_come_in_order_or_with_the_reason_why_not(tmp_path, base):
    root = base or str(tmp_path)
    writing.write_bytes(f"{root}/empty.jpg", b"")
    writing.write_bytes(f"{root}/grown.jpg", bytes(30))
    for number in range(20):
        writing.write_bytes(f"{root}/{number:02d}.jpg", bytes([number]))
    config = InputConfig(path=root, format="images", max_image_bytes=10)
    files = [*(ImageFile(f"{number:02d}.jpg", 1, "") for number in range(20)), ImageFile("empty.jpg", 0, "")]
    files += [ImageFile("gone.jpg", 1, ""), ImageFile("large.jpg", 11, ""), ImageFile("grown.jpg", 5, "")]

    found = dict(read_files(files, input_root(config), config))

    assert [content.data for content in found.values()] == [*(bytes([n]) for n in range(20)), b"", None, None, None]
    assert [content.reason for content in found.values()][21:] == ["unreadable", "too_large", "too_large"]
    assert found[files[-2]].error == "11 bytes, input.max_image_bytes is 10"
    assert found[files[-1]].error == "it has grown, and input.max_image_bytes is 10"
    assert "FileNotFoundError" in found[files[21]].error


@pytest.mark.parametrize("name", ["../x.jpg", "/etc/passwd", "a/../../x", "", "a//b", "a/..", "./a"])
def test_a_name_never_leads_out_of_the_input(name):
    with pytest.raises(ValueError, match="is no path below /data"):
        url_below("/data", name)


def test_files_beside_a_table_are_counted_by_reason(tmp_path):
    pq.write_table(pa.table({"image_id": ["a"]}), tmp_path / "part-0.parquet")
    pq.write_table(pa.table({"image_id": ["b"]}), tmp_path / "000000_0")  # as Hive writes them
    put(tmp_path, "README.md", "00000_stats.json", "_SUCCESS", "_old/part-0.parquet", ".part-1.parquet.crc")
    put(tmp_path, "part-1.parquet", data=b"")

    not_read = count_not_read(InputConfig(path=str(tmp_path), format="table"))

    assert not_read == {"marker": 2, "empty": 1, "hidden folder": 1, "json": 1, "md": 1}
