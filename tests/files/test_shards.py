from __future__ import annotations

import gzip
import io
import os
import subprocess
import tarfile
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from webdataset.tariterators import base_plus_ext

from spark_imgdedup.config import InputConfig
from spark_imgdedup.errors import ConfigError, ShardError
from spark_imgdedup.files import storage, writing
from spark_imgdedup.files.tars.shards import (
    choose_image,
    iter_samples,
    list_shards,
    sample_id,
    split_name,
)
from spark_imgdedup.files.tars.strict_headers import DamagedTarError
from spark_imgdedup.files.tars.tar_stream import TarStream
from spark_imgdedup.stages.read import iter_images
from tests.tars import OneWay, encoded, jpeg, make_tar, tar_bytes

FORMATS = [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT]
BLOCK = tarfile.BLOCKSIZE


class Counting(io.BytesIO):
    """A file that remembers how many bytes were read from it, and at most at a time."""

    n_read = largest = 0

    def read(self, size=-1):
        data = super().read(size)
        self.n_read += len(data)
        self.largest = max(self.largest, len(data))
        return data


def everything(_):
    return True


def samples_of(data, wanted=everything, max_bytes=None):
    """[(key, {suffix: data})] and what was wrong with the tar, if anything."""
    found = []
    stream = data if hasattr(data, "read") else io.BytesIO(data)
    try:
        for sample in iter_samples(TarStream(stream), wanted, max_bytes=max_bytes):
            found.append((sample.key, {member.suffix: member.data for member in sample.members}))
    except DamagedTarError as error:
        return found, str(error)
    return found, None


def shard_names(**settings):
    return [shard.name for shard in list_shards(InputConfig(**settings))]


# --- names


names = st.text(st.sampled_from("ab._-/ é\udcff0"), min_size=1, max_size=14)


@settings(max_examples=500)
@given(names)
def test_names_split_as_webdataset_splits_them_but_for_hidden_files(name):
    key, suffix = base_plus_ext(name)
    is_hidden = name.rpartition("/")[2].startswith(".")
    expected = (
        None
        if key is None or is_hidden
        else tuple(part.encode("utf-8", "backslashreplace").decode() for part in (key, suffix))
    )

    assert split_name(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("000.jpg", ("000", "jpg")),
        ("a/b.c/000.seg.png", ("a/b.c/000", "seg.png")),
        ("./000.JPG", ("./000", "JPG")),
        ("README", None),
        (".DS_Store", None),
        ("a/._000.jpg", None),
        ("__meta__", None),
        ("__extra__/000.jpg", None),
        ("a/__b__/000.jpg", ("a/__b__/000", "jpg")),
        ("__a__.jpg", ("__a__", "jpg")),
    ],
)
def test_a_key_ends_at_the_first_dot_of_the_base_name(name, expected):
    assert split_name(name) == expected


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_name_that_is_not_utf8_gives_a_key_that_a_table_can_hold(image_format):
    data = tar_bytes([("caf\udce9.jpg", b"1")], image_format)

    assert samples_of(data) == ([("caf\\udce9", {"jpg": b"1"})], None)


# --- samples


def test_consecutive_members_of_one_key_are_one_sample_also_around_members_of_none():
    data = tar_bytes([("a/0.jpg", b"1"), ("a/0.txt", b"2"), ("README", b""), ("a/0.json", b"3"), ("b/0.jpg", b"4")])

    assert samples_of(data) == ([("a/0", {"jpg": b"1", "txt": b"2", "json": b"3"}), ("b/0", {"jpg": b"4"})], None)


@pytest.mark.parametrize(
    "names",
    [["0.jpg", "1.jpg", "0.txt"], ["0.jpg", "0.txt", "1.jpg", "0.jpg", "0.txt"]],
    ids=["a late member", "a twin"],
)
def test_a_key_that_comes_back_later_is_an_error_that_names_shard_key_and_the_way_out(names):
    tar = TarStream(io.BytesIO(tar_bytes([(name, b"1") for name in names])), "data/a.tar")

    with pytest.raises(ShardError, match=r"data/a.tar: '0\.[a-z]+' at byte \d+ is of sample '0'.*--sort=name.*reorder"):
        list(iter_samples(tar))


def test_folders_and_links_are_members_of_no_sample(tmp_path):
    (tmp_path / "in" / "a").mkdir(parents=True)
    (tmp_path / "in" / "a" / "0.jpg").write_bytes(b"1")
    (tmp_path / "in" / "a" / "1.jpg").symlink_to("0.jpg")
    os.link(tmp_path / "in" / "a" / "0.jpg", tmp_path / "in" / "a" / "2.jpg")
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name in ("a", "a/0.jpg", "a/1.jpg", "a/2.jpg"):
            tar.add(tmp_path / "in" / name, name, recursive=False)

    assert samples_of((tmp_path / "x.tar").read_bytes()) == ([("a/0", {"jpg": b"1"})], None)


@pytest.mark.parametrize("tar_format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("stream", [io.BytesIO, OneWay])
def test_long_and_foreign_names_are_read(tar_format, stream):
    name = f"{'folder/' * 30}bild-ü.jpg"

    assert samples_of(stream(tar_bytes([(name, b"1")], tar_format))) == ([(name[:-4], {"jpg": b"1"})], None)


@pytest.mark.parametrize(
    ("suffix", "is_image"),
    [
        (s, True)
        for s in (
            "jpg",
            "jpeg",
            "png",
            "webp",
            "gif",
            "bmp",
            "tif",
            "tiff",
            "JPG",
            "JpEg",
            "TIFF",
            "seg.png",
            "jp2",
            "heic",
            "JFIF",
        )
    ]
    + [(s, False) for s in ("txt", "json", "cls", "jpg.txt", "npy", "mp4", "cr2")],
)
def test_images_are_told_by_their_extension_in_any_case(suffix, is_image):
    sample = next(iter_samples(TarStream(io.BytesIO(tar_bytes([(f"0.{suffix}", b"")])))))

    assert sample.members[0].is_image is is_image


@pytest.mark.parametrize(
    ("suffixes", "image_member", "expected"),
    [
        ("jpg txt", None, "jpg"),
        ("jpg txt", "png", "jpg"),  # the one image there is
        ("txt json", None, "no_image"),
        ("jpg seg.png", None, "several_images"),
        ("jpg seg.png", "jpg", "jpg"),
        ("jpg seg.png", ".SEG.PNG", "seg.png"),
        ("1.jpg 2.jpg", "2.jpg", "2.jpg"),
        ("1.jpg 2.jpg", "3.jpg", "no_image"),
        ("jpg jpg", "jpg", "several_images"),
    ],
)
def test_the_image_of_a_sample_is_its_only_one_or_the_one_named(suffixes, image_member, expected):
    sample = next(iter_samples(TarStream(io.BytesIO(tar_bytes([(f"0.{s}", b"") for s in suffixes.split()])))))

    chosen = choose_image(sample, image_member)

    assert (chosen if isinstance(chosen, str) else chosen.suffix) == expected


@pytest.mark.parametrize(
    ("json", "expected"),
    [
        (b'{"uid": "u1"}', ("u1", None)),
        (b'{"uid": 12}', ("12", None)),
        (b'{"uid": null}', ("s/0", "no_id")),
        (b'{"uid": true}', ("s/0", "no_id")),
        (b'{"other": 1}', ("s/0", "no_id")),
        (b'["uid"]', ("s/0", "no_id")),
        (b"\xff{", ("s/0", "no_id")),
        (None, ("s/0", "no_id")),
    ],
)
def test_an_id_may_come_from_the_json_and_is_marked_where_it_cannot(json, expected):
    members = [("0.jpg", b"")] + ([("0.JSON", json)] if json is not None else [])
    sample = next(iter_samples(TarStream(io.BytesIO(tar_bytes(members))), everything))

    assert sample_id("s", sample, "uid") == expected


# --- streaming


@pytest.mark.parametrize("stream", [io.BytesIO, OneWay])
def test_memory_grows_with_the_keys_of_a_tar_and_nothing_else(stream):
    def peak(n_members):
        data = stream(tar_bytes((f"{n:06d}.jpg", bytes(900)) for n in range(n_members)))
        tracemalloc.start()
        assert sum(1 for _ in iter_samples(TarStream(data), everything)) == n_members
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(10)  # what the first use of a module allocates
    assert peak(4000) < peak(400) + 3600 * 128


def test_only_headers_and_wanted_members_are_read():
    members = [("0.jpg", bytes(50_000)), ("0.mp4", bytes(5_000_000)), ("1.jpg", bytes(700_000))]
    file = Counting(tar_bytes(members))

    found, damage = samples_of(file, lambda member: member.is_image, max_bytes=100_000)

    assert damage is None
    assert [data is not None for _, members in found for data in members.values()] == [True, False, False]
    assert file.n_read < 50_000 + 20 * BLOCK


def test_a_member_that_is_too_large_is_listed_with_its_size_and_not_read():
    file = io.BytesIO(tar_bytes([("0.jpg", bytes(101)), ("1.jpg", bytes(100))]))

    large, small = iter_samples(TarStream(file), everything, max_bytes=100)

    assert (large.members[0].data, large.members[0].info.size) == (None, 101)
    assert small.members[0].data == bytes(100)


# --- damage


PICTURES = [("0.jpg", jpeg(0)), ("0.txt", b"a caption"), ("1.jpg", jpeg(1)), ("1.txt", b"another")]
WHOLE = tar_bytes(PICTURES)


@settings(max_examples=300)
@given(st.integers(0, len(WHOLE)), st.sampled_from([io.BytesIO, OneWay]))
def test_wherever_a_tar_is_cut_the_whole_members_before_are_read_and_the_damage_is_told(length, stream):
    whole = [member for _, members in samples_of(WHOLE)[0] for member in members.items()]

    found, damage = samples_of(stream(WHOLE[:length]))

    read = [member for _, members in found for member in members.items() if member[1] is not None]
    assert read == whole[: len(read)]
    ends = [sum(BLOCK + -(-len(data) // BLOCK) * BLOCK for _, data in PICTURES[:n]) for n in range(len(PICTURES) + 1)]
    assert len(read) >= sum(end <= length for end in ends[1:])
    assert (damage is None) == (length >= ends[-1] + BLOCK)


@settings(max_examples=300)
@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255), st.sampled_from([io.BytesIO, OneWay]))
def test_a_changed_byte_never_ends_in_anything_but_samples_and_a_damage(place, change, stream):
    data = bytearray(WHOLE)
    data[place] ^= change

    found, damage = samples_of(stream(bytes(data)))

    assert damage is not None or len(found) >= 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "end-of-archive mark"),
        (b"this is no tar", "truncated header"),
        (b"<html>not found</html>" * 100, "at byte 0"),
        (jpeg(0, (400, 300)), "at byte 0"),
        (WHOLE[: len(WHOLE) - 2 * BLOCK], "end-of-archive mark"),
        (WHOLE[: BLOCK + 10], "unexpected end of data"),
    ],
    ids=["empty", "short text", "text", "a picture", "cut before its end mark", "cut in a member"],
)
@pytest.mark.parametrize("stream", [io.BytesIO, OneWay])
def test_what_is_wrong_with_a_tar_is_said(data, message, stream):
    assert message in (samples_of(stream(data))[1] or "")


@pytest.mark.parametrize("stream", [io.BytesIO, OneWay])
def test_a_sparse_file_is_read_with_its_holes(tmp_path, stream):
    with open(tmp_path / "0.bmp", "wb") as file:
        file.seek(200_000)
        file.write(b"end")
    subprocess.run(["tar", "--sparse", "-cf", "x.tar", "0.bmp"], cwd=tmp_path, check=True)

    found, damage = samples_of(stream((tmp_path / "x.tar").read_bytes()))

    assert damage is None
    assert found == [("0", {"bmp": bytes(200_000) + b"end"})]


# --- the list of shards


@pytest.fixture
def folder(tmp_path):
    for name in ("a/000.tar", "b/000.tar", "b/001.TAR"):
        make_tar(tmp_path / name, [("0.jpg", encoded("JPEG"))])
    return tmp_path


def test_shards_are_named_by_their_path_below_the_folder_given(folder):
    assert shard_names(path=str(folder)) == ["a/000", "b/000", "b/001"]


def test_a_glob_a_list_and_a_folder_give_the_same_names_below_the_same_root(folder):
    root = str(folder)
    expected = shard_names(path=root)

    assert shard_names(path=f"{root}/*/*.[tT][aA][rR]", root=root) == expected
    assert shard_names(path=(f"{root}/b", f"{root}/a/000.tar"), root=f"{root}/") == expected
    assert shard_names(path=(f"{root}/b", f"{root}/b/000.tar"), root=root) == ["b/000", "b/001"]


def test_one_tar_is_named_below_its_folder(folder):
    assert shard_names(path=str(folder / "b" / "000.tar")) == ["000"]


def test_shards_of_any_fsspec_url_are_found_and_read():
    writing.write_bytes("memory://shards-test/sub/a.tar", WHOLE)

    (shard,) = list_shards(InputConfig(path="memory://shards-test"))

    assert (shard.name, shard.n_bytes) == ("sub/a", len(WHOLE))
    with storage.open_read(shard.url) as file:
        assert samples_of(file) == samples_of(WHOLE)


@pytest.mark.parametrize("path", ["{root}/*/*.tar", ["{root}/a", "{root}/b"], ["{root}/a"]])
def test_a_list_or_glob_without_a_root_is_refused(folder, path):
    path = path.format(root=folder) if isinstance(path, str) else [each.format(root=folder) for each in path]

    with pytest.raises(ConfigError, match=r"input\.root is needed"):
        shard_names(path=path)


def test_a_tar_outside_of_the_root_is_refused(folder):
    with pytest.raises(ConfigError, match="does not lie below"):
        shard_names(path=str(folder / "b"), root=str(folder / "a"))


def test_a_folder_without_tars_is_refused_with_its_name(tmp_path):
    with pytest.raises(ConfigError, match=f"no .tar, image or table found in {tmp_path}"):
        shard_names(path=str(tmp_path))


def test_two_tars_that_would_be_one_shard_are_refused(folder):
    make_tar(folder / "a" / "000.TAR", [])

    with pytest.raises(ShardError, match="shard 'a/000'"):
        shard_names(path=str(folder))


@pytest.mark.parametrize(
    "name", ["a.tar", "a.tar.gz", "a.tgz", "a.TAR.GZ", "a.tar.zst", "a.tar.bz2", "a.tbz2", "a.tar.xz", "a.txz"]
)
def test_a_compressed_tar_is_a_shard_and_its_suffix_is_no_part_of_its_name(tmp_path, name):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / name).write_bytes(gzip.compress(WHOLE))  # what it is, is told by its bytes

    (shard,) = list_shards(InputConfig(path=str(tmp_path)))

    assert shard.name == "b/a"
    assert shard_names(path=str(tmp_path / "b" / name)) == ["a"]
    with storage.open_read(shard.url) as file:
        assert samples_of(file) == samples_of(WHOLE)


def test_a_tar_and_its_compressed_copy_are_refused_for_they_have_one_name(folder):
    make_tar(folder / "a" / "000.tar.gz", [])

    with pytest.raises(ShardError, match="shard 'a/000'"):
        shard_names(path=str(folder))


def test_what_cannot_be_opened_is_named_before_any_work(tmp_path):
    make_tar(tmp_path / "ok.tar", [])
    (tmp_path / "dead.tar").symlink_to("nowhere")
    with pytest.raises(ConfigError, match=r"dead\.tar' is no file but a dangling link"):
        shard_names(path=str(tmp_path))

    (tmp_path / "dead.tar").unlink()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "pipe.tar").symlink_to("pipe")
    with pytest.raises(ConfigError, match=r"pipe\.tar' is no file"):
        shard_names(path=str(tmp_path))


def test_a_shard_whose_name_is_no_text_has_a_name_that_is_and_what_is_said_of_it_is_text(tmp_path):
    path = tmp_path / "caf\udce9.tar"
    path.write_bytes(WHOLE[: BLOCK + 10])

    (shard,) = list_shards(InputConfig(path=str(tmp_path)))
    image, damaged = iter_images(shard, InputConfig(path=str(tmp_path)))

    assert (shard.name, image.image_id, damaged.shard) == ("caf\\udce9", "caf\\udce9/0", "caf\\udce9")
    assert damaged.error.startswith(f"{tmp_path}/caf\\udce9.tar: unexpected end")
