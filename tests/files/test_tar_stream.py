from __future__ import annotations

import io
import subprocess
import tarfile
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_imgdedup.config import InputConfig
from spark_imgdedup.errors import ShardError
from spark_imgdedup.files.tars.shards import Shard, iter_samples
from spark_imgdedup.files.tars.strict_headers import (
    MAX_EXTENSIONS,
    MAX_HOLE_BYTES,
    MAX_PIECES,
    DamagedTarError,
    has_too_many_holes,
)
from spark_imgdedup.files.tars.tar_stream import TarStream
from spark_imgdedup.stages.read import iter_images
from tests.tars import OneWay, jpeg, tar_bytes

BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK)
STREAMS = pytest.mark.parametrize("stream", [io.BytesIO, OneWay])


def padded(data):
    return data + bytes(-len(data) % BLOCK)


def member(name, data=b"", kind=tarfile.REGTYPE, size=None, patch=None):
    """A header of any type and the data that follows it; `patch` overwrites bytes of the header."""
    info = tarfile.TarInfo(name)
    info.size, info.type = len(data) if size is None else size, kind
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    for place, value in (patch or {}).items():
        header[place : place + len(value)] = value
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + padded(data)


def pax(*records):
    """A PAX header that says something of the next member."""
    lines = b""
    for key, value in records:
        record = f" {key}={value}\n".encode()
        size = next(n for n in range(len(record), len(record) + 9) if n == len(record) + len(str(n)))
        lines += b"%d%s" % (size, record)
    return member("PaxHeaders/x", lines, tarfile.XHDTYPE)


def sparse(name, size, pieces, data=b"", n_pieces=None):
    """A sparse file as GNU tar writes it in PAX format 1.0."""
    numbers = [len(pieces) if n_pieces is None else n_pieces, *(n for piece in pieces for n in piece)]
    text = padded("".join(f"{n}\n" for n in numbers).encode())
    records = {"major": "1", "minor": "0", "name": name, "realsize": str(size)}
    header = pax(*((f"GNU.sparse.{key}", value) for key, value in records.items()))
    return header + member(f"GNUSparseFile.0/{name}", text + data)


GOOD = member("0.jpg", b"zero") + member("0.txt", b"0")
MORE = member("1.jpg", b"one") + member("1.txt", b"1")
BOTH = [("0", {"jpg": b"zero", "txt": b"0"}), ("1", {"jpg": b"one", "txt": b"1"})]


def samples_of(stream):
    """[(key, {suffix: data})] and what was wrong with the tar, if anything."""
    found = []
    try:
        for sample in iter_samples(TarStream(stream), lambda _: True, max_bytes=2**27):
            found.append((sample.key, {member.suffix: member.data for member in sample.members}))
    except DamagedTarError as error:
        return found, str(error)
    return found, None


# --- members of unknown type


@STREAMS
@pytest.mark.parametrize("kind", [b"D", b"M", b"N", b"V", b"A", b"Z", b"\xff"])
def test_a_member_of_unknown_type_is_a_file(stream, kind):
    odd = member("odd.jpg", b"odd " * 300, kind) + member("dump/", b"Yfile\0" * 200, kind)

    assert samples_of(stream(GOOD + odd + MORE + END)) == ([BOTH[0], ("odd", {"jpg": b"odd " * 300}), BOTH[1]], None)


# --- what follows an end mark


@STREAMS
@pytest.mark.parametrize("mark", [END, bytes(BLOCK), bytes(20 * BLOCK)], ids=["two blocks", "a lone block", "padding"])
def test_a_tar_behind_an_end_mark_is_read_on(stream, mark):
    assert samples_of(stream(GOOD + mark + MORE + END)) == (BOTH, None)


@STREAMS
def test_padding_behind_the_end_mark_is_no_damage_in_whole_blocks_or_not(stream):
    assert samples_of(stream(GOOD + MORE + END + bytes(10_000))) == (BOTH, None)


@STREAMS
@pytest.mark.parametrize(
    ("rest", "said"),
    [
        (b"garbage" * 1000, "7000 bytes follow its end mark that are no tar, from byte 5120 on"),
        (bytes(300) + b"x" * 301, "601 bytes follow its end mark"),
        (
            b"x" * BLOCK + GOOD,
            f"{5 * BLOCK} bytes follow its end mark that are no tar, from byte 5120 on; headers of a ",
        ),
    ],
)
def test_bytes_behind_the_end_mark_that_are_no_tar_are_counted(stream, rest, said):
    found, damage = samples_of(stream(GOOD + MORE + END + rest))

    assert found == BOTH
    assert said in damage


def test_global_headers_end_with_their_tar():
    shared = tarfile.TarInfo.create_pax_global_header({"path": "shared.jpg"})
    found, _ = samples_of(io.BytesIO(shared + member("0.jpg", b"a") + END + member("1.jpg", b"b") + END))

    assert found == [("shared", {"jpg": b"a"}), ("1", {"jpg": b"b"})]


# --- headers made to hurt


LONG_NAME = member("././@LongLink", b"z" * 120 + b".jpg\0", tarfile.GNUTYPE_LONGNAME)
CUT_MAP = member("s.jpg", kind=tarfile.GNUTYPE_SPARSE, patch={386: b"%011o\0" % 0 + b"%011o\0" % 1, 482: b"\1"})
CLAIMS = pax(("GNU.sparse.realsize", str(len(MORE)))) + member("p.jpg", b"x")


@STREAMS
@pytest.mark.parametrize(
    ("odd", "said"),
    [
        (pax(("comment", "x")) * 2000, "more than 64 headers"),
        (LONG_NAME * 2000, "more than 64 headers"),
        (pax(("comment", "1" * 900_000)) + member("p.jpg"), "digits in a row"),
        (CUT_MAP, ""),
        (CUT_MAP + b"\0" * 100, ""),
        (CUT_MAP + (b"%011o\0" % 8 * 42 + b"\1" * 8) * 10_000, "bytes of headers for one member"),
        (sparse("s.jpg", 10, [(0, 1)], b"x", n_pieces=10**9), ""),
        (sparse("s.jpg", 2**20, [(n, 0) for n in range(MAX_PIECES + 1)]), "pieces"),
        (sparse("s.jpg", 100, [(90, 20)], b"x" * 20), "impossible pieces"),
        (sparse("s.jpg", 100, [(-5, 20)], b"x" * 20), "impossible pieces"),
        (sparse("s.jpg", 10**9, [(0, 5000)], b"x"), "impossible size"),
        (CLAIMS, "impossible size"),
        (pax(("hdrcharset", "x"), ("path", "a.jpg")) + member("p.jpg", size=2**50), "impossible size"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_headers_made_to_hurt_are_a_damage_and_what_stands_before_is_read(stream, odd, said):
    found, damage = samples_of(stream(GOOD + odd + (MORE + END if said else b"")))

    assert found[0] == BOTH[0]
    assert damage
    assert said in damage


def test_as_many_headers_as_a_tar_may_need_are_read():
    odd = pax(("comment", "x")) * (MAX_EXTENSIONS - 1) + LONG_NAME

    assert samples_of(io.BytesIO(GOOD + odd + member("p", b"p") + END)) == ([BOTH[0], ("z" * 120, {"jpg": b"p"})], None)


def test_global_headers_do_not_pile_up():
    shared = b"".join(
        tarfile.TarInfo.create_pax_global_header({f"comment.{n}": "x" * 500_000}) + member(f"{n}.txt")
        for n in range(40)
    )
    found, damage = samples_of(io.BytesIO(shared + END))

    assert len(found) < 10
    assert "global headers" in damage


def test_what_is_said_of_a_name_can_be_shown():
    _, damage = samples_of(io.BytesIO(pax(("path", "\x1b]0;x\x07\u202e.jpg")) + member("p.jpg", b"x" * 999)[:-BLOCK]))

    assert "'\\x1b]0;x\\x07\\u202e.jpg'" in damage
    assert damage.isprintable()


def test_a_name_of_a_million_letters_is_not_said_whole():
    _, damage = samples_of(io.BytesIO(pax(("path", "n" * 900_000)) + member("p.jpg", b"x" * 999)[:-BLOCK]))

    assert len(damage) <= 1000


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_mutated_tar_gives_samples_and_at_most_a_damage(data):
    whole = bytearray(
        GOOD + sparse("s.bmp", 9999, [(5, 3)], b"abc") + LONG_NAME + MORE + pax(("mtime", "1.5"), ("path", "ü.png"))
        + member("p.png", jpeg(0)) + CUT_MAP + bytes(BLOCK) + tar_bytes([("2.jpg", b"two")])
    )  # fmt: skip
    for _ in range(data.draw(st.integers(1, 8))):
        kind = data.draw(st.sampled_from(["byte", "number", "cut", "double", "move"]))
        place = data.draw(st.integers(0, len(whole) - 1))
        start = place - place % BLOCK
        if kind == "byte":
            whole[place] = data.draw(st.integers(0, 255))
        elif kind == "number":  # size, time and type are where the damage is
            whole[start + 124 : start + 136] = data.draw(
                st.sampled_from([b"\xff" * 12, b"77777777777\0", b"-1\0", b"0"])
            )
        elif kind == "cut":
            del whole[place : place + data.draw(st.integers(1, 2000))]
        else:
            block = whole[start : start + BLOCK * data.draw(st.integers(1, 4))]
            at = 0 if kind == "move" else start
            whole[at:at] = block * (1 if kind == "move" else 100)
        if data.draw(st.booleans()):  # a header that is believed
            header = whole[start : start + BLOCK]
            if len(header) == BLOCK:
                whole[start + 148 : start + 156] = b" " * 8
                whole[start + 148 : start + 156] = b"%06o\0 " % sum(whole[start : start + BLOCK])
        if not whole:
            break
    stream = data.draw(st.sampled_from([io.BytesIO, OneWay]))

    try:
        for sample in iter_samples(TarStream(stream(bytes(whole))), lambda _: True, max_bytes=2**20):
            sample.key.encode()
    except (DamagedTarError, ShardError):
        pass


# --- sparse files


def as_records(data, tmp_path):
    (tmp_path / "s.tar").write_bytes(data)
    return list(iter_images(Shard(str(tmp_path / "s.tar"), "s", len(data), ""), InputConfig(path=str(tmp_path))))


def test_a_sparse_image_that_claims_terabytes_has_a_reason_and_its_neighbours_are_read(tmp_path):
    data = GOOD + sparse("s.jpg", 2**40, [(0, 4)], b"data") + sparse("t.jpg", 2**26, [], b"") + MORE + END

    tracemalloc.start()
    records = as_records(data, tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert [(record.key, record.rejected_because) for record in records] == [
        ("0", None),
        ("s", "too_large"),
        ("t", "too_large"),
        ("1", None),
    ]
    assert f"{2**40} bytes, input.max_image_bytes" in records[1].error
    assert f"holds 0; no more than {MAX_HOLE_BYTES} bytes of holes" in records[2].error
    assert peak < 2**24


def test_a_member_with_too_many_holes_is_copied_as_it_is_stored_and_never_read_whole():
    tar = TarStream(io.BytesIO(sparse("s.jpg", 2**40, [(3, 4), (2**30, 2)], b"dataXY") + END))
    info = next(iter(tar))
    stored = io.BytesIO()

    tar.copy_stored(stored, info)

    assert has_too_many_holes(info)
    assert stored.getvalue() == b"dataXY"
    with pytest.raises(ValueError, match="can be read whole"):
        tar.read(info)


@STREAMS
@pytest.mark.parametrize("tar_format", ["gnu", "posix"])
def test_a_sparse_file_of_many_pieces_is_read_as_it_was(tmp_path, stream, tar_format):
    expected = bytearray(2**20)
    with open(tmp_path / "0.bmp", "wb") as file:
        for place in range(0, 2**20, 2**15):
            file.seek(place)
            file.write(b"piece")
            expected[place : place + 5] = b"piece"
        file.truncate(2**20)
    command = ["tar", "--sparse", f"--format={tar_format}", "-cf", "x.tar", "0.bmp"]
    subprocess.run(command, cwd=tmp_path, check=True)

    assert samples_of(stream((tmp_path / "x.tar").read_bytes())) == ([("0", {"bmp": bytes(expected)})], None)
