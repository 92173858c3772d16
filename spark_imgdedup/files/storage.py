"""Files anywhere fsspec reaches: list, open, publish. No Spark.

A plain path is a local (or mounted) one, as for Python; give hdfs://, s3://, abfss:// or gs:// in full.
"""

from __future__ import annotations

import os
import posixpath
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any, cast

import fsspec
from fsspec import AbstractFileSystem
from fsspec.spec import AbstractBufferedFile

from spark_imgdedup.errors import ConfigError

# Bytes per request to an object store: fewer, larger reads hide its latency.
READ_BLOCK_BYTES = 8 * 2**20

# fsspec's names of storage where a file appears whole, by one request, and a folder is only a part of a name.
OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl"})
# The extra of this package, or the library, that a kind of URL needs.
_INSTALL = {"s3": "'spark-imgdedup[s3]'", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "abfss": "adlfs"}

Options = Mapping[str, Any]


@dataclass(frozen=True)
class FileInfo:
    """A file found by `list_files`."""

    url: str
    n_bytes: int
    stamp: str  # changes when the file does: modification time or ETag


def filesystem(url: str, options: Options | None = None) -> tuple[AbstractFileSystem, str]:
    """The file system of a URL, and the URL's path on it. s3a:// is Hadoop's name for s3://.

    Raises:
        ConfigError: the library for such URLs is not installed.
    """
    url = url.replace("s3a://", "s3://", 1)
    scheme = url.partition("://")[0] if "://" in url else "file"
    # A listing that is remembered would not show what Spark's JVM, or a worker, has written since.
    fresh = {"use_listings_cache": False} if scheme in OBJECT_STORES else {}
    try:
        fs, path = fsspec.core.url_to_fs(url, **{**(options or {}), **fresh})
    except ImportError as error:
        remedy = f"Run `pip install {_INSTALL[scheme]}`" if scheme in _INSTALL else str(error)
        raise ConfigError(
            f"{url}: the library for {scheme}:// is not installed. {remedy}, here and on workers."
        ) from None
    return fs, str(path)


def join(base: str, *parts: str) -> str:
    """The URL of something below `base`."""
    return posixpath.join(base, *parts)


def canonical(url: str) -> str:
    """One spelling for one place: absolute, no trailing slash, file:// left out."""
    fs, path = filesystem(url)
    return cast(str, fs._strip_protocol(path)) if _is_local(fs) else fs.unstrip_protocol(path).rstrip("/")


def base_name(url: str) -> str:
    """The last part of a URL."""
    return posixpath.basename(url)


def is_within(inner: str, outer: str) -> bool:
    """True where `inner` is `outer` or lies below it; symbolic links are followed."""
    inner, outer = (os.path.realpath(url) if "://" not in url else url for url in (canonical(inner), canonical(outer)))
    return inner == outer or inner.startswith(outer.rstrip("/") + "/")


def is_glob(url: str) -> bool:
    """True where the URL holds a wildcard."""
    return any(character in url for character in "*?[")


def fixed_part(pattern: str) -> str:
    """The folder below which everything lies that a pattern may match; a URL without a wildcard is its own."""
    parts = pattern.split("/")
    wild = next((place for place, part in enumerate(parts) if is_glob(part)), len(parts))
    return "/".join(parts[:wild]) or ("/" if pattern.startswith("/") else ".")


def spark_path(url: str) -> str:
    """The URL as Spark's JVM spells it."""
    return canonical(url).replace("s3://", "s3a://", 1)


def list_files(url: str, suffix: str, options: Options | None = None) -> list[FileInfo]:
    """The files that a folder (recursively), a glob or a file's own URL names, sorted by URL.

    Hidden files, and folders that begin with "." or "_" (where Spark and its like keep their own), are left out.
    Symbolic links are followed.
    """
    fs, path = filesystem(url, options)
    base = path.rstrip("/")
    if fs.isfile(path):
        found = {path: fs.info(path)}
    elif is_glob(path) and not fs.exists(path):
        base = fixed_part(path)
        found = dict(_follow(fs, fs.glob(path, detail=True)))
    else:
        found = dict(_follow(fs, fs.find(path, detail=True)))
    files = [
        FileInfo(canonical(fs.unstrip_protocol(name)), int(info["size"]), _stamp(info))
        for name, info in found.items()
        # Hadoop marks a folder by an empty object whose name ends in a slash.
        if name.lower().endswith(suffix) and not name.endswith("/") and not _is_hidden(name[len(base) :])
    ]
    return sorted(files, key=lambda file: file.url)


def folder_names(url: str, options: Options | None = None) -> list[str]:
    """Names of the folders directly below a folder; none where there is no such folder."""
    fs, path = filesystem(url, options)
    found = fs.ls(path, detail=True) if fs.isdir(path) else []
    names = [info["name"].rstrip("/") for info in found if fs.isdir(info["name"])]
    return sorted(posixpath.basename(name) for name in names if name != path.rstrip("/"))


def open_read(url: str, options: Options | None = None) -> IO[bytes]:
    """A file opened for reading from front to back."""
    fs, path = filesystem(url, options)
    if _is_local(fs):
        return open(path, "rb", buffering=2**20)
    return cast(IO[bytes], fs.open(path, "rb", block_size=READ_BLOCK_BYTES, cache_type="readahead"))


def open_random(url: str, options: Options | None = None) -> Any:
    """A file opened for reads in any order, of the very bytes asked for; pyarrow takes it.

    Raises:
        FileNotFoundError: there is none.
    """
    fs, path = filesystem(url, options)
    if _is_local(fs):
        import pyarrow as pa

        return pa.OSFile(path)  # read without Python's lock
    return fs.open(path, "rb", cache_type="none")


def open_write(url: str, options: Options | None = None) -> IO[bytes]:
    """A new file; its folder is made. On an object store it is visible only once it is closed.

    Not for a `with` of its own: that closes the file after an error too, and half of it becomes visible. See `discard`.
    """
    fs, path = filesystem(url, options)
    if not is_object_store(fs):  # there, s3fs would make the bucket
        fs.makedirs(posixpath.dirname(path), exist_ok=True)
    return cast(IO[bytes], fs.open(path, "wb"))


def discard(file: IO[bytes]) -> None:
    """Give up a file that `open_write` opened: on an object store nothing of it becomes visible, and no part stays.

    Elsewhere it is closed as it is. Nothing happens to a file that is closed already.
    """
    if file.closed:
        return
    if isinstance(file, AbstractBufferedFile):
        try:
            file.discard()
        finally:
            file.closed = True  # else closing it, which its destructor does, would write what it holds
    else:
        file.close()


def move(source: str, target: str, options: Options | None = None) -> None:
    """Give a file its final name, over an older one; atomic where the storage can rename.

    An object store copies and then deletes: a reader sees the old file or the new one, and for a moment both names.
    """
    fs, path = filesystem(source, options)
    _, final = filesystem(target, options)
    if is_object_store(fs):
        fs.cp_file(path, final)
        fs.rm_file(path)
        return
    fs.makedirs(posixpath.dirname(final), exist_ok=True)
    if _is_local(fs):
        os.replace(path, final)
    else:
        fs.mv(path, final)


def delete(url: str, options: Options | None = None) -> None:
    """Remove a file or a folder with all below it; nothing happens where there is none."""
    fs, path = filesystem(url, options)
    if fs.exists(path):
        fs.rm(path, recursive=True)


def exists(url: str, options: Options | None = None) -> bool:
    """True where there is a file or folder."""
    fs, path = filesystem(url, options)
    return bool(fs.exists(path))


def size(url: str, options: Options | None = None) -> int:
    """Size of a file, in bytes."""
    fs, path = filesystem(url, options)
    return int(fs.size(path))


def read_text(url: str, options: Options | None = None) -> str:
    """A small text file, whole.

    Raises:
        FileNotFoundError: there is none.
    """
    with open_read(url, options) as file:
        return file.read().decode()


def write_bytes(url: str, data: bytes, options: Options | None = None) -> None:
    """A small file: a reader sees all of it or nothing. It is renamed once it is written, or one request on a store."""
    fs, path = filesystem(url, options)
    if is_object_store(fs):
        fs.pipe_file(path, data)
        return
    folder, name = posixpath.split(url)
    temporary = join(folder, f".{name}.{uuid.uuid4().hex}.tmp")  # hidden: what a crash leaves is never listed
    with open_write(temporary, options) as file:
        file.write(data)
    move(temporary, url, options)


def is_object_store(fs: AbstractFileSystem) -> bool:
    """True where a file appears whole, by one request, and a folder is only a part of a name."""
    return not OBJECT_STORES.isdisjoint((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)


def _is_local(fs: AbstractFileSystem) -> bool:
    return "file" in (fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,))


def _follow(
    fs: AbstractFileSystem, found: Mapping[str, Mapping[str, Any]], above: frozenset[str] = frozenset()
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The files among what a listing gave, with those behind its links; a link back to a folder `above` ends there."""
    for name, info in found.items():
        if info.get("islink") and fs.isdir(name):
            folder, parent = os.path.realpath(name), os.path.realpath(posixpath.dirname(name))
            if folder not in above and not f"{parent}/".startswith(f"{folder}/"):
                yield from _follow(fs, fs.find(name, detail=True), above | {folder})
        elif info.get("islink"):
            yield name, fs.info(name)
        elif info["type"] == "file":
            yield name, info


def _is_hidden(relative: str) -> bool:
    *folders, name = relative.split("/")
    return name.startswith(".") or any(folder.startswith((".", "_")) for folder in folders)


def _stamp(info: Mapping[str, Any]) -> str:
    return str(info.get("ETag") or info.get("mtime") or info.get("LastModified") or info.get("last_modified") or "")
