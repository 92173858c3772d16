"""Heads from wherever their weight files lie."""

from __future__ import annotations

import posixpath
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spark_imgdedup.errors import ModelError
from spark_imgdedup.files import storage
from spark_imgdedup.models.heads import Head, HeadKind, load_head
from spark_imgdedup.models.weights_file import MAX_BYTES


def open_head(kind: HeadKind, path: str, options: Mapping[str, Any] | None = None) -> Head:
    """The head in a weight file, which may be a URL; only this machine reads it.

    Raises:
        ModelError: there is none, or it is no such head.
    """
    if "://" not in path:
        return load_head(kind, path)
    try:
        size = storage.size(path, options)
    except FileNotFoundError:
        raise ModelError(f"There is no weight file at '{path}'. Check the path.") from None
    if size > MAX_BYTES:
        raise ModelError(f"'{path}' has {size} bytes, too many for a head (at most {MAX_BYTES}). Is it an encoder?")
    with tempfile.TemporaryDirectory() as folder, storage.open_read(path, options) as file:
        local = Path(folder, posixpath.basename(path))
        local.write_bytes(file.read())
        return load_head(kind, local)
