"""What NumPy and CuPy do not spell alike, and sums that come out bit for bit the same on both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import array_api_compat
import numpy as np
from numpy.typing import NDArray

# A NumPy or a CuPy array: CuPy publishes no types, and no common protocol has both's indexing.
Array: TypeAlias = Any

# One scratch matrix: two stay in a core's second cache (2 MiB where this was measured); a GPU wants few launches.
_HOST_SCRATCH_BYTES = 384 * 2**10
_DEVICE_SCRATCH_BYTES = 64 * 2**20
# From this width on a fold's inner loops are too short: the rest is folded along the other axis.
_NARROW = 32


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
    """Write matrix[index] into `out`, cast to its type, and return it. Every index must be in range."""
    if is_on_host(matrix) and matrix.dtype == out.dtype and matrix.flags.c_contiguous:
        np.take(matrix, index, axis=0, out=out, mode="clip")  # the default mode copies `out` once more
    else:
        out[...] = matrix[index]
    return out


class Scratch:
    """Float64 matrices of up to `rows` rows of width D, allocated once: fresh pages cost more than the sums."""

    def __init__(self, like: Array, dim: int, count: int) -> None:
        size = _HOST_SCRATCH_BYTES if is_on_host(like) else _DEVICE_SCRATCH_BYTES
        xp = namespace(like)
        self.rows = max(1, size // (8 * max(dim, 1)))
        self._shape = (count, self.rows, dim)
        self._xp = xp
        self._buffers: Array = None

    def parts(self, n: int) -> Iterator[tuple[slice, list[Array]]]:
        """Slices that cover range(n), each with `count` uninitialised matrices of as many rows."""
        count, rows, dim = self._shape
        if self._buffers is None or self._buffers.shape[1] < min(rows, n):
            self._buffers = self._xp.empty((count, min(rows, n), dim), dtype=self._xp.float64)
        for part in slices(n, rows):
            yield part, [buffer[: part.stop - part.start] for buffer in self._buffers]


class Products:
    """Products of rows, written to one buffer over and over: fresh pages cost more than the reductions."""

    def __init__(self, like: Array) -> None:
        self._xp = namespace(like)
        self._on_host = is_on_host(like)
        self._buffer = self._xp.empty(0, dtype=self._xp.float32)

    def empty(self, n: int, width: int) -> Array:
        """An uninitialised matrix (n, width); the one before it is gone."""
        padded = width + 16  # rows a power of two apart would share few lines of the cache (512 rows: 1.3 x)
        if self._buffer.shape[0] < n * padded:
            self._buffer = self._xp.empty(n * padded, dtype=self._xp.float32)
        return self._xp.reshape(self._buffer[: n * padded], (n, padded))[:, :width]

    def multiply(self, left: Array, right: Array, out: Array) -> None:
        """Write left @ right.T to `out`."""
        if self._on_host:
            np.matmul(left, right.T, out=out)
        else:
            out[...] = left @ right.T

    def product(self, left: Array, right: Array) -> Array:
        """Left @ right.T (n, width) in the buffer."""
        tile = self.empty(left.shape[0], right.shape[0])
        self.multiply(left, right, tile)
        return tile


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
