"""WebDataset tars: find them, stream their samples, tell which image a sample holds. No Spark.

A shard is never held whole: members come one by one, and only the bytes asked for are read.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from spark_imgdedup.config import InputConfig
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.files import storage

IMAGE_SUFFIXES = frozenset({"jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"})

# WebDataset's own rule: the key ends at the first dot of the base name; folders may hold dots. A hidden file
# (".DS_Store", "._a.jpg") belongs to no sample.
_MEMBER_NAME = re.compile(r"^((?:.*/|)[^./][^./]*)[.]([^/]*)$", re.DOTALL)
# Members such as "__meta__" belong to no sample.
_META_NAME = re.compile(r"(^|/)__[^/]*__($|/)")


@dataclass(frozen=True)
class Shard:
    """One tar of the dataset."""

    url: str
    name: str  # path below input.root, without .tar: the first part of each image_id
    n_bytes: int
    stamp: str


@dataclass
class Member:
    """One file of a sample; `data` is there only if it was asked for and is not too large."""

    info: tarfile.TarInfo
    suffix: str  # what follows the key, e.g. "jpg" or "seg.png", as spelled in the tar
    data: bytes | None = None

    @property
    def is_image(self) -> bool:
        """True for the extensions that hold images, in any case."""
        return self.suffix.rpartition(".")[2].lower() in IMAGE_SUFFIXES


@dataclass
class Sample:
    """Consecutive members of a shard with one key."""

    key: str
    members: list[Member] = field(default_factory=list)


class DamagedTarError(Exception):
    """A tar ends early or holds something that is no tar; what came before was read."""


class _StrictTarInfo(tarfile.TarInfo):
    """Headers that raise where tarfile would end the archive in silence."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> tarfile.TarInfo:  # type: ignore[override]
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # the end-of-archive mark: a whole tar
            raise
        except tarfile.EmptyHeaderError:  # type: ignore[attr-defined]
            raise DamagedTarError("ends without its end-of-archive mark, so it may have been cut") from None
        except tarfile.HeaderError as error:
            raise DamagedTarError(f"{error} at byte {tarfile_.offset}") from None


class TarStream:
    """The members of a tar, front to back, without tarfile's habit of remembering each one."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        # Seeking skips unwanted bytes where the storage can; "r|" reads through them.
        self._mode = "r:" if stream.seekable() else "r|"
        self._tar: Any = None

    def __iter__(self) -> Iterator[tarfile.TarInfo]:
        try:
            self._tar = tarfile.TarFile.open(fileobj=self._stream, mode=self._mode, tarinfo=_StrictTarInfo)  # type: ignore[call-overload]  # the stream is the caller's to close
            while (info := self._tar.next()) is not None:
                yield info
                self._tar.members.clear()  # else memory grows with the tar
        except (tarfile.TarError, EOFError) as error:
            raise DamagedTarError(str(error)) from None

    def read(self, info: tarfile.TarInfo) -> bytes:
        """The bytes of the member that the iteration stands at.

        Raises:
            DamagedTarError: the tar ends inside of it.
        """
        file = self.open(info)
        try:
            data = file.read()
        except tarfile.ReadError as error:
            raise DamagedTarError(f"{error} in '{info.name}'") from None
        if len(data) != info.size:  # tarfile's stream mode gives short data without a word
            raise DamagedTarError(f"unexpected end of data in '{info.name}' after {len(data)} of {info.size} bytes")
        return data

    def open(self, info: tarfile.TarInfo) -> IO[bytes]:
        """The member that the iteration stands at, as a file."""
        file: IO[bytes] | None = self._tar.extractfile(info) if self._tar else None
        if file is None:
            raise ValueError(f"'{info.name}' is not a regular file of this tar")
        return file


def list_shards(config: InputConfig) -> list[Shard]:
    """The tars that input.path names, sorted by name.

    Raises:
        ConfigError: nothing is found, a list or glob has no input.root, or a tar lies outside of it.
    """
    root = input_root(config)
    found = {f.url: f for path in config.paths for f in storage.list_files(path, ".tar", config.storage_options)}
    if not found:
        raise ConfigError(
            f"input.path: no .tar found in {', '.join(config.paths)}. Check the path, or set input.format."
        )
    shards = [Shard(f.url, name_below(root, f.url)[: -len(".tar")], f.n_bytes, f.stamp) for f in found.values()]
    return sorted(shards, key=lambda shard: shard.name)


def input_root(config: InputConfig) -> str:
    """The folder below which names count: input.root, or the one folder given."""
    if config.root is not None:
        return storage.canonical(config.root)
    if len(config.paths) > 1 or any(c in config.paths[0] for c in "*?["):
        raise ConfigError(
            "input.root is needed for a list or a glob: ids are paths below it, and must not depend on the list."
        )
    only = storage.canonical(config.paths[0])
    return only.rpartition("/")[0] if only.lower().endswith(".tar") else only


def name_below(root: str, url: str) -> str:
    """The path of `url` below `root`.

    Raises:
        ConfigError: it does not lie below.
    """
    if not url.startswith(root.rstrip("/") + "/"):
        raise ConfigError(f"input.root: {url} does not lie below {root}. Name a folder that holds every input.")
    return url[len(root.rstrip("/")) + 1 :]


def split_name(name: str) -> tuple[str, str] | None:
    """(key, suffix) of a member's name as WebDataset splits it, or None for a member of no sample."""
    match = None if _META_NAME.search(name) else _MEMBER_NAME.match(name)
    return (match[1], match[2]) if match else None


def iter_samples(
    tar: TarStream, wanted: Callable[[Member], bool] = lambda _: False, *, max_bytes: int | None = None
) -> Iterator[Sample]:
    """The samples of a shard, each with the data of its `wanted` members of at most `max_bytes`.

    A member whose bytes are cut off keeps `data=None`; the sample it belongs to is still given.

    Raises:
        DamagedTarError: after the last sample that could be read.
    """
    sample: Sample | None = None
    damage: DamagedTarError | None = None
    try:
        for info in tar:
            split = split_name(info.name) if info.isreg() else None
            if split is None:
                continue
            key, suffix = split
            if sample is None or sample.key != key:
                if sample is not None:
                    yield sample
                sample = Sample(key)
            member = Member(info, suffix)
            sample.members.append(member)
            if wanted(member) and (max_bytes is None or info.size <= max_bytes):
                member.data = tar.read(info)
    except DamagedTarError as error:
        damage = error
    if sample is not None:
        yield sample
    if damage is not None:
        raise damage


def choose_image(sample: Sample, image_member: str | None = None) -> Member | str:
    """The image of a sample, or why there is none: no_image or several_images."""
    images = [member for member in sample.members if member.is_image]
    if len(images) > 1 and image_member is not None:
        images = [member for member in images if member.suffix.lower() == image_member.lower().lstrip(".")]
    if len(images) == 1:
        return images[0]
    return "several_images" if images else "no_image"


def sample_id(shard_name: str, sample: Sample, id_field: str | None = None) -> tuple[str, str | None]:
    """The image_id (shard path and key, or a field of the sample's json) and None, or why the field gave none."""
    own = f"{shard_name}/{sample.key}"
    if id_field is None:
        return own, None
    sidecar = next((m for m in sample.members if m.suffix.lower() == "json"), None)
    value = _json_field(sidecar.data, id_field) if sidecar and sidecar.data is not None else None
    return (own, "no_id") if value is None else (value, None)


def _json_field(data: bytes, name: str) -> str | None:
    try:
        value = json.loads(data)[name]
    except (ValueError, KeyError, TypeError):
        return None
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None


def total_bytes(shards: Iterable[Shard]) -> int:
    """Size of the shards together, in bytes."""
    return sum(shard.n_bytes for shard in shards)
