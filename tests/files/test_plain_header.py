"""Headers read by us, against tarfile."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_imgdedup.files.tars import plain_header as plain_header_module
from spark_imgdedup.files.tars import strict_headers
from spark_imgdedup.files.tars.plain_header import plain_header
from spark_imgdedup.files.tars.strict_headers import DamagedTarError
from spark_imgdedup.files.tars.tar_stream import TarStream
from tests.tars import OneWay

FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
TYPES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.LNKTYPE, tarfile.XHDTYPE, b"L", b"S", b"Z")
FIELDS = ("name", "mode", "uid", "gid", "size", "mtime", "chksum", "type", "linkname", "uname", "gname")
FIELDS += ("devmajor", "devminor", "pax_headers", "sparse")


def by_tarfile(block):
    """Its fields, or its error."""
    try:
        found = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        return type(error)
    return [getattr(found, name) for name in FIELDS]


@st.composite
def headers(draw):
    info = tarfile.TarInfo(draw(st.text("abc./\xe9\udce9", min_size=1, max_size=180)))
    info.type, info.linkname = draw(st.sampled_from(TYPES)), draw(st.text("ab/", max_size=20))
    info.size, info.mtime = draw(st.integers(0, 2**34)), draw(st.integers(0, 2**34))
    info.uid, info.mode, info.devmajor = (
        draw(st.integers(0, 2**22)),
        draw(st.integers(0, 0o7777)),
        draw(st.integers(0, 9)),
    )
    info.uname, info.gname = draw(st.text("us\xe9", max_size=9)), draw(st.text("gr", max_size=9))
    try:
        block = info.tobuf(draw(st.sampled_from(FORMATS)), errors="surrogateescape")[-512:]
    except ValueError:
        return bytes(512)
    return block


@given(headers(), st.binary(max_size=12), st.integers(0, 511), st.booleans())
def test_a_header_is_read_as_tarfile_reads_it_or_left_to_it(block, noise, place, is_summed):
    block = (block[:place] + noise + block[place + len(noise) :])[:512]
    if is_summed:  # else most changes are told by the checksum
        block = block[:148] + b"%06o\0 " % (256 + sum(block[:148]) + sum(block[156:])) + block[156:]

    found = plain_header(tarfile.TarInfo, block, "utf-8", "surrogateescape")

    assert found is None or [getattr(found, name) for name in FIELDS] == by_tarfile(block)


@pytest.mark.parametrize("tar_format", FORMATS)
def test_usual_headers_are_read_by_us(tar_format):
    info = tarfile.TarInfo("shard/000001.jpg")
    info.size, info.mtime, info.uname = 4_000_000_000, 1_700_000_000, "user"
    block = info.tobuf(tar_format)

    assert plain_header(tarfile.TarInfo, block, "utf-8", "surrogateescape") is not None
    assert plain_header(tarfile.TarInfo, bytes(512), "utf-8", "surrogateescape") is None
    assert plain_header(tarfile.TarInfo, block[:511], "utf-8", "surrogateescape") is None


def test_bytes_that_are_no_text_are_left_to_tarfile_where_it_refuses_them():
    block = tarfile.TarInfo("caf\udce9").tobuf(tarfile.USTAR_FORMAT, errors="surrogateescape")

    assert plain_header(tarfile.TarInfo, block, "utf-8", "surrogateescape").name == "caf\udce9"
    assert plain_header(tarfile.TarInfo, block, "utf-8", "strict") is None


# --- headers that tell the times of the next file


RECORDS = st.sampled_from(
    ["20 mtime=1700000000.5\n", "30 atime=1700000000.123456789\n", "11 ctime=7\n", "22 mtime=1700000000.25\n", "x"]
)
RECORDS |= st.sampled_from(["18 path=other.name\n", "12 size=900\n", "19 uname=somebody\n", "23 hdrcharset=BINARY\n"])


@st.composite
def tars(draw):
    """A tar of files behind extended headers, some of them odd; now and then another byte somewhere."""
    data = bytearray()
    for number in range(draw(st.integers(1, 3))):
        records = "".join(draw(st.lists(RECORDS, max_size=3))).encode()
        kind = draw(st.sampled_from(["x", "x", "x", "x", "g", "-"]))
        if kind != "-":
            extended = tarfile.TarInfo("././@PaxHeader")
            extended.type, extended.size = kind.encode(), draw(st.sampled_from([len(records)] * 4 + [600, 3]))
            data += extended.tobuf(tarfile.USTAR_FORMAT) + records.ljust(512, b"\0")
        info = tarfile.TarInfo(f"{number}.jpg")
        info.size, info.mtime = draw(st.integers(0, 1100)), 1_700_000_000
        info.type = draw(st.sampled_from([tarfile.REGTYPE] * 6 + [tarfile.DIRTYPE, tarfile.LNKTYPE, b"x"]))
        data += info.tobuf(tarfile.USTAR_FORMAT) + bytes(-(-info.size // 512) * 512)
    if draw(st.booleans()):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data + bytes(1024))[: draw(st.sampled_from([None, None, len(data) - 300]))]


def read(data, kind):
    """All that is told of a tar's members, and how it ends."""
    found = []
    try:
        stream = TarStream(kind(data))
        for info in stream:
            told = [getattr(info, name) for name in (*FIELDS, "offset", "offset_data")]
            found.append((told, stream.heads(info)))
    except DamagedTarError as error:
        found.append(str(error))
    return found


@pytest.mark.parametrize("kind", [io.BytesIO, OneWay])
@given(tars())
def test_a_file_behind_its_times_is_read_as_tarfile_reads_it(kind, data):
    ours = read(data, kind)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strict_headers, "pax_size", lambda *_: None)  # so that tarfile reads all
        assert ours == read(data, kind)


def test_what_webdataset_writes_is_read_by_us(monkeypatch):
    def by_tarfile_itself(*_):
        raise AssertionError("tarfile was asked")

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for number in range(2):
            info = tarfile.TarInfo(f"{number}.jpg")
            info.size, info.mtime = 3, 1_700_000_000.5
            tar.addfile(info, io.BytesIO(b"abc"))
    monkeypatch.setattr(tarfile.TarInfo, "_proc_pax", by_tarfile_itself)

    first, second = TarStream(io.BytesIO(buffer.getvalue()))

    assert (first.name, first.mtime, first.pax_headers) == ("0.jpg", 1_700_000_000.5, {"mtime": "1700000000.5"})
    assert (second.name, second.offset, second.offset_data) == ("1.jpg", 2048, 3584)


@given(st.binary(min_size=512, max_size=512))
def test_the_sum_of_a_block_is_that_of_its_bytes(block):
    assert plain_header_module._sum(block) == sum(block)
    assert plain_header_module._sum(b"\xff" * 512) == 255 * 512
