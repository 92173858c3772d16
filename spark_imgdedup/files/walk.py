"""All files below a folder or a pattern, on any file system of fsspec: links are followed, and nothing is passed over.

fsspec's own `find` and `glob` leave out a folder that may not be listed, without a word. No Spark.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from fsspec import AbstractFileSystem
from fsspec.utils import glob_translate

from spark_imgdedup.errors import ConfigError

FILE, DANGLING, SPECIAL = "file", "dangling link", "pipe, socket or device"

Info = Mapping[str, Any]


class Entry(NamedTuple):
    """What a walk finds: `kind` is FILE, DANGLING or SPECIAL."""

    name: str  # its path on the file system
    info: Info
    kind: str = FILE


def has_wildcard(text: str) -> bool:
    """True where it holds a character of a pattern; a file may be called so too."""
    return any(character in text for character in "*?[")


def is_local(fs: AbstractFileSystem) -> bool:
    """True for the file system of the machine, mounts included."""
    return "file" in (fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,))


def is_hidden(below: str) -> bool:
    """True for a file that begins with a dot, or lies in a folder that begins with a dot or an underscore."""
    *folders, name = below.split("/")
    return name.startswith(".") or in_hidden_folder(folders)


def in_hidden_folder(folders: Sequence[str]) -> bool:
    """True where one of these folders begins with a dot or an underscore, as Spark and its like call their own."""
    return any(folder.startswith((".", "_")) for folder in folders)


def tidy(path: str) -> str:
    """A local path without "." and "..". Above a link is what is above the folder it leads to, as for the system."""
    parts = path.split("/")
    if ".." not in parts:
        return os.path.normpath(path)
    last = len(parts) - parts[::-1].index("..")
    return os.path.normpath("/".join([os.path.realpath("/".join(parts[:last])), *parts[last:]]))


def walk(fs: AbstractFileSystem, path: str, *, in_one_request: bool) -> Iterator[Entry]:
    """The files at or below a path; none where there is nothing.

    A link to a folder is followed, unless it leads back to a folder above it.

    Args:
        fs: The file system.
        path: A file or a folder.
        in_one_request: Whether the store lists all below a name at once, as object stores do.

    Raises:
        ConfigError: a folder cannot be listed.
    """
    info = look_up(fs, path)
    if info is None:
        return
    if info["type"] != "directory" and not fs.isdir(path):
        yield _entry(fs, info)
    elif in_one_request:
        found = fs.find(path, detail=True)
        # Hadoop marks a folder by an empty object whose name ends in a slash.
        yield from (Entry(name, each) for name, each in found.items() if not name.endswith("/"))
    else:
        yield from _below(fs, path)


def expand(fs: AbstractFileSystem, pattern: str) -> Iterator[str]:
    """The paths that a pattern matches, folders too. A part of it that is there as it is spelled is no pattern.

    Raises:
        ConfigError: a folder on the way cannot be listed.
    """
    root = "/" if pattern.startswith("/") else ""
    return _expand(fs, root, [part for part in pattern.split("/") if part])


def look_up(fs: AbstractFileSystem, path: str) -> Info | None:
    """What the file system says of a path; None where there is nothing, not even a link that leads nowhere.

    Raises:
        ConfigError: it may not be looked at.
    """
    try:
        found: Info = fs.info(path)
        return found
    except (FileNotFoundError, NotADirectoryError):
        if is_local(fs) and os.path.lexists(path):
            return {"name": path, "type": "other", "size": 0, "islink": True}
        return None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be looked at ({_why(error)}). Give the right to, or leave it out.") from None


def _below(fs: AbstractFileSystem, top: str) -> Iterator[Entry]:
    folders: list[tuple[str, frozenset[str]]] = [(top, frozenset())]  # with the folders that links have led to
    while folders:
        folder, above = folders.pop()
        for info in _listed(fs, folder):
            name = info["name"].rstrip("/")
            if info["type"] == "directory":
                folders.append((name, above))
            elif info.get("islink") and fs.isdir(name):
                real, parent = os.path.realpath(name), os.path.realpath(folder)
                if real not in above and not f"{parent}/".startswith(f"{real.rstrip('/')}/"):
                    folders.append((name, above | {real}))
            else:
                yield _entry(fs, info)


def _listed(fs: AbstractFileSystem, folder: str) -> list[Info]:
    try:
        found: list[Info] = fs.ls(folder, detail=True)
    except FileNotFoundError:  # it went away while its neighbours were listed
        return []
    except OSError as error:
        raise ConfigError(
            f"{folder}: the folder cannot be listed ({_why(error)}), so what lies in it would be lost. Give the right "
            "to list it, or leave it out of the paths."
        ) from None
    return [info for info in found if info["name"].rstrip("/") != folder.rstrip("/")]


def _entry(fs: AbstractFileSystem, info: Info) -> Entry:
    name = info["name"]
    if info.get("islink"):
        try:
            info = fs.info(name)
        except OSError:
            return Entry(name, info, DANGLING)
    return Entry(name, info, FILE if info["type"] == "file" else SPECIAL)


def _expand(fs: AbstractFileSystem, base: str, parts: list[str]) -> Iterator[str]:
    if not parts:
        yield base
        return
    part, rest = parts[0], parts[1:]
    literal = posixpath.join(base, part)
    if not has_wildcard(part) or look_up(fs, literal) is not None:
        if look_up(fs, literal) is not None:
            yield from _expand(fs, literal, rest)
        return
    if part == "**":
        yield from _expand(fs, base, rest)
        for info in _listed(fs, base):
            if info["type"] == "directory":
                yield from _expand(fs, info["name"].rstrip("/"), parts)
        return
    matches = re.compile(glob_translate(part)).match
    for info in _listed(fs, base):
        name = info["name"].rstrip("/")
        if matches(posixpath.basename(name)):
            yield from _expand(fs, name, rest)


def _why(error: OSError) -> str:
    return error.strerror or f"{type(error).__name__}: {error}"
