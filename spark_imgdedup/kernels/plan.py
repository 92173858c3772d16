"""Which products a comparison needs: groups of rows cut into blocks and triangles. Row numbers only, no vectors."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_MIN_TILE_COLUMNS = 1024
# The triangle of this many rows is one product of them with themselves, which NumPy's BLAS does at half the flops.
_LEAF_ROWS = 512
_DEVICE_LEAF_ROWS = 4096
# Groups smaller than this are multiplied several at a time.
_PACKED_ROWS = 64
# Groups up to this size share a tile, so that what is done once a tile is done for many of them.
_BLOCK_ROWS = 256


def tile_shape(n: int, width: int, batch_size: int) -> tuple[int, int]:
    """How many queries and targets a product has at most, of n and width in all."""
    return max(1, min(n, batch_size)), max(1, min(width, max(batch_size, _MIN_TILE_COLUMNS)))


def leaf_rows(batch_size: int, *, on_host: bool) -> int:
    """How many rows the largest triangle that is one product has."""
    return min(batch_size, _LEAF_ROWS if on_host else _DEVICE_LEAF_ROWS)


def runs_of_blocks(starts: NDArray[np.int64], leaf: int, batch_size: int) -> Iterator[list[slice]]:
    """Blocks of whole groups: a group that fills a tile by itself, smaller ones in runs of up to batch_size rows."""
    bounds = [*np.flatnonzero(starts == np.arange(len(starts))).tolist(), len(starts)]
    packed = min(_PACKED_ROWS, batch_size)
    run: list[slice] = []
    for start, stop in pairwise(bounds):
        if stop - start > min(leaf, _BLOCK_ROWS):
            yield from [run] if run else []
            yield [slice(start, stop)]
            run = []
        elif run and stop - run[-1].start <= packed:
            run[-1] = slice(run[-1].start, stop)
        elif run and stop - run[0].start > batch_size:
            yield run
            run = [slice(start, stop)]
        else:
            run.append(slice(start, stop))
    yield from [run] if run else []


def diagonal(rows: slice, leaf: int) -> Iterator[tuple[slice, slice]]:
    """The triangle of these rows as (queries, columns), the columns of each query ascending."""
    if rows.stop - rows.start <= leaf:
        yield rows, rows
        return
    half = -(-(rows.stop - rows.start) // (2 * leaf)) * leaf
    upper, lower = slice(rows.start, rows.start + half), slice(rows.start + half, rows.stop)
    yield from diagonal(upper, leaf)
    yield lower, upper
    yield from diagonal(lower, leaf)


def checked_starts(starts: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Starts (n,) of consecutive groups, or an error."""
    starts = np.asarray(starts)
    own = np.arange(n)
    if starts.shape != (n,) or not np.all((starts == own) | ((starts < own) & (starts == np.roll(starts, 1)))):
        wrong = "a shape of " + str(starts.shape) if starts.shape != (n,) else f"{starts.tolist()[:20]}"
        raise ValueError(
            f"starts must hold, for each of the {n} rows, the first row of its group, got {wrong}. "
            "Sort the rows by group; a group's rows all have the position of its first one."
        )
    return starts.astype(np.int64)
