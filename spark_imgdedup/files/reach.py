"""Whether a place lets us in: of a store, said without what it must be told for that. No Spark."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from spark_imgdedup.errors import HIDDEN, ConfigError
from spark_imgdedup.files import storage
from spark_imgdedup.files.filesystems import filesystem, is_object_store


def require_reachable(name: str, url: str, options: Mapping[str, Any] | None = None) -> None:
    """Ask a store, by one or two requests, whether it lets us in. What is local is not looked at.

    Raises:
        ConfigError: it does not, or there is no such bucket; `name` says which setting names the place.
    """
    try:
        fs, path = filesystem(storage.fixed_part(url), options)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None
    if not is_object_store(fs):
        return
    try:
        fs.info(path)
    except FileNotFoundError as error:
        if "bucket does not exist" not in str(error):  # a new folder is no mistake
            return
        problem: Exception = error
    except Exception as error:  # of each library's own kind
        problem = error
    else:
        return
    raise ConfigError(
        f"{name}: {url} cannot be reached: {without(str(problem) or type(problem).__name__, options)}. Check the "
        "bucket, the credentials and the endpoint: storage_options, or those of the environment."
    )


def obstacle(folder: str) -> tuple[str, Literal["a file", "a link to nothing", "not writable"]] | None:
    """At which place a local folder cannot be written to, or made, and why; None of a store, or if nothing is wrong.

    Args:
        folder: Its canonical URL.
    """
    if "://" in folder:
        return None
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder):
        return folder, "a file" if os.path.exists(folder) else "a link to nothing"
    return None if os.access(folder, os.W_OK | os.X_OK) else (folder, "not writable")


def without(text: str, options: Mapping[str, Any] | None) -> str:
    """A text without the values of storage options, nested ones too: any of them may be a secret."""
    for value in sorted(_texts(options or {}), key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    return " ".join(text.split()).rstrip(".")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    # An endpoint is no secret, and what one must see. Text of three letters would be found in every word.
    elif isinstance(value, str) and len(value) > 3 and "://" not in value:
        yield value
