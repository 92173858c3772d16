"""A member read whole before it is written, and the header it is written under. No Spark."""

from __future__ import annotations

import io
import tarfile
import tempfile
from typing import IO, Any

from spark_imgdedup.files.tars.shards import split_name
from spark_imgdedup.files.tars.strict_headers import DamagedTarError, has_too_many_holes, stored_bytes
from spark_imgdedup.files.tars.tar_stream import TarStream

# Members above this are copied through a temporary file instead of memory.
SPOOL_BYTES = 64 * 2**20


def as_plain_file(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """What readers find as what it was counted as.

    A sparse file is read with its holes filled, and must not be announced as sparse. A member of unknown type is a
    file, says POSIX, but many readers pass over it: where it is of a sample, its type says so.
    """
    if info.issparse():
        info.type = tarfile.REGTYPE
        own = ("GNU.sparse.", "size", "path")
        info.pax_headers = {key: value for key, value in info.pax_headers.items() if not key.startswith(own)}
    if not info.isreg() and split_name(info.name) is not None:
        info.type = tarfile.REGTYPE
    return info


def spooled(info: tarfile.TarInfo, stream: TarStream) -> IO[bytes]:
    """The whole member, read before anything is written: a header without its bytes would ruin the output.

    A sparse member with too many holes is given as it is stored, and `info` says so from then on.

    Raises:
        DamagedTarError: the tar ends inside of it.
    """
    spool: IO[bytes] = io.BytesIO() if stored_bytes(info) <= SPOOL_BYTES else tempfile.TemporaryFile()  # noqa: SIM115
    try:
        if has_too_many_holes(info):
            spool.write(_sparse_map(info))
            stream.copy_stored(spool, info)
            _announce_sparse(info, spool.tell())
        else:
            stream.copy_to(spool, info)
    except DamagedTarError:
        spool.close()
        raise
    spool.seek(0)
    return spool


def _sparse_map(info: Any) -> bytes:
    """The list of a sparse member's pieces that stands before its bytes, in whole blocks."""
    numbers = [len(info.sparse), *(number for piece in info.sparse for number in piece)]
    text = b"".join(b"%d\n" % number for number in numbers)
    return text + bytes(-len(text) % tarfile.BLOCKSIZE)


def _announce_sparse(info: Any, n_bytes: int) -> None:
    """Make `info` the header of a sparse member of `n_bytes` bytes, its map included, that grows to what it was.

    GNU tar's PAX format 1.0: https://www.gnu.org/software/tar/manual/html_node/PAX-1.html
    """
    own = ("GNU.sparse.", "size", "path")
    kept = {key: value for key, value in info.pax_headers.items() if not key.startswith(own)}
    sparse = {"major": "1", "minor": "0", "name": info.name, "realsize": str(info.size)}
    info.pax_headers = {**kept, **{f"GNU.sparse.{key}": value for key, value in sparse.items()}}
    folder, slash, base = info.name.rpartition("/")
    info.name = f"{folder}{slash}GNUSparseFile.0/{base}"  # what readers see that know nothing of sparse files
    info.type, info.size, info.sparse = tarfile.REGTYPE, n_bytes, None
