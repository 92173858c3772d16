"""What NumPy and CuPy do not spell alike, and sums that come out bit for bit the same on both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import array_api_compat
import numpy as np
from numpy.typing import NDArray

# A NumPy or a CuPy array: CuPy publishes no types, and no common protocol has both's indexing.
Array: TypeAlias = Any


def namespace(*arrays: Array) -> Any:
    """The module (NumPy's or CuPy's, in array-API form) that works where these arrays live."""
    return array_api_compat.array_namespace(*arrays)


def to_host(array: Array) -> NDArray[Any]:
    """The same numbers as a NumPy array: a copy if they were on a GPU."""
    return np.asarray(array.get() if array_api_compat.is_cupy_array(array) else array)


def slices(n: int, size: int) -> Iterator[slice]:
    """Consecutive slices of at most `size` that cover range(n)."""
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def fold_sum(terms: Array) -> Array:
    """Row sums (N,) of terms (N, D), which are overwritten; D is at least 1.

    The right half is added onto the left until one column is left. Only elementwise additions in a fixed
    order: how many rows come together, the BLAS library and the device cannot change a bit of the result.
    """
    width = terms.shape[1]
    while width > 1:
        half = (width + 1) // 2  # an odd middle column waits for the next round
        terms[:, : width - half] += terms[:, half:width]
        width = half
    return terms[:, 0]


def best_per_column(
    rows: NDArray[np.int64], columns: NDArray[np.int64], values: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """For each column among the candidates: the column, its highest value, and the lowest row reaching it."""
    order = np.lexsort((rows, -values, columns))
    best = order[np.unique(columns[order], return_index=True)[1]]
    return columns[best], values[best], rows[best]
