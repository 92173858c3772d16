"""Tars byte by byte: headers with whatever a field may hold, which Python's own module would not write."""

from __future__ import annotations

BLOCK = 512
END = bytes(2 * BLOCK)
# field: (offset, length) in a ustar header (POSIX.1-1988)
FIELDS = {
    "name": (0, 100),
    "mode": (100, 8),
    "uid": (108, 8),
    "gid": (116, 8),
    "size": (124, 12),
    "mtime": (136, 12),
    "chksum": (148, 8),
    "type": (156, 1),
    "linkname": (157, 100),
    "magic": (257, 8),
    "uname": (265, 32),
    "gname": (297, 32),
    "devmajor": (329, 8),
    "devminor": (337, 8),
    "prefix": (345, 155),
}


def header(path: bytes, n_bytes: int = 0, kind: bytes = b"0", *, keep_sum: bool = False, **fields: bytes) -> bytes:
    """One header block; `fields` are put in as they are, and the checksum is right unless `keep_sum`."""
    given = {
        "name": path,
        "mode": b"0000644\0",
        "uid": b"0001000\0",
        "gid": b"0001000\0",
        "size": b"%011o\0" % n_bytes,
        "mtime": b"14740000000\0",
        "chksum": b"        ",
        "type": kind,
        "magic": b"ustar\x0000",
        "uname": b"someone",
    }
    before = _put(given)
    after = _put({**given, **fields})
    if "chksum" not in fields:
        at, length = FIELDS["chksum"]
        total = sum(before if keep_sum else after)
        after[at : at + length] = b"%06o\0 " % total
    return bytes(after)


def _put(fields: dict[str, bytes]) -> bytearray:
    block = bytearray(BLOCK)
    for name, value in fields.items():
        at, length = FIELDS[name]
        block[at : at + length] = value[:length].ljust(length, b"\0")
    return block


def padded(data: bytes) -> bytes:
    """Data up to the next block."""
    return data + bytes(-len(data) % BLOCK)


def member(path: bytes, data: bytes, kind: bytes = b"0", **fields: bytes) -> bytes:
    """A header and its data."""
    return header(path, len(data), kind, **fields) + padded(data)


def pax(*records: tuple[bytes, bytes], kind: bytes = b"x") -> bytes:
    """An extended header with these records, each with its right length."""
    return member(b"././@PaxHeader", b"".join(_record(*each) for each in records), kind)


def _record(keyword: bytes, value: bytes) -> bytes:
    rest = b" " + keyword + b"=" + value + b"\n"
    length = len(rest) + 1
    while len(b"%d" % length) + len(rest) != length:
        length += 1
    return b"%d" % length + rest
