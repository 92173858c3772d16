"""Model files that lie anywhere fsspec reaches, as files of this machine."""

from __future__ import annotations

import posixpath
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spark_imgdedup.errors import ModelError
from spark_imgdedup.files import storage
from spark_imgdedup.models.base import fingerprint


def is_url(place: str) -> bool:
    """True where a place is reached by fsspec; else it is a path of this machine."""
    return "://" in place


@contextmanager
def local_copy(place: str, options: Mapping[str, Any] | None = None) -> Iterator[Path]:
    """The file at a path or URL, for as long as the block lasts; that of a URL is a temporary copy.

    Raises:
        ModelError: there is none, or it cannot be read.
    """
    if not is_url(place):
        path = Path(place).expanduser()
        if not path.is_file():
            raise _missing(place)
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, posixpath.basename(place))
        try:
            with storage.open_read(place, options) as source, copy.open("wb") as target:
                shutil.copyfileobj(source, target, storage.READ_BLOCK_BYTES)
        except FileNotFoundError:
            raise _missing(place) from None
        except OSError as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise ModelError(f"'{place}' cannot be read: {reason}. Check the URL and storage_options.") from error
        yield copy


def stamp_of_url(url: str, options: Mapping[str, Any] | None = None) -> str | None:
    """What tells the file at a URL from a later one there: its size and its time or ETag. None where it is not reached.

    Cost: one request; the file is not read.
    """
    try:
        files = storage.list_files(url, "", options)
    except OSError:
        return None
    return fingerprint({"files": [(file.n_bytes, file.stamp) for file in files]}) if files else None


def _missing(place: str) -> ModelError:
    return ModelError(f"There is no model file at '{place}'. Give the path or URL of one that every worker can read.")
