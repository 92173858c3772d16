"""Whether what leaves a shard is what was compared: its images are read once more, and their digests held together.

A shard may have been written anew since, also with its old size and time. No Spark.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, cast

from spark_imgdedup.errors import ShardError
from spark_imgdedup.files.tars.shards import Member, Sample, choose_image, split_name
from spark_imgdedup.files.tars.strict_headers import DamagedTarError, carries_data
from spark_imgdedup.files.tars.tar_stream import TarStream

# The keys that leave a shard, each with the sha256 of its image as it was when it was compared, or None.
Gone = Mapping[str, str | None]


@dataclass
class RemovalCheck:
    """The samples that leave one shard, looked at as they go by."""

    shard: str  # its URL, for errors
    gone: Gone
    image_member: str | None = None
    _sample: Sample | None = None
    _seen: set[str] = field(default_factory=set)

    def pass_over(self, info: tarfile.TarInfo, tar: TarStream) -> None:
        """A member that leaves, at which the tar stands.

        Raises:
            ShardError: the sample before it is not what was compared.
        """
        split = split_name(info.name)
        if split is None or self.gone.get(split[0]) is None or not carries_data(info):
            return
        key, suffix = split
        if self._sample is None or self._sample.key != key:
            self._compare()
            self._sample = Sample(key)
        member = Member(info, suffix)
        if member.is_image:
            member.data = _digest(tar, info)
        self._sample.members.append(member)

    def look(self, sample: Sample) -> None:
        """A whole sample that leaves, with the data of its images.

        Raises:
            ShardError: it is not what was compared.
        """
        if self.gone.get(sample.key) is None:
            return
        for member in sample.members:
            member.data = None if member.data is None else hashlib.sha256(member.data).digest()
        self._sample = sample
        self._compare()

    def end(self) -> None:
        """The shard has been read to its end.

        Raises:
            ShardError: a sample that was to leave is not there, or not what was compared.
        """
        self._compare()
        missing = [key for key, digest in self.gone.items() if digest is not None and key not in self._seen]
        if missing:
            raise changed(self.shard, missing[0])

    def _compare(self) -> None:
        if self._sample is None:
            return
        image = choose_image(self._sample, self.image_member)
        if isinstance(image, str) or image.data is None or image.data.hex() != self.gone[self._sample.key]:
            raise changed(self.shard, self._sample.key)
        self._seen.add(self._sample.key)
        self._sample = None


def changed(place: str, key: str) -> ShardError:
    """What to say where the image of a sample that was to leave is another one by now."""
    return ShardError(
        f"{place}: the image of '{key}' is not the one that was compared: the input has changed since. Nothing was "
        "published; run again."
    )


def _digest(tar: TarStream, info: tarfile.TarInfo) -> bytes | None:
    sink = _Sink()
    try:
        tar.copy_to(cast(IO[bytes], sink), info)
    except (DamagedTarError, ValueError):
        return None
    return sink.sha256.digest()


class _Sink:
    """A file that keeps nothing of what is written to it but its digest and its length."""

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()
        self._n_bytes = 0

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        self._n_bytes += len(data)
        return len(data)

    def tell(self) -> int:
        return self._n_bytes
