"""Headers read by us, against tarfile."""

from __future__ import annotations

import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_imgdedup.files.tars.plain_header import plain_header

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
