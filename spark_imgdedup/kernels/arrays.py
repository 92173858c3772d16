"""What NumPy and CuPy do not spell alike, and sums that come out bit for bit the same on both."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import array_api_compat
import numpy as np
from numpy.typing import NDArray

# A NumPy or a CuPy array: CuPy publishes no types, and no common protocol has both's indexing.
Array: TypeAlias = Any

# One scratch matrix: three stay in a core's second cache (2 MiB where this was measured); a GPU wants few launches.
_HOST_SCRATCH_BYTES = 256 * 2**10
_DEVICE_SCRATCH_BYTES = 64 * 2**20
# From this width on a fold's inner loops are too short: the rest is folded along the other axis.
_NARROW = 32
# Rows a power of two apart would share few lines of the cache (512 rows with themselves: 1.3 times as long).
PADDING = 16
_MOST_KEPT_BYTES = 16 * 2**20


def namespace(*arrays: Array) -> Any:
    """The module (NumPy's or CuPy's, in array-API form) that works where these arrays live."""
    return array_api_compat.array_namespace(*arrays)


def is_on_host(array: Array) -> bool:
    """Whether this is a NumPy array."""
    return isinstance(array, np.ndarray)


def to_host(array: Array) -> NDArray[Any]:
    """The same numbers as a NumPy array: a copy if they were on a GPU."""
    return np.asarray(array.get() if array_api_compat.is_cupy_array(array) else array)


def slices(n: int, size: int) -> Iterator[slice]:
    """Consecutive slices of at most `size` that cover range(n)."""
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def take_rows(matrix: Array, index: Array, out: Array) -> Array:
    """Write matrix[index], of the same type, into `out` and return it. Every index must be in range."""
    if is_on_host(matrix) and matrix.flags.c_contiguous:
        np.take(matrix, index, axis=0, out=out, mode="clip")  # the default mode copies `out` once more
    else:
        out[...] = matrix[index]
    return out


def as_float32(scratch: Array) -> Array:
    """The memory of a float64 matrix (N, D), in part, as a float32 matrix of that shape."""
    xp = namespace(scratch)
    n, dim = scratch.shape
    return xp.reshape(xp.reshape(scratch, (-1,)).view(xp.float32)[: n * dim], (n, dim))


class _Spare(threading.local):
    """Host memory that this thread's kernels hand on to each other: 5 MB with batches of 1024.

    Fresh pages cost as much as the sums: a cluster of 500 rows took twice as long without.
    """

    def __init__(self) -> None:
        self._blocks: dict[str, NDArray[Any]] = {}

    def take(self, size: int, dtype: str) -> NDArray[Any]:
        block = self._blocks.pop(dtype, None)  # a kernel within a kernel finds none, and gets its own
        return block if block is not None and block.size >= size else np.empty(size, dtype=dtype)

    def give_back(self, block: NDArray[Any], dtype: str) -> None:
        self._blocks[dtype] = block


_spare = _Spare()


@contextmanager
def borrowed(like: Array, size: int, dtype: str) -> Iterator[Array]:
    """At least `size` uninitialised numbers beside `like`, for as long as the context lasts."""
    if not is_on_host(like):
        yield namespace(like).empty(size, dtype=dtype)
        return
    block = _spare.take(size, dtype)
    try:
        yield block
    finally:
        if block.nbytes <= _MOST_KEPT_BYTES:
            _spare.give_back(block, dtype)


def scratch_parts(like: Array, n: int, dim: int, count: int) -> Iterator[tuple[slice, list[Array]]]:
    """Slices that cover range(n), each with `count` uninitialised float64 matrices of as many rows of width `dim`."""
    if n == 0:
        return
    most_bytes = _HOST_SCRATCH_BYTES if is_on_host(like) else _DEVICE_SCRATCH_BYTES
    rows = min(n, max(1, most_bytes // (8 * max(dim, 1))))
    with borrowed(like, count * rows * dim, "float64") as block:
        whole = list(namespace(like).reshape(block[: count * rows * dim], (count, rows, dim)))
        for part in slices(n, rows):
            size = part.stop - part.start
            yield part, whole if size == rows else [buffer[:size] for buffer in whole]


class Products:
    """Products of rows, written to one block of memory over and over."""

    def __init__(self, block: Array) -> None:
        self._block = block

    @classmethod
    @contextmanager
    def of(cls, like: Array, n: int, width: int) -> Iterator[Products]:
        """Room for products of up to (n, width), beside `like`."""
        with borrowed(like, n * (width + PADDING), "float32") as block:
            yield cls(block)

    def empty(self, n: int, width: int) -> Array:
        """An uninitialised matrix (n, width), up to PADDING wider than said at first; the one before it is gone."""
        return namespace(self._block).reshape(self._block[: n * width], (n, width))

    def product(self, left: Array, right: Array) -> Array:
        """Left @ right.T (n, width); the one before it is gone."""
        tile = self.empty(left.shape[0], right.shape[0])
        multiply(left, right, tile)
        return tile


def multiply(left: Array, right: Array, out: Array) -> None:
    """Write left @ right.T to `out`."""
    if is_on_host(out):
        with np.errstate(over="ignore", invalid="ignore"):  # inf and NaN are the caller's to judge
            np.matmul(left, right.T, out=out)
    else:
        out[...] = left @ right.T


def fold_sum(terms: Array) -> Array:
    """Row sums (N,) of terms (N, D), which are overwritten; D is at least 1.

    The right half is added onto the left until one column is left. Only elementwise additions in a fixed
    order: how many rows come together, the BLAS library and the device cannot change a bit of the result.
    """
    width = terms.shape[1]
    while width > _NARROW:
        half = (width + 1) // 2  # an odd middle column waits for the next round
        terms[:, : width - half] += terms[:, half:width]
        width = half
    columns = namespace(terms).ascontiguousarray(terms[:, :width].T)
    while width > 1:
        half = (width + 1) // 2
        columns[: width - half] += columns[half:width]
        width = half
    return columns[0]


def two_best(products: Array) -> tuple[Array, Array, Array]:
    """Of each row (B, R): the column of its first maximum, the maximum, and the highest of the rest; (B,) each.

    The maxima in `products` are overwritten by -inf.
    """
    xp = namespace(products)
    nth = xp.arange(products.shape[0])
    column = xp.argmax(products, axis=1)
    highest = products[nth, column]
    products[nth, column] = -xp.inf
    # argmax again: NumPy's takes two thirds of the time of its max (1024 x 1024 float32: 0.15 ms, 0.23 ms)
    return column, highest, products[nth, xp.argmax(products, axis=1)]


def best_per_column(
    rows: NDArray[np.int64], columns: NDArray[np.int64], values: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """For each column among the candidates: the column, its highest value, and the lowest row reaching it."""
    order = np.lexsort((rows, -values, columns))
    best = order[np.unique(columns[order], return_index=True)[1]]
    return columns[best], values[best], rows[best]
