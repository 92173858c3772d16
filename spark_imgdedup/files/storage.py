"""Files anywhere fsspec reaches: list, open, delete. No Spark. Writing them: `files.writing`.

A plain path is a local (or mounted) one, as for Python; give hdfs://, s3://, abfss:// or gs:// in full.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import IO, Any, NamedTuple, TypeVar, cast

from fsspec import AbstractFileSystem

from spark_imgdedup.errors import ConfigError
from spark_imgdedup.files.filesystems import REQUESTS_AT_ONCE, filesystem, is_object_store
from spark_imgdedup.files.filesystems import Options as Options
from spark_imgdedup.files.walk import FILE, expand, has_wildcard, is_hidden, is_local, look_up, walk

# Bytes per request to an object store: fewer, larger reads hide its latency.
READ_BLOCK_BYTES = 8 * 2**20
# Names in one request of S3's DeleteObjects.
DELETED_AT_ONCE = 1000


T = TypeVar("T")


@dataclass(frozen=True)
class FileInfo:
    """A file that was found."""

    url: str
    n_bytes: int
    stamp: str  # changes when the file does: modification time or ETag


class Found(NamedTuple):
    """What `find_files` gives."""

    file: FileInfo
    below: (
        str  # its path below the folder given, or below the part of a pattern without wildcards; "" if it is the path
    )
    kind: str  # of `files.walk`


def join(base: str, *parts: str) -> str:
    """The URL of something below `base`."""
    return posixpath.join(base, *parts)


def canonical(url: str) -> str:
    """One spelling for one place: absolute, no trailing slash, file:// left out."""
    fs, path = filesystem(url)
    return cast(str, fs._strip_protocol(path)) if is_local(fs) else fs.unstrip_protocol(path).rstrip("/")


def base_name(url: str) -> str:
    """The last part of a URL."""
    return posixpath.basename(url)


def is_within(inner: str, outer: str) -> bool:
    """True where `inner` is `outer` or lies below it; symbolic links are followed."""
    inner, outer = (os.path.realpath(url) if "://" not in url else url for url in (canonical(inner), canonical(outer)))
    return inner == outer or inner.startswith(outer.rstrip("/") + "/")


def is_glob(url: str, options: Options | None = None) -> bool:
    """True where the URL holds a wildcard and there is no file or folder of that very name.

    Without `options` a store is not asked, and a wildcard in its URLs is one.
    """
    if not has_wildcard(url):
        return False
    return not exists(url, options) if "://" not in url or options is not None else True


def fixed_part(pattern: str) -> str:
    """The folder below which everything lies that a pattern may match; a URL without a wildcard is its own."""
    parts = pattern.split("/")
    for place, part in enumerate(parts):
        if has_wildcard(part) and is_glob("/".join(parts[: place + 1])):
            return "/".join(parts[:place]) or ("/" if pattern.startswith("/") else ".")
    return pattern


def spark_path(url: str) -> str:
    """The URL as Spark's JVM spells it."""
    return canonical(url).replace("s3://", "s3a://", 1)


def find_files(url: str, options: Options | None = None) -> Iterator[Found]:
    """All files that a folder (with all below it), a file or a pattern names; none where there is nothing.

    What is there under the very name is no pattern, whatever characters it holds. A folder that a pattern matches is
    read like one that is given. Symbolic links are followed. A file may come twice, where a pattern matches its folder.

    Raises:
        ConfigError: a folder cannot be listed.
    """
    fs, path = filesystem(url, options)
    base, at_once = path.rstrip("/"), is_object_store(fs)
    tops: Iterable[str] = (path,)
    if has_wildcard(path) and look_up(fs, path) is None:
        base = fixed_part(path).rstrip("/")
        tops = fs.glob(path) if at_once else expand(fs, path)
    for top in tops:
        for name, info, kind in walk(fs, top, in_one_request=at_once):
            spelled = name if is_local(fs) else fs.unstrip_protocol(name).rstrip("/")
            yield Found(FileInfo(spelled, int(info["size"]), _stamp(info)), name[len(base) :].lstrip("/"), kind)


def list_files(url: str, suffix: str | tuple[str, ...], options: Options | None = None) -> list[FileInfo]:
    """The files that a folder (recursively), a glob or a file's own URL names, sorted by URL.

    Hidden files, and folders that begin with "." or "_" (where Spark and its like keep their own), are left out: for
    tables and files of our own. `files.listing` counts what is left out of a dataset.

    Raises:
        ConfigError: a folder cannot be listed, or such a file is a link that leads nowhere, a pipe or a device.
    """
    found = {}
    for file, below, kind in find_files(url, options):
        if file.url.lower().endswith(suffix) and not is_hidden(below):
            require_file(file.url, kind)
            found[file.url] = file
    return sorted(found.values(), key=lambda file: file.url)


def require_file(url: str, kind: str) -> None:
    """Refuse what only looks like a file: opening a link that leads nowhere fails, and a pipe waits for ever.

    Raises:
        ConfigError: with its name.
    """
    if kind != FILE:
        raise ConfigError(f"{url!r} is no file but a {kind}. Remove it, or leave it out of the paths.")


def folder_names(url: str, options: Options | None = None) -> list[str]:
    """Names of the folders directly below a folder; none where there is no such folder."""
    fs, path = filesystem(url, options)
    found = fs.ls(path, detail=True) if fs.isdir(path) else []
    names = [info["name"].rstrip("/") for info in found if fs.isdir(info["name"])]
    return sorted(posixpath.basename(name) for name in names if name != path.rstrip("/"))


def names_in(url: str, options: Options | None = None) -> list[str]:
    """Names of the files and folders directly in a folder, hidden ones too, sorted; none where there is no folder."""
    fs, path = filesystem(url, options)
    path = path.rstrip("/")
    found = fs.ls(path, detail=False) if fs.isdir(path) else []
    return sorted({posixpath.basename(name.rstrip("/")) for name in found if name.rstrip("/") != path})


def open_read(url: str, options: Options | None = None) -> IO[bytes]:
    """A file opened for reading from front to back."""
    fs, path = filesystem(url, options)
    if is_local(fs):
        return open(path, "rb", buffering=2**20)
    return cast(IO[bytes], fs.open(path, "rb", block_size=READ_BLOCK_BYTES, cache_type="readahead"))


def open_random(url: str, options: Options | None = None) -> Any:
    """A file opened for reads in any order, of the very bytes asked for; pyarrow takes it.

    Raises:
        FileNotFoundError: there is none.
    """
    fs, path = filesystem(url, options)
    if is_local(fs):
        import pyarrow as pa

        return pa.OSFile(path)  # read without Python's lock
    return fs.open(path, "rb", cache_type="none")


def delete(url: str, options: Options | None = None) -> None:
    """Remove a file or a folder with all below it; nothing happens where there is none."""
    fs, path = filesystem(url, options)
    if is_object_store(fs):
        _delete_objects(fs, fs.find(path))
    elif fs.exists(path):
        fs.rm(path, recursive=True)


def delete_below(folder: str, names: Collection[str], options: Options | None = None) -> None:
    """Remove files, or folders with all below, that lie directly in a folder; what is not there is passed over."""
    fs, path = filesystem(folder, options)
    if is_object_store(fs):
        found, wanted = fs.find(path) if names else [], frozenset(names)
        _delete_objects(fs, [name for name in found if name[len(path) :].strip("/").split("/")[0] in wanted])
        return
    for name in names:
        delete(join(folder, name), options)


def _delete_objects(fs: AbstractFileSystem, names: Sequence[str]) -> None:
    """Send many names a request. Alone go those that fsspec would change: with wildcards, and markers of folders."""
    odd = [name for name in names if has_wildcard(name) or name.endswith("/")]
    plain = sorted(set(names) - set(odd))
    chunks = [plain[start : start + DELETED_AT_ONCE] for start in range(0, len(plain), DELETED_AT_ONCE)]
    at_once([*(partial(fs.rm, chunk) for chunk in chunks), *(partial(fs.rm_file, name) for name in odd)])


def at_once(calls: Iterable[Callable[[], T]]) -> list[T]:
    """What calls give that wait for an object store, made several at a time.

    Raises:
        Exception: what the first of them that failed has raised, once none runs any more.
    """
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        waiting = [pool.submit(call) for call in calls]
        try:
            return [each.result() for each in waiting]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def delete_file(url: str, options: Options | None = None) -> None:
    """Remove a file; nothing happens where there is none, or a folder."""
    fs, path = filesystem(url, options)
    if fs.isfile(path):
        fs.rm_file(path)


def delete_files(urls: Sequence[str], options: Options | None = None) -> None:
    """Remove files by name, as `delete_file` does; of an object store many at a time, each with an answer of its own.

    S3's one request for many does not tell, through s3fs, of those that it refused.
    """
    fs, _ = filesystem(urls[0] if urls else ".", options)
    if is_object_store(fs):
        at_once([partial(fs.rm_file, filesystem(url, options)[1]) for url in urls])
        return
    for url in urls:
        delete_file(url, options)


def look_at(url: str, options: Options | None = None) -> FileInfo | None:
    """What a listing would say of a file now; None where there is none."""
    fs, path = filesystem(url, options)
    try:
        info = fs.info(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return FileInfo(url, int(info["size"]), _stamp(info)) if info["type"] == "file" else None


def exists(url: str, options: Options | None = None) -> bool:
    """True where there is a file or folder."""
    fs, path = filesystem(url, options)
    return bool(fs.exists(path))


def is_file(url: str, options: Options | None = None) -> bool:
    """True where there is a file, or a link to one."""
    fs, path = filesystem(url, options)
    return bool(fs.isfile(path))


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


def _stamp(info: Mapping[str, Any]) -> str:
    return str(info.get("ETag") or info.get("mtime") or info.get("LastModified") or info.get("last_modified") or "")
