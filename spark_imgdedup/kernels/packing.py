"""The search as a list of tiles, packed into tasks that cost about the same.

A tile compares rows among themselves, or with other rows. Home clusters, clusters too large for one task, copies at
borders and all pairs are lists of tiles and nothing else. N rows, K clusters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

# What it costs to read, rank and hand on a row, in comparisons of it (measured at D = 512: 4 µs against 7 ns each).
ROW_PAIRS = 600
# A task of less would be over before Spark has started it (measured: 0.1 s of comparisons at D = 512).
MIN_TASK_PAIRS = 15e6

Sizes = NDArray[np.int64]


@dataclass(frozen=True)
class Span:
    """Rows start to stop among those of the clusters first to last, last and stop excluded.

    Attributes:
        first: First cluster.
        last: The one after the last.
        start: First row, counted through these clusters as they lie in their files.
        stop: The row after the last.
        copies: Whether they are the copies compared in these clusters, and not their home members.
    """

    first: int
    last: int
    start: int
    stop: int
    copies: bool = False

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Tile:
    """Rows that are compared among themselves, or with others.

    Attributes:
        rows: One side.
        others: The other; None for the pairs within `rows`.
        within: Whether only rows of one cluster are compared; else all of the one side with all of the other.
        pairs: How many comparisons that is.
    """

    rows: Span
    others: Span | None
    within: bool
    pairs: float

    @property
    def cost(self) -> float:
        """In comparisons."""
        return self.pairs + ROW_PAIRS * (len(self.rows) + len(self.others or ()))


@dataclass
class Task:
    """Tiles for one task of Spark's, in the order of their clusters."""

    tiles: list[Tile] = field(default_factory=list)
    cost: float = 0.0


def home_tiles(sizes: Sizes, copies: Sizes | None = None, *, max_rows: int, max_pairs: float) -> Iterator[Tile]:
    """Tiles for the pairs within each cluster, and of each copy with the home members of its cluster.

    Small clusters come several to a tile.

    Args:
        sizes: (K,) home members.
        copies: (K,) rows of other homes that are compared there.
        max_rows: Rows on one side of a tile, at most.
        max_pairs: Comparisons of a tile, about: a cluster of more is cut.
    """
    guests = np.zeros_like(sizes) if copies is None else copies
    is_large = (sizes > max_rows) | (guests > max_rows) | (sizes * (sizes / 2 + guests) > max_pairs)
    run = _Run()
    for number, (n, m) in enumerate(zip(sizes.tolist(), guests.tolist(), strict=True)):
        if is_large[number] or not run.takes(n, m, max_rows, max_pairs):
            yield from run.tiles()
            run = _Run(number)
        if is_large[number]:
            yield from _cut(number, number + 1, (n, m), max_rows, max_pairs)
            run = _Run(number + 1)
        else:
            run.add(number, n, m)
    yield from run.tiles()


def all_tiles(n_rows: int, n_clusters: int, *, max_rows: int, max_pairs: float) -> Iterator[Tile]:
    """Tiles for every pair of N rows, whatever their clusters."""
    return _cut(0, n_clusters, (n_rows, 0), max_rows, max_pairs)


def count_pairs(sizes: Sizes, copies: Sizes | None = None) -> int:
    """Comparisons of `home_tiles`."""
    within = int((sizes * (sizes - 1) // 2).sum())
    return within if copies is None else within + int((sizes * copies).sum())


def pack(tiles: Sequence[Tile], n_tasks: int) -> list[Task]:
    """The tiles in about n_tasks tasks of equal cost: neighbours go together, so that a task reads few places."""
    total = sum(tile.cost for tile in tiles)
    most = max(total / max(n_tasks, 1), MIN_TASK_PAIRS)
    tasks: list[Task] = []
    for tile in tiles:
        if not tasks or tasks[-1].cost + tile.cost / 2 > most:
            tasks.append(Task())
        tasks[-1].tiles.append(tile)
        tasks[-1].cost += tile.cost
    return tasks


@dataclass
class _Run:
    """Consecutive clusters that share a tile."""

    first: int = 0
    last: int = 0
    n_rows: int = 0
    n_copies: int = 0
    pairs: float = 0.0
    copy_pairs: float = 0.0

    def takes(self, n: int, m: int, max_rows: int, max_pairs: float) -> bool:
        more = self.pairs + self.copy_pairs + n * (n / 2 + m)
        return self.n_rows + n <= max_rows and self.n_copies + m <= max_rows and more <= max_pairs

    def add(self, number: int, n: int, m: int) -> None:
        self.last = number + 1
        self.n_rows, self.n_copies = self.n_rows + n, self.n_copies + m
        self.pairs, self.copy_pairs = self.pairs + n * (n - 1) / 2, self.copy_pairs + n * m

    def tiles(self) -> Iterator[Tile]:
        if self.n_rows:
            rows = Span(self.first, self.last, 0, self.n_rows)
            yield Tile(rows, None, True, self.pairs)
            if self.copy_pairs:
                yield Tile(rows, Span(self.first, self.last, 0, self.n_copies, copies=True), True, self.copy_pairs)


def _cut(first: int, last: int, counts: tuple[int, int], max_rows: int, max_pairs: float) -> Iterator[Tile]:
    """Tiles for n rows among themselves and with m copies, all of them compared."""
    n, m = counts
    most = max(1, min(max_rows, math.isqrt(int(max_pairs))))
    homes = [Span(first, last, start, stop) for start, stop in _even(n, most)]
    guests = [Span(first, last, start, stop, copies=True) for start, stop in _even(m, most)]
    for place, rows in enumerate(homes):
        yield Tile(rows, None, False, len(rows) * (len(rows) - 1) / 2)
        for others in (*homes[place + 1 :], *guests):
            yield Tile(rows, others, False, float(len(rows) * len(others)))


def _even(n: int, most: int) -> list[tuple[int, int]]:
    """Range(n) in as few parts of at most `most` as there can be, of about one size."""
    n_parts = -(-n // most)
    edges = [n * part // n_parts for part in range(n_parts + 1)] if n_parts else []
    return list(pairwise(edges))
