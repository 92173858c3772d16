from __future__ import annotations

import dataclasses
import errno
import gzip
import hashlib
import io
import os
import resource
import subprocess
import tarfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_imgdedup.errors import ConfigError, ShardError
from spark_imgdedup.files import storage
from spark_imgdedup.files.copying.copy_plan import CopyTask, Part, plan_copies
from spark_imgdedup.files.copying.kept_members import Source
from spark_imgdedup.files.copying.shard_packer import pack_files, pack_samples
from spark_imgdedup.files.copying.shard_writer import copy_kept
from spark_imgdedup.files.copying.spool import SPOOL_BYTES
from spark_imgdedup.files.copying.tar_writer import TarWriter
from spark_imgdedup.files.tars.shards import Shard, iter_samples
from spark_imgdedup.files.tars.tar_stream import TarStream
from tests.tars import jpeg, make_tar, members_of, png, tar_bytes, webdataset_samples


def shard_of(path, name):
    return Shard(str(path), name, 0, "")


def copy_one(path, gone=frozenset()):
    """The members of the copy of one tar, and what was said about it: the same wherever it comes from and goes to."""
    compressed = Path(path).parent / "_compressed.tar.gz"  # from front to back, as a store is read
    compressed.write_bytes(gzip.compress(Path(path).read_bytes(), 1))
    places = [
        (str(path), str(Path(path).parent / "_copies")),
        (str(path), "memory://copies"),
        (str(compressed), "memory://copies"),
    ]
    found = [_copied(*place, gone) for place in places]
    assert found[0][0] == found[1][0] == found[2][0]
    return found[0][1:]


def _copied(path, folder, gone):
    (task,) = plan_copies([shard_of(path, "s")], {}, None)
    (written,) = copy_kept(task, {"s": dict.fromkeys(gone)}, folder, read=Source(), write={})
    with storage.open_read(written.temporary) as file:
        data = file.read()
    assert written.n_bytes == len(data)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return data, [(info.name, tar.extractfile(info).read() if info.isreg() else None) for info in tar], written


SAMPLES = [("0.jpg", jpeg(0)), ("0.txt", b"zero"), ("a/1.png", png(1)), ("a/1.json", b"{}"), ("2.jpg", jpeg(2))]


def test_members_of_kept_samples_are_byte_identical_and_in_order_and_removed_ones_are_gone(tmp_path):
    make_tar(tmp_path / "s.tar", SAMPLES)

    members, written = copy_one(tmp_path / "s.tar", {"a/1"})

    assert members == [*SAMPLES[:2], SAMPLES[4]]
    assert (written.name, written.n_samples, written.n_cut, written.damage) == ("s", 2, 0, [])


def test_a_tar_from_which_nothing_goes_is_copied_as_it_stands(tmp_path):
    make_tar(tmp_path / "s.tar", SAMPLES, tarfile.GNU_FORMAT)
    os.truncate(tmp_path / "s.tar", 10_240)  # as tar fills them up

    (task,) = plan_copies([shard_of(tmp_path / "s.tar", "s")], {}, None)
    (written,) = copy_kept(task, {}, str(tmp_path / "copies"), read=Source(), write={})

    assert Path(written.temporary).read_bytes() == (tmp_path / "s.tar").read_bytes()


@pytest.mark.parametrize("error", [OSError(errno.EINVAL, "no"), AttributeError("sendfile")], ids=repr)
def test_where_the_kernel_copies_nothing_the_bytes_are_the_same(tmp_path, monkeypatch, error):
    def refuse(*_):
        raise error

    make_tar(tmp_path / "s.tar", SAMPLES)
    by_kernel = _copied(str(tmp_path / "s.tar"), str(tmp_path / "copies"), {"a/1"})
    monkeypatch.setattr(os, "sendfile", refuse)

    assert _copied(str(tmp_path / "s.tar"), str(tmp_path / "copies"), {"a/1"})[0] == by_kernel[0]


def test_headers_that_readers_take_differently_are_written_anew(tmp_path):
    info, plain = tarfile.TarInfo("0.jpg"), tarfile.TarInfo("0.jpg")
    info.pax_headers = {"size": "3"}
    head = info.tobuf(tarfile.PAX_FORMAT)[:-512] + plain.tobuf(tarfile.PAX_FORMAT)  # of no bytes, says the second
    (tmp_path / "s.tar").write_bytes(head + b"abc" + bytes(509) + bytes(10_240))

    members, written = copy_one(tmp_path / "s.tar")

    assert members == [("0.jpg", b"abc")]
    copied = Path(written.temporary).read_bytes()
    assert tarfile.TarInfo.frombuf(copied[1024:1536], "utf-8", "strict").size == 3


def test_a_tar_that_becomes_shorter_while_it_is_copied_is_refused(tmp_path, monkeypatch):
    make_tar(tmp_path / "s.tar", SAMPLES)
    add = TarWriter.add_piece

    def cut_and_add(*given):
        os.truncate(tmp_path / "s.tar", 1024)
        add(*given)

    monkeypatch.setattr(TarWriter, "add_piece", cut_and_add)
    with pytest.raises(ShardError, match="became shorter while it was read"):
        _copied(str(tmp_path / "s.tar"), str(tmp_path / "copies"), set())
    assert list((tmp_path / "copies").iterdir()) == []


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

    (written,) = copy_kept(task, {}, str(tmp_path), read=Source(), write={})

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


@pytest.mark.parametrize("kind", [b"D", b"M", b"N", b"V", b"A", b"Z"])
def test_a_member_of_unknown_type_keeps_its_bytes_and_what_follows_it_is_read(tmp_path, kind):
    odd = [("odd.jpg", b"odd" * 700), ("dump/", b"Yfile" * 300)]
    make_tar(tmp_path / "s.tar", [*SAMPLES[:2], *odd, *SAMPLES[2:]])
    data = bytearray((tmp_path / "s.tar").read_bytes())
    for name, _ in odd:
        header = data.index(name.encode() + b"\0")
        data[header + 156 : header + 157] = kind
        data[header + 148 : header + 156] = b" " * 8
        data[header + 148 : header + 156] = b"%06o\0 " % sum(data[header : header + 512])
    (tmp_path / "s.tar").write_bytes(data)

    members, written = copy_one(tmp_path / "s.tar", {"0"})

    # A file of a sample is one for every reader; what is of no sample keeps its type, and its bytes.
    assert members == [odd[0], (odd[1][0], None), *SAMPLES[2:]]
    assert (written.n_samples, written.damage) == (3, [])
    with storage.open_read(written.temporary) as file:
        assert odd[1][1] in file.read()


def test_what_follows_the_end_mark_is_copied_if_it_is_a_tar_and_told_if_it_is_none(tmp_path):
    (tmp_path / "s.tar").write_bytes(tar_bytes(SAMPLES[:2]) + tar_bytes(SAMPLES[2:]) + b"garbage")

    members, written = copy_one(tmp_path / "s.tar", {"0"})

    assert members == SAMPLES[2:]
    assert "7 bytes follow its end mark" in written.damage[0]


def test_a_compressed_shard_is_written_as_a_plain_tar(tmp_path):
    (tmp_path / "s.tgz").write_bytes(gzip.compress(tar_bytes(SAMPLES)))

    assert _copied(str(tmp_path / "s.tgz"), str(tmp_path), {"0"})[1] == SAMPLES[2:]


def test_a_sparse_member_with_too_many_holes_is_copied_with_its_holes(tmp_path):
    with open(tmp_path / "0.bmp", "wb") as file:
        for place in (0, 2**26, 2**33):
            file.seek(place)
            file.write(b"data")
    subprocess.run(["tar", "--sparse", "-cf", "s.tar", "0.bmp"], cwd=tmp_path, check=True)
    (task,) = plan_copies([shard_of(tmp_path / "s.tar", "s")], {}, None)

    (written,) = copy_kept(task, {}, str(tmp_path), read=Source(), write={})

    assert written.n_bytes < 100_000
    assert written.n_samples == 1
    with tarfile.open(written.temporary) as tar:
        (copy,) = tar
        assert (copy.name, copy.size) == ("0.bmp", 2**33 + 4)
        content = tar.extractfile(copy)
        for place in (0, 2**26, 2**33):
            content.seek(place)
            assert content.read(4) == b"data"
    subprocess.run(["tar", "-tf", written.temporary], check=True)


def test_a_scattered_sample_that_goes_takes_all_its_members_and_one_that_stays_is_gathered_and_counted_once(tmp_path):
    scattered = [SAMPLES[0], SAMPLES[2], SAMPLES[1], SAMPLES[4], SAMPLES[3]]
    make_tar(tmp_path / "s.tar", scattered)
    shard = dataclasses.replace(shard_of(tmp_path / "s.tar", "s"), reorder=True)

    for gone, expected in (({"0"}, SAMPLES[2:]), ({"a/1"}, [*SAMPLES[:2], SAMPLES[4]]), (set(), SAMPLES)):
        (task,) = plan_copies([shard], {}, None)
        (written,) = copy_kept(task, {"s": dict.fromkeys(gone)}, str(tmp_path), read=Source(), write={})

        assert members_of(written.temporary) == expected
        assert written.n_samples == 3 - len(gone)


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
        list(copy_kept(task, {}, str(tmp_path), read=Source(), write={}))


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
        removed[name] = {str(place): None for place, fate in enumerate(fates) if fate == "drop"}
        shards.append(shard_of(make_tar(folder / f"{number}.tar", members), name))
    n_kept = {shard.name: fates.count("keep") for shard, fates in zip(shards, division, strict=True)}

    tasks = plan_copies(shards, n_kept, n)
    written = [tar for task in tasks for tar in copy_kept(task, removed, str(folder / "out"), read=Source(), write={})]

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
        tar for task in tasks for tar in copy_kept(task, {"a/000": {"0": None}}, str(tmp_path), read=Source(), write={})
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

    (written,) = copy_kept(task, {}, str(tmp_path), read=Source(), write={})

    with tarfile.open(written.temporary) as tar:
        assert tar.extractfile("s/0.lnk").read() == b"picture"


# --- links: what they name leaves, and they stay


def link_member(name, target, kind=tarfile.LNKTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def make_linked(path, *members):
    """A tar of (name, data), and of links as they are given."""
    with tarfile.open(path, "w") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return path


LINKED = (
    ("a/0.jpg", jpeg(0)),
    ("a/0.txt", b"zero"),
    link_member("a/7.jpg", "a/0.jpg"),
    ("a/7.txt", b"seven"),
    link_member("a/8.jpg", "a/7.jpg"),
    link_member("9.jpg", "a/0.jpg", tarfile.SYMTYPE),
    link_member("x.jpg", "nowhere.jpg"),
)


def test_a_link_keeps_its_picture_where_the_file_it_names_leaves(tmp_path):
    members, written = copy_one(make_linked(tmp_path / "s.tar", *LINKED), {"a/0"})

    assert members == [
        ("a/7.jpg", jpeg(0)),
        ("a/7.txt", b"seven"),
        ("a/8.jpg", jpeg(0)),
        ("9.jpg", jpeg(0)),
        ("x.jpg", None),
    ]
    assert written.n_samples == 1


def test_a_link_stays_a_link_where_the_file_it_names_stays(tmp_path):
    make_linked(tmp_path / "s.tar", *LINKED)

    members, _ = copy_one(tmp_path / "s.tar", {"a/8"})

    assert [(name, data is None) for name, data in members] == [
        ("a/0.jpg", False),
        ("a/0.txt", False),
        ("a/7.jpg", True),
        ("a/7.txt", False),
        ("9.jpg", True),
        ("x.jpg", True),
    ]


def test_repacked_links_are_files_beside_their_own_sample_in_whichever_tar_that_is(tmp_path):
    make_linked(tmp_path / "s.tar", *LINKED)
    tasks = plan_copies([shard_of(tmp_path / "s.tar", "s")], {"s": 2}, 1)

    written = [tar for task in tasks for tar in copy_kept(task, {}, str(tmp_path), read=Source(), write={})]

    assert [members_of(tar.temporary) for tar in written] == [
        [("s/a/0.jpg", jpeg(0)), ("s/a/0.txt", b"zero")],
        [("s/a/7.txt", b"seven"), ("s/a/7.jpg", jpeg(0)), ("s/a/8.jpg", jpeg(0)), ("s/9.jpg", jpeg(0))],
    ]
    assert [(kept.key, kept.n_bytes) for tar in written for kept in tar.samples] == [
        ("a/0", len(jpeg(0)) + 4),
        ("a/7", 5),
    ]


def test_a_link_whose_file_the_shard_ends_inside_of_is_copied_as_it_is(tmp_path):
    whole = make_linked(tmp_path / "s.tar", ("1.jpg", b"one"), link_member("2.jpg", "0.jpg"), ("0.jpg", bytes(900)))
    whole.write_bytes(whole.read_bytes()[: 4 * BLOCK + 100])

    members, written = copy_one(whole, {"0"})

    assert members == [("1.jpg", b"one"), ("2.jpg", None)]
    assert len(written.damage) == 1


# --- what leaves is what was compared


def digest_of(data):
    return hashlib.sha256(data).hexdigest()


def copy_checked(path, gone, image_member=None):
    (task,) = plan_copies([shard_of(path, "s")], {}, None)
    source = Source(image_member=image_member)
    return list(copy_kept(task, {"s": gone}, str(path.parent / "out"), read=source, write={}))


def test_samples_leave_whose_images_are_those_that_were_compared(tmp_path):
    make_tar(tmp_path / "s.tar", [*SAMPLES, ("3.a.jpg", jpeg(3)), ("3.b.jpg", jpeg(4))])
    gone = {"0": digest_of(jpeg(0)), "a/1": digest_of(png(1)), "2": None, "3": digest_of(jpeg(4))}

    (written,) = copy_checked(tmp_path / "s.tar", gone, "b.jpg")

    assert members_of(written.temporary) == []


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([("0.jpg", jpeg(5)), ("0.txt", b"zero"), ("1.jpg", b"")], "the image of '0' is not the one"),
        ([("0.txt", b"zero"), ("1.jpg", b"")], "the image of '0'"),
        ([("0.jpg", jpeg(0)), ("0.png", png(1))], "the image of '0'"),
        ([("1.jpg", b"")], "the image of '0'"),
        ([], "the image of '0'"),
    ],
)
def test_a_shard_that_was_written_anew_since_is_refused_and_nothing_of_its_copy_is_left(tmp_path, members, said):
    make_tar(tmp_path / "s.tar", members)

    with pytest.raises(ShardError, match=rf"s\.tar: {said}.*run again"):
        copy_checked(tmp_path / "s.tar", {"0": digest_of(jpeg(0))})

    assert list((tmp_path / "out").iterdir()) == []


def test_a_shard_that_is_cut_since_is_refused_where_the_image_that_leaves_is_gone(tmp_path):
    whole = tar_bytes(SAMPLES)
    (tmp_path / "s.tar").write_bytes(whole[: 3 * BLOCK])

    with pytest.raises(ShardError, match="the image of '2'"):
        copy_checked(tmp_path / "s.tar", {"2": digest_of(jpeg(2))})


# --- headers that no tar can hold, names that no file system takes


def test_members_with_headers_that_cannot_be_written_again_are_copied_with_name_and_bytes(tmp_path):
    strange = [
        {"pax_headers": {"mtime": "nan"}},
        {"pax_headers": {"mtime": "-inf"}},
        {"pax_headers": {"mtime": "1e300"}},
        {"pax_headers": {"key\udce9word": "value", "comment": "kept"}},
        {"uid": 2**70, "gid": -5},
        {"uname": "caf\udce9"},
    ]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for number, settings_ in enumerate(strange):
            info = tarfile.TarInfo(f"{number}.jpg")
            info.size = 3
            for name, value in settings_.items():
                setattr(info, name, value)
            tar.addfile(_with_raw_keyword(info), io.BytesIO(b"abc"))
        device = tarfile.TarInfo("device")
        device.type = tarfile.CHRTYPE
        start = tar.offset
        tar.addfile(device)
    data = bytearray(buffer.getvalue())
    data[start + 329 : start + 337] = b"\x80" + (2**50).to_bytes(7, "big")  # devmajor, as GNU writes large numbers
    checksum = sum(data[start : start + 148]) + 8 * 32 + sum(data[start + 156 : start + 512])
    data[start + 148 : start + 156] = b"%06o\0 " % checksum
    (tmp_path / "s.tar").write_bytes(bytes(data).replace(b"key??word", b"key\xe9\xe9word"))

    members, written = copy_one(tmp_path / "s.tar")

    assert [data for _, data in members] == [b"abc"] * 6 + [None]
    assert [name for name, _ in members][:4] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    assert (written.n_samples, written.damage) == (6 - (members[5][0] == "4.jpg"), [])


def _with_raw_keyword(info):
    """tarfile writes keywords as UTF-8 only: a mark of the same length stands for the bytes that are not."""
    info.pax_headers = {key.replace("\udce9", "??"): value for key, value in info.pax_headers.items()}
    return info


@pytest.mark.parametrize("name", ["x" * 250, "/".join(["folder" * 20] * 12), "caf\udce9/000"])
def test_a_shard_of_any_path_is_copied_under_a_short_temporary_name(tmp_path, name):
    make_tar(tmp_path / "s.tar", SAMPLES)
    (task,) = plan_copies([shard_of(tmp_path / "s.tar", name)], {}, None)

    (written,) = copy_kept(task, {}, str(tmp_path / "out"), read=Source(), write={})

    assert written.name == name
    assert len(Path(written.temporary).name) < 80
    assert members_of(written.temporary) == SAMPLES


_PARTS = st.sampled_from(["__train__", "%5F_train__", "%255F_train__", "__a", "a__", "____", "a.b", "000", "ü x", "__"])


@given(st.lists(st.lists(_PARTS, min_size=1, max_size=3).map("/".join), min_size=1, max_size=5, unique=True))
def test_whatever_shards_are_called_readers_see_every_sample_of_their_repacked_tars_as_one(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("names")
    shards = []
    for number, name in enumerate(names):
        path = make_tar(folder / f"{number}.tar", [("0.jpg", b"%d" % number), ("0.txt", b"t"), ("x/1.jpg", b"1")])
        shards.append(shard_of(path, name))

    tasks = plan_copies(shards, {shard.name: 2 for shard in shards}, 3)
    tars = [tar for task in tasks for tar in copy_kept(task, {}, str(folder / "out"), read=Source(), write={})]

    samples = [sample for tar in tars for sample in webdataset_samples(tar.temporary)]
    assert len(samples) == 2 * len(names)
    assert len({sample["__key__"] for sample in samples}) == 2 * len(names)
    assert [sample["jpg"] for sample in samples][::2] == [b"%d" % number for number in range(len(names))]
    for tar in tars:
        with storage.open_read(tar.temporary) as file:
            assert len(list(iter_samples(TarStream(file)))) == tar.n_samples


# --- which tar holds what


def test_a_task_says_which_samples_are_in_which_tar_and_how_large_they_are(tmp_path):
    make_tar(tmp_path / "a.tar", SAMPLES)
    (tmp_path / "b.tar").write_bytes(tar_bytes([("0.jpg", b"12"), ("1.jpg", bytes(900))])[: 3 * BLOCK + 5])
    shards = [shard_of(tmp_path / "a.tar", "a"), shard_of(tmp_path / "b.tar", "b")]
    tasks = plan_copies(shards, {"a": 2, "b": 2}, 2)

    tars = [
        tar for task in tasks for tar in copy_kept(task, {"a": {"2": None}}, str(tmp_path), read=Source(), write={})
    ]

    assert [(tar.name, kept.image_id, kept.shard, kept.key, kept.n_bytes) for tar in tars for kept in tar.samples] == [
        ("000000", "a/0", "a", "0", len(jpeg(0)) + 4),
        ("000000", "a/a/1", "a", "a/1", len(png(1)) + 2),
        ("000001", "b/0", "b", "0", 2),
    ]


def test_an_id_from_a_json_is_the_one_that_is_told(tmp_path):
    make_tar(tmp_path / "s.tar", [("0.jpg", b"0"), ("0.json", b'{"uid": 70}'), ("1.json", b"{}"), ("1.jpg", b"1")])
    (task,) = plan_copies([shard_of(tmp_path / "s.tar", "s")], {}, None)

    (written,) = copy_kept(task, {}, str(tmp_path), read=Source(id_field="uid"), write={})

    assert [kept.image_id for kept in written.samples] == ["70", "s/1"]
    assert members_of(written.temporary)[1] == ("0.json", b'{"uid": 70}')


# --- places that take no more


def test_a_folder_that_refuses_is_one_line_that_says_so(tmp_path):
    (tmp_path / "file").write_text("no folder")
    make_tar(tmp_path / "s.tar", SAMPLES)
    (task,) = plan_copies([shard_of(tmp_path / "s.tar", "s")], {}, None)

    with pytest.raises(ConfigError, match=r"output\.path: nothing more can be written to .*/file"):
        list(copy_kept(task, {}, str(tmp_path / "file"), read=Source(), write={}))


def test_a_place_that_takes_no_more_is_one_line_and_keeps_nothing_of_the_tar(tmp_path):
    make_tar(tmp_path / "s.tar", [("0.mp4", bytes(2**20))])
    (task,) = plan_copies([shard_of(tmp_path / "s.tar", "s")], {}, None)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    resource.setrlimit(resource.RLIMIT_FSIZE, (2**18, before[1]))
    try:
        with pytest.raises(ConfigError, match=r"/out: File too large\. Make room"):
            list(copy_kept(task, {}, str(tmp_path / "out"), read=Source(), write={}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert list((tmp_path / "out").iterdir()) == []


def test_a_task_keeps_one_input_open_at_a_time(tmp_path):
    n = 40
    shards = [shard_of(make_tar(tmp_path / f"{i}.tar", [("0.jpg", b"1")]), f"{i}") for i in range(n)]
    (task,) = plan_copies(shards, {shard.name: 1 for shard in shards}, n + 1)
    before = len(os.listdir("/proc/self/fd"))

    for written in copy_kept(task, {}, str(tmp_path / "out"), read=Source(), write={}):
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
        "000000", [(n, n, str(tmp_path / n)) for n in ("a b.jpg", "c.png")], str(tmp_path / "out"), read={}, write={}
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


def test_names_that_are_no_text_come_back_from_a_table_and_from_a_repacked_tar_as_they_were(tmp_path):
    names = [("caf\udce9.jpg", b"1"), ("caf\\udce9.jpg", b"2"), ("\\\udce9/a.t\udcffxt", b"3")]
    make_tar(tmp_path / "s.tar", names)
    with storage.open_read(str(tmp_path / "s.tar")) as file:
        samples = [(each.key, each.data_by_suffix()) for each in iter_samples(TarStream(file), lambda _: True)]

    (written,) = pack_samples(samples, 9, str(tmp_path / "out"), {})
    (task,) = plan_copies([shard_of(tmp_path / "s.tar", "caf\\udce9")], {"caf\\udce9": 3}, 3)
    (repacked,) = copy_kept(task, {}, str(tmp_path / "out"), read=Source(), write={})

    assert members_of(written.temporary) == names
    with storage.open_read(repacked.temporary) as file:
        keys = [sample.key for sample in iter_samples(TarStream(file))]
    assert keys == [f"caf\\udce9/{key}" for key, _ in samples]
