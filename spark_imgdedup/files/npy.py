"""Vectors in NumPy's .npy files, and the files beside them that say whose they are. No Spark.

clip-retrieval writes img_emb/img_emb_0.npy, text_emb/text_emb_0.npy and metadata/metadata_0.parquet, a row a vector.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from tokenize import TokenError

import numpy as np
import numpy.typing as npt

from spark_imgdedup.errors import ConfigError, SchemaError
from spark_imgdedup.files import storage
from spark_imgdedup.files.id_lists import kind_of
from spark_imgdedup.files.parquet_files import SUFFIXES

_TEXT = "text_emb"


@dataclass(frozen=True)
class NpyFile:
    """A matrix of vectors, one a row.

    Attributes:
        url: The file.
        dtype: A float of little or big end, as NumPy writes it.
        n_rows: Vectors.
        dim: Numbers in each.
        offset: Bytes before the first of them.
    """

    url: str
    dtype: str
    n_rows: int
    dim: int
    offset: int

    @property
    def row_bytes(self) -> int:
        """Bytes of a vector."""
        return self.dim * np.dtype(self.dtype).itemsize


def vector_files(path: str, options: storage.Options | None = None) -> list[tuple[str, str]]:
    """The .npy files of a folder (recursively), a glob or a file's own URL, each with the file that has its ids.

    That is one of the same stem (a.npy, a.parquet), else metadata_3 for img_emb_3 and any other _3, in the folder or
    in `metadata` beside it, else the only one there is. Vectors of captions (text_emb) are left out beside others.

    Raises:
        ConfigError: a file of vectors has none, or several.
    """
    found = storage.list_files(path, "", options)
    vectors = [file.url for file in found if file.url.lower().endswith(".npy")]
    images = [url for url in vectors if not storage.base_name(url).startswith(_TEXT)]
    vectors = images or vectors
    if not vectors:
        return []
    lists = [file.url for file in found if _may_list_ids(file.url)]
    if not lists:
        lists = [file.url for file in _beside(vectors[0], options)]
    return [(url, _ids_of(url, vectors, lists)) for url in vectors]


def ids_beside(path: str, options: storage.Options | None = None) -> list[storage.FileInfo]:
    """Files of ids for the vectors at a path that do not lie below it themselves."""
    found = storage.list_files(path, "", options)
    vectors = [file.url for file in found if file.url.lower().endswith(".npy")]
    has_ids = any(_may_list_ids(file.url) for file in found)
    return [] if has_ids or not vectors else _beside(vectors[0], options)


def read_header(url: str, options: storage.Options | None = None) -> NpyFile:
    """What the header of an .npy file says. Nothing of it is ever unpickled.

    Raises:
        SchemaError: it is damaged, or no matrix of floats in row order.
    """
    with storage.open_random(url, options) as file:
        try:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version[0] == 1 else np.lib.format.read_array_header_2_0
            shape, by_column, dtype = read(file)
        except (ValueError, EOFError, SyntaxError, TokenError) as error:  # numpy evaluates the header as a literal
            raise SchemaError(f"{url}: no .npy file ({error}). Write it again with numpy.save.") from None
        offset = int(file.tell())
    if len(shape) != 2 or dtype.kind != "f" or dtype.itemsize > 8 or (by_column and min(shape) > 1):
        raise SchemaError(
            f"{url}: vectors are rows of a matrix of float16, float32 or float64 in C order, found {dtype} of shape "
            f"{shape}{' in Fortran order' if by_column else ''}. Write them so."
        )
    header = NpyFile(url, dtype.str, int(shape[0]), int(shape[1]), offset)
    n_bytes = storage.size(url, options)
    if n_bytes < (whole := offset + header.n_rows * header.row_bytes):
        raise SchemaError(
            f"{url}: {n_bytes:,} bytes, but its header tells of {whole:,}: it was cut off. Write it again."
        )
    return header


def read_rows(file: NpyFile, start: int, stop: int, options: storage.Options | None = None) -> npt.NDArray[np.float32]:
    """Rows start to stop (exclusive) as (stop - start, D) float32."""
    with storage.open_random(file.url, options) as stream:
        stream.seek(file.offset + start * file.row_bytes)
        data = stream.read((stop - start) * file.row_bytes)
    matrix = np.frombuffer(data, file.dtype).reshape(stop - start, file.dim)
    with np.errstate(over="ignore"):  # a float64 beyond float32 is infinite, and told as nan_embedding
        return matrix.astype(np.float32)


def _may_list_ids(url: str) -> bool:
    return url.lower().endswith(SUFFIXES) or kind_of(url) is not None


def _beside(url: str, options: storage.Options | None) -> list[storage.FileInfo]:
    """Files of ids beside a file of vectors, and in the folder `metadata` beside its own."""
    folder = posixpath.dirname(url)
    places = (folder, storage.join(posixpath.dirname(folder), "metadata"))
    found = [
        [file for file in storage.list_files(place, "", options) if posixpath.dirname(file.url) == place]
        for place in places
        if storage.exists(place, options)
    ]
    return [file for files in found for file in files if _may_list_ids(file.url)]


def _ids_of(url: str, vectors: Sequence[str], lists: Sequence[str]) -> str:
    stem = _stem(url)
    same = [each for each in lists if _stem(each) == stem]
    if not same and "_" in stem:
        token = stem.rpartition("_")[2]
        same = [each for each in lists if _stem(each).rpartition("_")[2] == token]
        same = [each for each in same if _stem(each).startswith("metadata")] or same
    if len(same) > 1:  # the nearest
        near = [len(posixpath.commonpath((posixpath.dirname(url), each))) for each in same]
        same = [each for each, n in zip(same, near, strict=True) if n == max(near)]
    if not same and len(vectors) == len(lists) == 1:
        same = list(lists)
    if len(same) != 1:
        there = ", ".join(map(storage.base_name, same)) or "no file"
        raise ConfigError(
            f"{url}: {there} of ids belongs to these vectors. Put a Parquet file, .csv, .jsonl or .txt of the same "
            "name beside them, with a row for each of them in their order."
        )
    return same[0]


def _stem(url: str) -> str:
    name = storage.base_name(url)
    return name.partition(".")[0]


def require_rows(file: NpyFile, ids: str, n_ids: int) -> None:
    """Refuse ids that are not as many as the vectors.

    Raises:
        SchemaError: with both numbers.
    """
    if n_ids != file.n_rows:
        raise SchemaError(
            f"{file.url} has {file.n_rows:,} vectors and {ids} has {n_ids:,} ids, so nobody knows whose they are. "
            "Write them again from one source."
        )
