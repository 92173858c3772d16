"""Tries hostile files one by one, in a process of its own: what became of each, in how many seconds and bytes.

    python -m tests.hostile.trying tars|images|sidecars|tables

A line of JSON for each file, so that what a crash of the interpreter leaves is known too.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType

from tests.hostile.images import all_images
from tests.hostile.sidecars import SOUND, all_sidecars
from tests.hostile.tables import IDS, all_tables
from tests.hostile.tars import KEYS, HostileTar, all_tars
from tests.tars import jpeg

# Seconds of the clock for one file: a hang takes for ever, and the machines are shared.
LIMIT = 60


class Hang(BaseException):
    """A file took longer than LIMIT; no `except Exception` holds it."""


@dataclass
class Tried:
    """What became of a file.

    Attributes:
        outcome: read, damaged (so reported), refused (by an error of ours), crash, hang.
        lost: what should have been read and was not.
    """

    name: str
    outcome: str
    lost: list[str] = field(default_factory=list)
    error: str = ""
    seconds: float = 0.0


def try_tar(case: HostileTar, folder: Path) -> Tried:
    """Read one tar as the steps do."""
    from spark_imgdedup.config import InputConfig
    from spark_imgdedup.errors import ImgDedupError
    from spark_imgdedup.files.tars.shards import list_shards
    from spark_imgdedup.stages.read import iter_images

    path = folder / f"{case.name}{case.suffix}"
    path.write_bytes(case.data)
    found: dict[str, bytes | None] = {}
    outcome, error = "read", ""
    try:
        config = InputConfig(path=str(path))
        for shard in list_shards(config):
            for record in iter_images(shard, config):
                if record.key is None:
                    outcome, error = "damaged", str(record.error)
                else:
                    found[record.key] = record.data
    except ImgDedupError as refusal:
        outcome, error = "refused", str(refusal)
    path.unlink()
    lost = sorted(key for key in case.whole if found.get(key) != jpeg(KEYS.index(key)))
    if case.is_sound and outcome != "read":
        lost.append(f"reported as {outcome}")
    return Tried(case.name, outcome, lost, error)


def try_image(name: str, data: bytes) -> Tried:
    """Decode one image as the steps do."""
    from spark_imgdedup.config import InputConfig
    from spark_imgdedup.kernels.images import ImageError, decode_image

    try:
        decode_image(data, max_pixels=InputConfig().max_image_pixels, with_digest=True)
    except ImageError as error:
        lost = [name] if name.startswith("sound") else []
        return Tried(name, "refused", lost, f"{error.reason}: {error}")
    return Tried(name, "read")


def try_sidecar(name: str, data: bytes) -> Tried:
    """Take a field from one json as the steps do."""
    from spark_imgdedup.files.tars.sidecar import read_fields

    (value,) = read_fields(data, {"uid": "string"})
    if value is not None:
        value.encode()  # a table's column takes no lone surrogate
    lost = [name] if data == SOUND and value != "here" else []
    return Tried(name, "damaged" if value is None else "read", lost)


def try_table(name: str, data: bytes, folder: Path) -> Tried:
    """Read one table, list of ids or matrix as the driver does before any work."""
    from spark_imgdedup.errors import ImgDedupError
    from spark_imgdedup.files import storage
    from spark_imgdedup.files.id_lists import read_ids
    from spark_imgdedup.files.npy import read_header
    from spark_imgdedup.files.parquet_files import read_footers

    path = folder / name
    path.write_bytes(data)
    outcome, error, n_found = "read", "", 0
    try:
        if name.endswith(".parquet"):
            n_found = len(read_footers(storage.list_files(str(path), ""))[0].schema) and len(IDS)
        elif name.endswith(".npy"):
            n_found = read_header(str(path)).n_rows
        else:
            n_found = len(list(read_ids(str(path), "id")))
    except ImgDedupError as refusal:
        outcome, error = "refused", str(refusal)
    path.unlink()
    return Tried(name, outcome, [name] if name.startswith("sound") and n_found != len(IDS) else [], error)


def timed(name: str, work: Callable[[], Tried]) -> Tried:
    """What `work` finds, or how it failed."""
    start = time.monotonic()
    signal.alarm(LIMIT)
    try:
        tried = work()
    except Hang:
        tried = Tried(name, "hang")
    except BaseException as error:
        tried = Tried(name, "crash", error=f"{type(error).__name__}: {error}"[:300])
    finally:
        signal.alarm(0)
    tried.seconds = round(time.monotonic() - start, 2)
    return tried


def tries(kind: str) -> Iterator[Tried]:
    """Every case of a kind."""
    if kind in ("tars", "tables"):
        with tempfile.TemporaryDirectory() as folder:
            for case in all_tars() if kind == "tars" else ():
                yield timed(case.name, lambda case=case: try_tar(case, Path(folder)))
            for name, data in all_tables() if kind == "tables" else ():
                yield timed(name, lambda name=name, data=data: try_table(name, data, Path(folder)))
    else:
        cases, attempt = (all_images, try_image) if kind == "images" else (all_sidecars, try_sidecar)
        for name, data in cases():
            yield timed(name, lambda name=name, data=data: attempt(name, data))


def peak_bytes() -> int:
    """The most memory that this process held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _too_long(_signal: int, _frame: FrameType | None) -> None:
    raise Hang


if __name__ == "__main__":
    signal.signal(signal.SIGALRM, _too_long)
    for each in tries(sys.argv[1]):
        sys.stdout.write(json.dumps(asdict(each) | {"peak": peak_bytes()}) + "\n")
        sys.stdout.flush()
