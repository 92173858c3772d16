"""Open a shard, its samples gathered where `input.reorder` asks for it. No Spark.

An unsorted tar is gathered by its headers: they are held, the members are read where they lie.
"""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import IO, Any

from spark_imgdedup.errors import ShardError
from spark_imgdedup.files import storage
from spark_imgdedup.files.tars.compressed import COPY_BYTES, decompressed
from spark_imgdedup.files.tars.shards import Shard, split_name
from spark_imgdedup.files.tars.strict_headers import DamagedTarError
from spark_imgdedup.files.tars.tar_stream import TarStream

# Headers held at a time: half a million take about 0.5 GB.
MAX_GATHERED_MEMBERS = 500_000
# What cannot be read at any place, such as a compressed tar, lies in a temporary file meanwhile.
MAX_SPOOL_BYTES = 2**34


class GatheredTar(TarStream):
    """The members of a tar that can seek, those of one sample side by side, samples in the order in which they begin.

    What the end of the tar cuts comes last, and so do hard links, whose files must stand before them.
    """

    def heads(self, info: tarfile.TarInfo) -> bytes | None:
        """None: they were read long before the member is copied."""
        return None

    def __iter__(self) -> Iterator[tarfile.TarInfo]:
        groups: dict[str | int, list[tarfile.TarInfo]] = {}
        damage: DamagedTarError | None = None
        last: str | int = -1
        try:
            for place, info in enumerate(super().__iter__()):
                if place == MAX_GATHERED_MEMBERS:
                    raise ShardError(
                        f"{self.name}: input.reorder gathers at most {MAX_GATHERED_MEMBERS} members of a tar, and this "
                        "one has more. Sort it, for instance with tar --sort=name, or make smaller tars of it."
                    )
                split = split_name(info.name)
                last = place if split is None else split[0]
                groups.setdefault(last, []).append(info)
        except DamagedTarError as error:
            damage = error
        cut = groups.pop(last, []) if damage is not None else []
        plain = [group for group in groups.values() if not any(info.islnk() for info in group)]
        linked = [group for group in groups.values() if any(info.islnk() for info in group)]
        for group in (*plain, *linked, cut):
            yield from group
        if damage is not None:
            raise damage


@contextmanager
def open_tar(shard: Shard, options: Mapping[str, Any]) -> Iterator[TarStream]:
    """The members of a shard, gathered if it says so.

    Raises:
        ShardError: it is to be gathered, and is larger than what may be held.
    """
    with ExitStack() as stack:
        stream = stack.enter_context(storage.open_read(shard.url, options))
        if shard.reorder:
            stream = decompressed(stream)
            if not stream.seekable():
                stream = stack.enter_context(_spooled(stream, shard.url))
            yield GatheredTar(stream, shard.url)
        else:
            yield TarStream(stream, shard.url)


def _spooled(stream: IO[bytes], name: str) -> IO[bytes]:
    """All of a stream as a temporary file; of one that is damaged what comes before."""
    spool: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
    try:
        while block := stream.read(COPY_BYTES):
            spool.write(block)
            if spool.tell() > MAX_SPOOL_BYTES:
                raise ShardError(
                    f"{name}: input.reorder gathers what cannot be read at any place, such as a compressed tar, by a "
                    f"temporary file of at most {MAX_SPOOL_BYTES} bytes, and this is larger. Sort it, for instance "
                    "with tar --sort=name, or decompress it."
                )
    except tarfile.CompressionError:
        pass  # the tar in it lacks its end, and that is told
    except BaseException:
        spool.close()
        raise
    spool.seek(0)
    return spool
