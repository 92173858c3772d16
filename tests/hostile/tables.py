"""Tables, lists of ids and vectors that are cut, changed at random, or something else than their name says."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.hostile.spoiling import spoiled

IDS = ["a/1", "b/2", "c/ü", "007", "7.0"]
N_MUTANTS = 40


def all_tables() -> Iterator[tuple[str, bytes]]:
    """(file name, file) of every case; what begins with "sound" must be read."""
    for suffix, data in sorted(_sound().items()):
        yield f"sound{suffix}", data
        yield from ((f"{what}{suffix}", forged) for what, forged in spoiled(data, N_MUTANTS, 6))
        for name, other in {"html": b"<html>403</html>", "zeros": bytes(4096), "magic": b"PAR1" * 9}.items():
            yield f"{name}{suffix}", other
    yield "deep.jsonl", b'{"id":' * 100_000 + b"1" + b"}" * 100_000
    yield "long-number.jsonl", b'{"id": ' + b"9" * 10**6 + b"}\n"
    yield "long-field.csv", b"id\n" + b"a" * 10**6 + b"\n"
    yield "object.npy", _npy(np.array([{"id": 1}], dtype=object), allow_pickle=True)
    yield (
        "huge-claim.npy",
        b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999, 512)}\n",
    )


def _sound() -> dict[str, bytes]:
    lines = "".join(f"{each}\n" for each in IDS).encode()
    records = "".join(json.dumps({"id": each}) + "\n" for each in IDS).encode()
    table = io.BytesIO()
    pq.write_table(pa.table({"id": IDS}), table)
    return {
        ".parquet": table.getvalue(),
        ".txt": lines,
        ".csv": b"id\n" + lines,
        ".jsonl": records,
        ".txt.gz": gzip.compress(lines),
        ".csv.bz2": bz2.compress(b"id\n" + lines),
        ".jsonl.xz": lzma.compress(records),
        ".txt.zst": bytes(pa.compress(lines, "zstd", asbytes=True)),
        ".npy": _npy(np.ones((5, 4), np.float16)),
    }


def _npy(array: np.ndarray, *, allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()
