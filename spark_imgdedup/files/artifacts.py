"""Small arrays that every worker needs, as files: `array.npy` and a manifest with its sha256.

A broadcast that also works on Spark Connect, where a closure over 128 MiB fails (K = 50,000 x 768 is 154 MB). No Spark.
"""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from spark_imgdedup.errors import SchemaError
from spark_imgdedup.files import storage, writing

_LOCK = threading.Lock()
_CACHE: dict[str, npt.NDArray[Any]] = {}  # at most one: the centroids of the run this worker serves


@dataclass(frozen=True)
class Artifact:
    """Where an array was stored, and its sha256."""

    url: str
    sha256: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)


def save(
    url: str,
    array: npt.NDArray[Any],
    about: Mapping[str, Any] | None = None,
    *,
    options: Mapping[str, Any] | None = None,
) -> Artifact:
    """Store an array below the folder `url`, manifest last: an array without one was not finished.

    Args:
        url: The folder.
        array: What to store.
        about: More for the manifest.
        options: Storage options, for workers too: they travel with the artifact.
    """
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    data = buffer.getvalue()
    sha256 = hashlib.sha256(data).hexdigest()
    manifest = {"shape": list(array.shape), "dtype": str(array.dtype), "sha256": sha256, **(about or {})}
    text = json.dumps(manifest, indent=1) + "\n"
    writing.write_bytes(storage.join(url, "array.npy"), data, options)
    writing.write_bytes(storage.join(url, "manifest.json"), text.encode(), options)
    return Artifact(storage.canonical(url), sha256, dict(options or {}))  # workers stand in another folder


def find(url: str, options: Mapping[str, Any] | None = None) -> Artifact:
    """The artifact that `save` stored at `url`.

    Raises:
        SchemaError: there is none, or its manifest is damaged.
    """
    try:
        sha256 = str(json.loads(storage.read_text(storage.join(url, "manifest.json"), options))["sha256"])
    except FileNotFoundError:
        raise SchemaError(
            f"{url}: no manifest.json, so no finished array. Run the step that writes it again, with --force."
        ) from None
    except (ValueError, KeyError, TypeError):
        raise SchemaError(
            f"{url}: manifest.json is damaged. Run the step that writes it again, with --force."
        ) from None
    return Artifact(storage.canonical(url), sha256, dict(options or {}))


def load(artifact: Artifact) -> npt.NDArray[Any]:
    """The array, read once per process and checked against its sha256.

    Raises:
        SchemaError: the file is not the one that was stored.
    """
    with _LOCK:
        if artifact.sha256 not in _CACHE:
            data = _read(artifact)
            if hashlib.sha256(data).hexdigest() != artifact.sha256:
                raise SchemaError(
                    f"{artifact.url}: array.npy does not match its manifest: it is gone, cut off, or was changed. Run "
                    "the step that writes it again, with --force."
                )
            _CACHE.clear()
            _CACHE[artifact.sha256] = np.load(io.BytesIO(data), allow_pickle=False)
        return _CACHE[artifact.sha256]


def _read(artifact: Artifact) -> bytes:
    try:
        with storage.open_read(storage.join(artifact.url, "array.npy"), artifact.options) as file:
            return file.read()
    except FileNotFoundError:
        return b""
