"""Writing files anywhere fsspec reaches, so that a name is given to nothing but a whole file. No Spark."""

from __future__ import annotations

import errno
import os
import posixpath
import re
import uuid
from contextlib import suppress
from typing import IO, cast

from fsspec.spec import AbstractBufferedFile

from spark_imgdedup.files import storage
from spark_imgdedup.files.filesystems import filesystem, is_object_store
from spark_imgdedup.files.walk import is_local

# As `unfinished` names files.
_UNFINISHED = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")


def open_write(url: str, options: storage.Options | None = None, *, in_folder: bool = False) -> IO[bytes]:
    """A new file; its folder is made. On an object store it is visible only once it is closed.

    Not for a `with` of its own: that closes the file after an error too, and half of it becomes visible. See `discard`.

    Args:
        url: Its place.
        options: Of the storage.
        in_folder: The folder must be there (on an object store it always is): a task that Spark has given up must not
            bring a folder back that was taken away since.

    Raises:
        FileNotFoundError: the folder is not there.
    """
    fs, path = filesystem(url, options)
    if not in_folder:
        make_folder(posixpath.dirname(url), options)
    return cast(IO[bytes], fs.open(path, "wb"))


def unfinished(url: str) -> str:
    """Another place in a file's folder, for this attempt at writing it; hidden, so what a crash leaves is no file."""
    folder, name = posixpath.split(url)
    return storage.join(folder, f".{name}.{uuid.uuid4().hex}.tmp")


def make_folder(url: str, options: storage.Options | None = None) -> None:
    """Make a folder where it is missing, and those above it."""
    fs, path = filesystem(url, options)
    if not is_object_store(fs):  # there, s3fs would make the bucket
        fs.makedirs(path, exist_ok=True)


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


def finish(file: IO[bytes]) -> None:
    """Close a file that `open_write` opened, once its bytes are on the disk.

    Without that a power loss after a rename leaves an empty file under the final name.
    """
    try:
        number = file.fileno()
    except (AttributeError, OSError):  # of a store, which answers when it has stored
        number = None
    if number is not None:
        file.flush()
        os.fsync(number)
    file.close()


def sync_folder(url: str, options: storage.Options | None = None) -> None:
    """Put the names in a local folder on the disk: what was renamed there before stays so after a power loss."""
    fs, path = filesystem(url, options)
    if is_local(fs):
        _sync(path)


def sync_all(url: str, options: storage.Options | None = None) -> None:
    """Put all that was written to local disks on them: of a thousand small files at once, not one after the other."""
    fs, _ = filesystem(url, options)
    if is_local(fs):
        os.sync()


def move(source: str, target: str, options: storage.Options | None = None) -> None:
    """Give a file its final name, over an older one; atomic where the storage can rename.

    An object store copies and then deletes: a reader sees the old file or the new one, and for a moment both names.
    """
    fs, path = filesystem(source, options)
    _, final = filesystem(target, options)
    if is_object_store(fs):
        copy(source, target, options)
        fs.rm_file(path)
        return
    fs.makedirs(posixpath.dirname(final), exist_ok=True)
    if is_local(fs):
        os.replace(path, final)
    else:
        fs.mv(path, final)


def copy(source: str, target: str, options: storage.Options | None = None) -> None:
    """Give a file a second name within one store, which copies it by itself; a reader sees all of it or nothing."""
    fs, path = filesystem(source, options)
    fs.cp_file(path, filesystem(target, options)[1])


def write_bytes(url: str, data: bytes, options: storage.Options | None = None) -> None:
    """A small file: a reader sees all of it or nothing, after a power loss too.

    It is renamed once it is on the disk, or is one request on a store.
    """
    fs, path = filesystem(url, options)
    if is_object_store(fs):
        fs.pipe_file(path, data)
        return
    folder, temporary = posixpath.dirname(url), unfinished(url)
    try:
        file = open_write(temporary, options)
        try:
            file.write(data)
            finish(file)
        finally:
            discard(file)
        move(temporary, url, options)
        sync_folder(folder or ".", options)
    except OSError:
        storage.delete(temporary, options)
        raise


def clear_unfinished(url: str, options: storage.Options | None = None) -> None:
    """Take away what `write_bytes` left of this file where it was killed."""
    folder, name = posixpath.split(url)
    _clear(folder or ".", re.compile(rf"\.{re.escape(name)}\.(.*\.)?tmp"), options)


def clear_unfinished_in(folder: str, options: storage.Options | None = None) -> None:
    """Take away what `write_bytes` left directly below a folder where it was killed, whatever file that was to be."""
    _clear(folder, _UNFINISHED, options)


def _clear(folder: str, names: re.Pattern[str], options: storage.Options | None) -> None:
    fs, _ = filesystem(folder, options)
    if is_object_store(fs):
        return
    for name in storage.names_in(folder, options):
        if names.fullmatch(name):
            storage.delete_file(storage.join(folder, name), options)


def forget(url: str, options: storage.Options | None = None) -> None:
    """Take a file away for good: after a power loss it is not there again. Nothing happens where there is none."""
    storage.delete(url, options)
    fs, path = filesystem(posixpath.dirname(url) or ".", options)
    if is_local(fs) and os.path.isdir(path):
        sync_folder(path, options)


def sync_below(url: str, options: storage.Options | None = None) -> None:
    """Put on the disk what others, such as Spark's JVM, have written below a local folder, names and bytes."""
    fs, path = filesystem(url, options)
    if not is_local(fs):
        return
    for folder, _, names in os.walk(path):
        for name in names:
            with suppress(FileNotFoundError, PermissionError):  # a link that leads nowhere, another user's file
                _sync(posixpath.join(folder, name))
        _sync(folder)


def _sync(path: str) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:  # a mount that knows no such thing
            raise
    finally:
        os.close(number)
