from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_imgdedup.errors import ShardError
from spark_imgdedup.files import storage
from spark_imgdedup.files.copy_plan import CopyTask, Part, plan_copies
from spark_imgdedup.files.shard_writer import SPOOL_BYTES, copy_kept, pack_files, pack_samples
from spark_imgdedup.files.shards import Shard, iter_samples
from spark_imgdedup.files.tar_stream import TarStream
from tests.tars import jpeg, make_tar, members_of, png, tar_bytes, webdataset_samples


def shard_of(path, name):
    return Shard(str(path), name, 0, "")


def copy_one(path, gone=frozenset()):
    """The members of the copy of one tar, and what was said about it."""
    shard = shard_of(path, "s")
    (task,) = plan_copies([shard], {}, None)
    (written,) = copy_kept(task, {"s": frozenset(gone)}, "memory://copies", read={}, write={})
    with storage.open_read(written.temporary) as file:
        data = file.read()
    assert written.n_bytes == len(data)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [(info.name, tar.extractfile(info).read() if info.isreg() else None) for info in tar], written


SAMPLES = [("0.jpg", jpeg(0)), ("0.txt", b"zero"), ("a/1.png", png(1)), ("a/1.json", b"{}"), ("2.jpg", jpeg(2))]


def test_members_of_kept_samples_are_byte_identical_and_in_order_and_removed_ones_are_gone(tmp_path):
    make_tar(tmp_path / "s.tar", SAMPLES)

    members, written = copy_one(tmp_path / "s.tar", {"a/1"})

    assert members == [*SAMPLES[:2], SAMPLES[4]]
    assert (written.name, written.n_samples, written.n_cut, written.damage) == ("s", 2, 0, [])


def test_members_of_no_sample_are_kept_whatever_leaves_around_them(tmp_path):
    strays = [("README", b"read me"), ("__meta__", b"m"), (".hidden.jpg", b"h"), ("__extra__/0.jpg", b"e")]
    make_tar(tmp_path / "s.tar", [strays[0], *SAMPLES[:1], *strays[1:3], *SAMPLES[1:], strays[3]])

    members, written = copy_one(tmp_path / "s.tar", {"0", "a/1", "2"})

    assert members == strays
    assert written.n_samples == 0


def test_a_shard_whose_samples_all_go_leaves_an_empty_valid_tar(tmp_path):
    make_tar(tmp_path / "s.tar", SAMPLES)

    members, written = copy_one(tmp_path / "s.tar", {"0", "a/1", "2"})

    assert members == []
    with storage.open_read(written.temporary) as file:
        assert list(iter_samples(TarStream(file))) == []  # with its end mark: nothing is called damaged


def test_folders_and_links_are_copied_and_a_link_named_like_a_removed_sample_leaves_with_it(tmp_path):
    source = tmp_path / "in"
    (source / "a").mkdir(parents=True)
    (source / "a" / "0.jpg").write_bytes(jpeg(0))
    (source / "a" / "0.lnk").symlink_to("0.jpg")
    os.link(source / "a" / "0.jpg", source / "a" / "1.jpg")
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for name in ("a", "a/0.jpg", "a/0.lnk", "a/1.jpg"):
            tar.add(source / name, name, recursive=False)

    assert [name for name, _ in copy_one(tmp_path / "s.tar")[0]] == ["a", "a/0.jpg", "a/0.lnk", "a/1.jpg"]
    assert [name for name, _ in copy_one(tmp_path / "s.tar", {"a/0"})[0]] == ["a", "a/1.jpg"]


@pytest.mark.parametrize("tar_format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_foreign_and_undecodable_names_survive_a_copy(tmp_path, tar_format):
    samples = [(f"{'folder/' * 30}ü.jpg", b"1"), ("caf\udce9.jpg", b"2"), ("gone\udce9.jpg", b"3")]
    make_tar(tmp_path / "s.tar", samples, tar_format)

    assert copy_one(tmp_path / "s.tar", {"gone\\udce9"})[0] == samples[:2]


def test_owner_mode_time_and_pax_headers_survive_a_copy(tmp_path):
    with tarfile.open(tmp_path / "s.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("0.jpg")
        info.mode, info.mtime, info.uname, info.pax_headers = 0o640, 1.5, "someone", {"comment": "hello"}
        tar.addfile(info)
    (task,) = plan_copies([shard_of(tmp_path / "s.tar", "s")], {}, None)

    (written,) = copy_kept(task, {}, str(tmp_path), read={}, write={})

    with tarfile.open(written.temporary) as tar:
        (copy,) = tar
    assert (copy.mode, copy.mtime, copy.uname, copy.pax_headers["comment"]) == (0o640, 1.5, "someone", "hello")


@pytest.mark.parametrize("tar_format", ["gnu", "posix"])
def test_a_sparse_file_is_copied_as_a_plain_one(tmp_path, tar_format):
    with open(tmp_path / "0.bmp", "wb") as file:
        file.seek(200_000)
        file.write(b"end")
    command = ["tar", "--sparse", f"--format={tar_format}", "-cf", "s.tar", "0.bmp"]
    subprocess.run(command, cwd=tmp_path, check=True)

    assert copy_one(tmp_path / "s.tar")[0] == [("0.bmp", bytes(200_000) + b"end")]


def test_a_member_too_large_for_memory_is_copied_through_a_file(tmp_path):
    large = bytes(SPOOL_BYTES + 1)
    make_tar(tmp_path / "s.tar", [("0.mp4", large), ("1.jpg", b"1")])

    assert copy_one(tmp_path / "s.tar")[0] == [("0.mp4", large), ("1.jpg", b"1")]


BLOCK = tarfile.BLOCKSIZE
WHOLE = tar_bytes(SAMPLES)


@pytest.mark.parametrize("size", [10, SPOOL_BYTES + 1])
def test_of_a_sample_that_is_cut_what_is_whole_is_copied(tmp_path, size):
    data = tar_bytes([("0.txt", b"caption"), ("0.jpg", bytes(size))])
    (tmp_path / "s.tar").write_bytes(data[: 3 * BLOCK + 5])

    members, written = copy_one(tmp_path / "s.tar")

    assert members == [("0.txt", b"caption")]
    assert (written.n_samples, written.n_cut) == (1, 0)
    assert "unexpected end of data" in written.damage[0]


def test_a_sample_of_which_nothing_is_whole_is_counted_as_cut(tmp_path):
    (tmp_path / "s.tar").write_bytes(tar_bytes([("0.jpg", bytes(10)), ("1.jpg", bytes(900))])[: 3 * BLOCK + 5])

    members, written = copy_one(tmp_path / "s.tar")

    assert members == [("0.jpg", bytes(10))]
    assert (written.n_samples, written.n_cut, len(written.damage)) == (1, 1, 1)


@given(st.integers(0, len(WHOLE)))
def test_wherever_a_tar_is_cut_its_copy_holds_the_whole_members_before(tmp_path_factory, length):
    path = tmp_path_factory.getbasetemp() / "cut.tar"
    path.write_bytes(WHOLE[:length])

    members, written = copy_one(path)

    assert members == SAMPLES[: len(members)]
    ends = [sum(BLOCK + -(-len(data) // BLOCK) * BLOCK for _, data in SAMPLES[:n]) for n in range(len(SAMPLES) + 1)]
    assert len(members) >= sum(end <= length for end in ends[1:])
    assert bool(written.damage) == (length < ends[-1] + BLOCK)


def test_an_input_that_cannot_be_read_at_all_stops_the_task(tmp_path):
    (task,) = plan_copies([shard_of(tmp_path / "missing.tar", "s")], {}, None)

    with pytest.raises(FileNotFoundError):
        list(copy_kept(task, {}, str(tmp_path), read={}, write={}))


# --- repacking


@st.composite
def datasets(draw):
    """Shards as lists of (key or None for a stray, is kept), and the samples per output tar."""
    shards = draw(
        st.lists(st.lists(st.sampled_from(["keep", "keep", "drop", "stray"]), max_size=7), min_size=1, max_size=6)
    )
    return shards, draw(st.integers(1, 9))


@settings(max_examples=200)
@given(datasets())
def test_repacking_keeps_each_kept_sample_once_in_order_n_to_a_tar(tmp_path_factory, dataset):
    division, n = dataset
    folder = tmp_path_factory.mktemp("repack")
    shards, removed, expected, strays = [], {}, [], []
    for number, fates in enumerate(division):
        name, members = f"sub/{number}", []
        for place, fate in enumerate(fates):
            if fate == "stray":
                members.append((f"README{place}", b"s"))
                strays.append(f"__no_sample__/{name}/README{place}")
                continue
            members += [(f"{place}.jpg", f"{number} {place}".encode()), (f"{place}.txt", b"t")]
            if fate == "keep":
                expected += [(f"{name}/{key}", data) for key, data in members[-2:]]
        removed[name] = frozenset(str(place) for place, fate in enumerate(fates) if fate == "drop")
        shards.append(shard_of(make_tar(folder / f"{number}.tar", members), name))
    n_kept = {shard.name: fates.count("keep") for shard, fates in zip(shards, division, strict=True)}

    tasks = plan_copies(shards, n_kept, n)
    written = [tar for task in tasks for tar in copy_kept(task, removed, str(folder / "out"), read={}, write={})]

    found = [member for tar in written for member in members_of(tar.temporary)]
    assert [tar.name for tar in written] == [f"{number:06d}" for number in range(len(written))]
    assert [tar.n_samples for tar in written][:-1] == [n] * (len(written) - 1)
    assert sum(tar.n_samples for tar in written) == sum(n_kept.values())
    assert [member for member in found if not member[0].startswith("__")] == expected
    assert sorted(name for name, _ in found if name.startswith("__")) == sorted(strays)
    assert max(Counter(shard.name for task in tasks for shard in task.shards).values()) <= max(2, len(written))


def test_a_repacked_shard_is_read_by_at_most_two_tasks_however_small_the_tars():
    shards = [shard_of("", f"{number}") for number in range(4)]

    tasks = plan_copies(shards, {"0": 10, "1": 10, "2": 10, "3": 10}, 3)

    reads = Counter(shard.name for task in tasks for shard in task.shards)
    assert max(reads.values()) == 2
    assert len(tasks) == 4


def test_repacked_keys_are_the_old_image_ids_as_webdataset_reads_them(tmp_path):
    for folder in ("a", "b"):
        make_tar(tmp_path / folder / "000.tar", [("__extra__/0.jpg", b""), *SAMPLES])
    shards = [shard_of(tmp_path / folder / "000.tar", f"{folder}/000") for folder in ("a", "b")]
    tasks = plan_copies(shards, {"a/000": 2, "b/000": 3}, 4)

    written = [
        tar for task in tasks for tar in copy_kept(task, {"a/000": frozenset({"0"})}, str(tmp_path), read={}, write={})
    ]

    samples = [sample for tar in written for sample in webdataset_samples(tar.temporary)]
    assert [sample["__key__"] for sample in samples] == ["a/000/a/1", "a/000/2", "b/000/0", "b/000/a/1", "b/000/2"]
    assert samples[0]["png"] == png(1)


def test_a_hard_link_still_points_to_its_file_after_repacking(tmp_path):
    (tmp_path / "0.jpg").write_bytes(b"picture")
    os.link(tmp_path / "0.jpg", tmp_path / "0.lnk")
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for name in ("0.jpg", "0.lnk"):
            tar.add(tmp_path / name, name)
    (task,) = plan_copies([shard_of(tmp_path / "s.tar", "s")], {"s": 1}, 5)

    (written,) = copy_kept(task, {}, str(tmp_path), read={}, write={})

    with tarfile.open(written.temporary) as tar:
        assert tar.extractfile("s/0.lnk").read() == b"picture"


def test_a_task_keeps_one_input_open_at_a_time(tmp_path):
    n = 40
    shards = [shard_of(make_tar(tmp_path / f"{i}.tar", [("0.jpg", b"1")]), f"{i}") for i in range(n)]
    (task,) = plan_copies(shards, {shard.name: 1 for shard in shards}, n + 1)
    before = len(os.listdir("/proc/self/fd"))

    for written in copy_kept(task, {}, str(tmp_path / "out"), read={}, write={}):
        assert written.n_samples == n
        assert len(os.listdir("/proc/self/fd")) <= before + 3


def test_a_task_without_repacking_takes_all_there_is():
    (task,) = plan_copies([shard_of("", "s")], {"s": 3}, None)

    assert task == CopyTask((shard_of("", "s"),), (Part("s"),))
    assert not task.is_repack


# --- loose files


def test_loose_files_become_samples_of_one_tar(tmp_path):
    (tmp_path / "a b.jpg").write_bytes(jpeg(0))
    (tmp_path / "c.png").write_bytes(png(1))

    written = pack_files(
        "000000", [(n, str(tmp_path / n)) for n in ("a b.jpg", "c.png")], str(tmp_path / "out"), read={}, write={}
    )

    assert members_of(written.temporary) == [("a b.jpg", jpeg(0)), ("c.png", png(1))]
    assert (written.name, written.n_samples) == ("000000", 2)


# --- samples from memory


def pack(tmp_path, samples, per_tar=10):
    return [tar.temporary for tar in pack_samples(samples, per_tar, str(tmp_path / "tars"), {})]


def test_samples_become_tars_of_a_fixed_number_whose_bytes_are_the_same_each_time(tmp_path):
    samples = [(f"x/{n}", {"jpg": bytes([n]), "seg.png": b"mask"}) for n in range(5)]

    first, again = pack(tmp_path / "1", samples, 2), pack(tmp_path / "2", samples, 2)

    found = [[sample["__key__"] for sample in webdataset_samples(tar)] for tar in first]
    assert found == [["x/0", "x/1"], ["x/2", "x/3"], ["x/4"]]
    assert members_of(first[2]) == [("x/4.jpg", b"\x04"), ("x/4.seg.png", b"mask")]
    assert [Path(tar).read_bytes() for tar in first] == [Path(tar).read_bytes() for tar in again]
    assert pack(tmp_path / "3", []) == []


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([("a.b", {"jpg": b""})], "'a.b.jpg' would not be read as 'jpg' of the sample 'a.b'"),
        ([("a/", {"jpg": b""})], "would not be read"),
        ([("", {"jpg": b""})], "would not be read"),
        ([("__x__/a", {"jpg": b""})], "would not be read"),
        ([("a", {"b/c": b""})], "would not be read as 'b/c'"),
        ([("a", {})], "'a' has no member"),
        ([("a", {"jpg": b""}), ("b", {"jpg": b""}), ("a", {"txt": b""})], "two samples of one tar have the key 'a'"),
    ],
)
def test_a_sample_that_no_reader_would_find_as_it_was_given_is_refused(tmp_path, samples, message):
    with pytest.raises(ShardError, match=message):
        pack(tmp_path, samples)
