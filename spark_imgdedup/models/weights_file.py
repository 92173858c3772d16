"""The tensors of a weight file as NumPy arrays, by content and not by extension. Nothing in a file is ever executed."""

from __future__ import annotations

import pickle
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import numpy.typing as npt

from spark_imgdedup.errors import ModelError

Tensors = dict[str, npt.NDArray[np.float64]]

# The published heads take 3 kB to 4 MB. What is larger is an encoder that was named by mistake.
MAX_BYTES = 256 * 2**20
ZIP, PICKLE = b"PK\x03\x04", b"\x80"
WRAPPERS = ("state_dict", "model_state_dict", "model")  # where training scripts put a state dict

# What NumPy and zipfile raise for damaged files; NumPy evaluates the header of an array as a literal of Python.
_DAMAGED = (
    *(ValueError, TypeError, OSError, EOFError, SyntaxError, NotImplementedError, RuntimeError, MemoryError),
    *(TokenError, zlib.error, zipfile.BadZipFile),
)


def read_tensors(path: Path) -> Tensors:
    """Every tensor of a safetensors file, an .npz archive or a PyTorch state dict, as float64, by name.

    Raises:
        ModelError: there is no such file, it is none of the three, it is damaged or too large, it holds code, or the
            library that reads it is not installed.
    """
    if not path.is_file():
        raise ModelError(f"There is no weight file at '{path}'. Give the path of a file on this machine.")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ModelError(f"'{path}' has {size} bytes, too many for a head (at most {MAX_BYTES}). Is it an encoder?")
    with path.open("rb") as file:
        start = file.read(9)
    # safetensors first: it begins with a length, and a length of 128 is the first byte of a pickle.
    if start[8:] == b"{" and int.from_bytes(start[:8], "little") < size:
        found = _read_safetensors(path)
    elif start.startswith(ZIP):
        found = _read_zip(path)
    elif start.startswith(PICKLE):
        found = _read_torch(path)
    else:
        raise _unknown(path)
    if not found:
        raise ModelError(f"'{path}' holds no tensors. Save the head's state dict in it.")
    return found


def _read_zip(path: Path) -> Tensors:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except zipfile.BadZipFile as error:
        raise _damaged(path, error) from error
    if any(member.filename.endswith("data.pkl") for member in members):
        return _read_torch(path)
    if not members or not all(member.filename.endswith(".npy") for member in members):
        raise ModelError(
            f"'{path}' is an archive of {len(members)} other files. Unpack it and name the weights inside."
        )
    unpacked = sum(member.file_size for member in members)
    if unpacked > MAX_BYTES:
        raise ModelError(f"'{path}' unpacks to {unpacked} bytes, too many for a head (at most {MAX_BYTES}).")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: np.asarray(arrays[name], np.float64) for name in arrays.files}
    except _DAMAGED as error:
        raise _damaged(path, error) from error


def _read_safetensors(path: Path) -> Tensors:
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ImportError as error:
        raise ModelError(f"'{path}' needs safetensors: pip install safetensors.") from error
    try:
        return {name: np.asarray(array, np.float64) for name, array in load_file(path).items()}
    except (SafetensorError, TypeError, KeyError, ValueError) as error:  # TypeError, KeyError: a type NumPy lacks
        raise _damaged(path, error) from error


def _read_torch(path: Path) -> Tensors:
    try:
        import torch
    except ImportError as error:
        raise ModelError(
            f"'{path}' is a PyTorch file and torch is not installed here: pip install 'spark-imgdedup[clip]', or save "
            "the tensors once as .safetensors or .npz where it is."
        ) from error
    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"'{path}' holds more than tensors, and code in a weight file is never run. Save model.state_dict() alone."
        ) from error
    except Exception as error:  # torch raises RuntimeError, OSError, EOFError, KeyError, … for damaged files
        raise _damaged(path, error) from error
    for wrapper in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(wrapper), Mapping):
            found = found[wrapper]
    entries = found.items() if isinstance(found, Mapping) else ()
    return {str(name): tensor.detach().double().numpy() for name, tensor in entries if isinstance(tensor, torch.Tensor)}


def _unknown(path: Path) -> ModelError:
    return ModelError(
        f"'{path}' is no weight file that can be read: save the head as .safetensors, .npz or a PyTorch state dict."
    )


def _damaged(path: Path, error: Exception) -> ModelError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return ModelError(f"'{path}' cannot be read ({reason}). Fetch the file again, or save it again.")
