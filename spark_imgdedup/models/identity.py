"""Which weights and which code a model is made from, told on the driver without building it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from spark_imgdedup.errors import ModelError
from spark_imgdedup.models.base import fingerprint
from spark_imgdedup.models.model_file import is_url, stamp_of_url
from spark_imgdedup.models.onnx_encoder import FILES
from spark_imgdedup.models.plugins import DOTTED_PATH, import_class
from spark_imgdedup.models.registry import named_file
from spark_imgdedup.models.scorers import OPEN_NSFW, open_nsfw_file
from spark_imgdedup.models.torchscript_encoder import PREFIX as TORCHSCRIPT

# Other files of such a folder come and go: locks, caches, logs.
WEIGHTS = {".bin", ".ckpt", ".npz", ".onnx", ".pt", ".pth", ".safetensors"}


def encoder_identity(spec: str, model_dir: str | None, storage_options: Mapping[str, Any] | None = None) -> str | None:
    """What tells an encoder from another one of the same spec: its weights, and for a class of your own its code.

    None where nothing of it can be had on this machine. Cost: reads at most 64 MiB of a file, asks a store for the size
    and time of one at a URL, and loads no weights.
    """
    if spec.startswith(TORCHSCRIPT) and is_url(url := spec.removeprefix(TORCHSCRIPT)):
        return stamp_of_url(url, storage_options)
    if spec in FILES:
        with resources.as_file(FILES[spec]) as path:  # in a zip it is no file
            return fingerprint({}, [path])
    if (named := named_file(spec)) is not None:
        return _of_files(named)
    is_own = DOTTED_PATH.fullmatch(spec) and spec.partition(":")[0] not in ("open_clip", "timm")
    said = class_identity(spec, "encoder") if is_own else None
    weights = _of_files(Path(model_dir)) if model_dir is not None else None
    return fingerprint({"class": said, "weights": weights}) if said and weights else said or weights


def _of_files(path: Path) -> str | None:
    """Of one file, or of the weights in a folder; None where there are none."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.suffix in WEIGHTS)
    return fingerprint({"files": [file.name for file in files]}, files) if files else None


def pixel_scorer_identity(spec: str) -> str | None:
    """The same of a pixel scorer."""
    if spec != OPEN_NSFW:
        return class_identity(spec, "pixel scorer")
    try:
        return fingerprint({}, [open_nsfw_file()])
    except ModelError:  # on the workers only
        return None


def class_identity(spec: str, kind: str) -> str | None:
    """`fingerprint` of the class where it is a text there, else a hash of the module's source.

    The second also changes with a comment. None where the class cannot be imported here, as it may be on workers alone.
    """
    try:
        named = import_class(spec, kind)
        said = getattr(named, "fingerprint", None)
        if isinstance(said, str):
            return said
        source = inspect.getsourcefile(named)
    except (ModelError, TypeError):
        return None
    return fingerprint({}, [Path(source)]) if source is not None and Path(source).is_file() else None
