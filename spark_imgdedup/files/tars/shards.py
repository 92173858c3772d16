"""WebDataset tars: find them, stream their samples, tell which image a sample holds. No Spark.

A shard is never held whole: members come one by one, and only the bytes asked for are read.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from spark_imgdedup.config import InputConfig
from spark_imgdedup.config.values import JsonType
from spark_imgdedup.counts import not_read_in_words
from spark_imgdedup.errors import ConfigError, ShardError, printable
from spark_imgdedup.files import storage
from spark_imgdedup.files.listing import Listing, list_input
from spark_imgdedup.files.tars.member_names import escaped
from spark_imgdedup.files.tars.sidecar import JsonValue, read_fields
from spark_imgdedup.files.tars.strict_headers import (
    MAX_HOLE_BYTES,
    DamagedTarError,
    carries_data,
    has_too_many_holes,
    stored_bytes,
)
from spark_imgdedup.files.tars.tar_stream import TarStream
from spark_imgdedup.formats import IMAGE_SUFFIXES, TAR_SUFFIXES

_TAR_ENDINGS = tuple(f".{suffix}" for suffix in TAR_SUFFIXES)

# WebDataset's own rule: the key ends at the first dot of the base name; folders may hold dots. A hidden file
# (".DS_Store", "._a.jpg") belongs to no sample.
_MEMBER_NAME = re.compile(r"^((?:.*/|)[^./][^./]*)[.]([^/]*)$", re.DOTALL)
# Members such as "__meta__", and all below a folder of such a name, belong to no sample.
_META_NAME = re.compile(r"__[^/]*__($|/)")


@dataclass(frozen=True)
class Shard:
    """One tar of the dataset."""

    url: str
    name: str  # path below input.root, without .tar or .tar.gz, as text: the first part of each image_id
    n_bytes: int  # as they are stored, compressed or not
    stamp: str
    reorder: bool = False  # gather the members of each sample, see `gather`


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

    @property
    def is_sidecar(self) -> bool:
        """True for <key>.json, in any case."""
        return self.suffix.lower() == "json"

    def excess(self, max_bytes: int | None) -> str | None:
        """Why its bytes are not read: there are more than `max_bytes`, or most of them are holes; else None."""
        if max_bytes is not None and self.info.size > max_bytes:
            return f"{self.info.size} bytes, input.max_image_bytes is {max_bytes}"
        if has_too_many_holes(self.info):
            return (
                f"a sparse file of {self.info.size} bytes, of which the tar holds {stored_bytes(self.info)}; no more "
                f"than {MAX_HOLE_BYTES} bytes of holes are filled"
            )
        return None


@dataclass
class Sample:
    """Consecutive members of a shard with one key."""

    key: str
    members: list[Member] = field(default_factory=list)

    def data_by_suffix(self) -> dict[str, bytes]:
        """The members that were read, in their order; of two with one suffix the second gets a "+"."""
        found: dict[str, bytes] = {}
        for member in self.members:
            suffix = member.suffix
            while suffix in found:
                suffix += "+"
            if member.data is not None:
                found[suffix] = member.data
        return found


def list_shards(config: InputConfig) -> list[Shard]:
    """The tars that input.path names, compressed ones too, sorted by name.

    Raises:
        ConfigError: nothing is found, a list or glob has no input.root, or a tar lies outside of it.
        ShardError: two tars have one name.
    """
    root = input_root(config)
    return shards_of(list_tars(config), root, config)


def shards_of(found: Listing, root: str, config: InputConfig) -> list[Shard]:
    """As `list_shards`, of what `list_tars` and `input_root` gave."""
    if not found.files:
        raise ConfigError(
            f"input.path: no {'.tar, image or table' if config.given_format == 'auto' else '.tar'} found in "
            f"{', '.join(config.paths)}{not_read_in_words(found.not_read)}. Check the path, or set input.format."
        )
    shards = [Shard(f.url, _shard_name(root, f.url), f.n_bytes, f.stamp, config.reorder) for f in found.files]
    shards.sort(key=lambda shard: shard.name)
    for one, other in pairwise(shards):
        if one.name == other.name:  # "a.tar" beside "a.TAR" or "a.tar.gz"
            raise ShardError(f"{one.url} and {other.url} would both be shard '{one.name}'. Rename one of them.")
    return shards


def _shard_name(root: str, url: str) -> str:
    name = name_below(root, url)
    return escaped(name[: -max(len(ending) for ending in _TAR_ENDINGS if name.lower().endswith(ending))])


def list_tars(config: InputConfig) -> Listing:
    """The files of the tars that input.path names, and how many other files there are, by reason.

    Raises:
        ConfigError: there is nothing at a path, a folder cannot be listed, or a tar is a pipe or a link to nothing.
    """
    return list_input(config.paths, TAR_SUFFIXES, config.storage_options)


def input_root(config: InputConfig) -> str:
    """The folder below which names count: input.root, or the one folder given, or that of the one file."""
    if config.root is not None:
        return storage.canonical(config.root)
    if not isinstance(config.path, str) or storage.is_glob(config.paths[0], config.storage_options):
        raise ConfigError(
            "input.root is needed for a list or a glob: ids are paths below it, and must not depend on the list."
        )
    only = storage.canonical(config.paths[0])
    if config.format == "images":
        return only.rpartition("/")[0] if storage.is_file(only, config.storage_options) else only
    return only.rpartition("/")[0] if only.lower().endswith(_TAR_ENDINGS) else only


def name_below(root: str, url: str) -> str:
    """The path of `url` below `root`.

    Raises:
        ConfigError: it does not lie below.
    """
    if not url.startswith(root.rstrip("/") + "/"):
        raise ConfigError(f"input.root: {url} does not lie below {root}. Name a folder that holds every input.")
    return url[len(root.rstrip("/")) + 1 :]


def split_name(name: str) -> tuple[str, str] | None:
    """(key, suffix) of a member's name as WebDataset splits it, or None for a member of no sample.

    Bytes that are not UTF-8 become escapes, see `escaped`: a key travels through tables, a name does not.
    """
    match = None if _META_NAME.match(name) else _MEMBER_NAME.match(name)
    if match is None:
        return None
    key, suffix = map(escaped, match.groups())
    return key, suffix


def iter_samples(
    tar: TarStream, wanted: Callable[[Member], bool] = lambda _: False, *, max_bytes: int | None = None
) -> Iterator[Sample]:
    """The samples of a shard, each with the data of its `wanted` members of at most `max_bytes`.

    A member whose bytes are cut off keeps `data=None`; the sample it belongs to is still given.

    Raises:
        DamagedTarError: after the last sample that could be read.
        ShardError: a sample goes on, or its key comes back, after others.
    """
    sample: Sample | None = None
    keys: set[str] = set()
    damage: DamagedTarError | None = None
    try:
        for info in tar:
            split = split_name(info.name) if carries_data(info) else None
            if split is None:
                continue
            key, suffix = split
            if sample is None or sample.key != key:
                if sample is not None:
                    yield sample
                if key in keys:
                    raise _scattered(tar.name, key, info)
                keys.add(key)
                sample = Sample(key)
            member = Member(info, suffix)
            sample.members.append(member)
            if wanted(member) and member.excess(max_bytes) is None:
                member.data = tar.read(info)
    except DamagedTarError as error:
        damage = error
    if sample is not None:
        yield sample
    if damage is not None:
        raise damage


def _scattered(shard: str, key: str, info: tarfile.TarInfo) -> ShardError:
    return ShardError(
        printable(
            f"{shard}: '{info.name[:200]}' at byte {info.offset} is of sample '{key[:200]}', which began before "
            "other samples did. The members of a sample must lie side by side, and two samples of a tar must not have "
            "one key. Make the tar anew with tar --sort=name, or set input.reorder=true, which gathers the members of "
            "each key."
        )
    )


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
    (value,) = sample_fields(sample, {id_field: "string"})
    return (own, "no_id") if value is None else (str(value), None)


def sample_fields(sample: Sample, fields: Mapping[str, JsonType]) -> tuple[JsonValue, ...]:
    """Fields of the sample's json as values of their types, see `read_fields`; None for each where it has no json."""
    sidecar = next((member for member in sample.members if member.is_sidecar), None)
    return read_fields(sidecar.data if sidecar else None, fields)


def total_bytes(shards: Iterable[Shard]) -> int:
    """Size of the shards together, in bytes."""
    return sum(shard.n_bytes for shard in shards)
