"""Names that are read from files: where they may lead. No Spark.

A manifest, an index or a table may have been written by somebody else, or changed since.
"""

from __future__ import annotations

import re

from spark_imgdedup.errors import ConfigError
from spark_imgdedup.files import storage

_PROTOCOL = re.compile(r"[a-z0-9+]*")


def require_inner(name: object, source: str) -> str:
    """The name, once it is sure that joined to a folder it stays below that folder.

    Args:
        name: What a file says; also of a wrong type.
        source: The file that says it, for the error.

    Raises:
        ConfigError: it is absolute, holds "..", a NUL or a scheme, or names the folder itself.
    """
    if not is_inner(name):
        raise ConfigError(
            f"{source}: the name {name!r} does not lie below its folder, so nothing there is opened or deleted. "
            "Somebody has changed that file: choose another folder, or delete this one if it can be made again."
        )
    return str(name)


def is_inner(name: object) -> bool:
    """True for a relative path that stays below the folder it is joined to."""
    if not isinstance(name, str) or not name or name.startswith("/") or "\0" in name:
        return False
    # fsspec takes "::" and a word for a file system within another.
    chained = any(_PROTOCOL.fullmatch(part) for part in name.split("::")[1:])
    return "://" not in name and not chained and not {".", ".."} & set(name.split("/"))


def below(folder: str, name: object, source: str) -> str:
    """The URL of `name` below `folder`; see `require_inner`."""
    return storage.join(folder, require_inner(name, source))
