"""Every pair that a plan names is in exactly one tile, and tasks cost about the same."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from spark_imgdedup.kernels.packing import ROW_PAIRS, all_tiles, count_pairs, home_tiles, pack

sizes_of_clusters = st.lists(st.integers(0, 30), min_size=1, max_size=12)


def members(span, counts):
    """(cluster, number within it) of the rows of a span, where rows of one cluster lie together."""
    rows = [(cluster, n) for cluster in range(span.first, span.last) for n in range(counts[cluster])]
    return rows[span.start : span.stop]


def pairs_of(tile, sizes, copies):
    """The pairs that a tile compares: rows are ("home" or "copy", cluster, number)."""
    one = [("home", *row) for row in members(tile.rows, sizes)]
    if tile.others is None:
        found = combinations(one, 2)
    else:
        kind, counts = ("copy", copies) if tile.others.copies else ("home", sizes)
        found = ((x, (kind, *row)) for x in one for row in members(tile.others, counts))
    return [frozenset(pair) for pair in found if not tile.within or len({row[1] for row in pair}) == 1]


def expected_pairs(sizes, copies):
    home = [("home", cluster, n) for cluster, size in enumerate(sizes) for n in range(size)]
    guests = [("copy", cluster, n) for cluster, size in enumerate(copies) for n in range(size)]
    within = [frozenset(pair) for pair in combinations(home, 2) if pair[0][1] == pair[1][1]]
    return [*within, *(frozenset((x, y)) for x in home for y in guests if x[1] == y[1])]


@given(sizes_of_clusters, st.data(), st.integers(1, 40), st.integers(1, 300))
def test_tiles_hold_each_pair_of_a_cluster_and_of_its_copies_once(sizes, data, max_rows, max_pairs):
    copies = data.draw(st.lists(st.integers(0, 20), min_size=len(sizes), max_size=len(sizes)))
    tiles = list(home_tiles(np.array(sizes), np.array(copies), max_rows=max_rows, max_pairs=max_pairs))

    found = Counter(pair for tile in tiles for pair in pairs_of(tile, sizes, copies))
    assert found == Counter(expected_pairs(sizes, copies))
    assert sum(tile.pairs for tile in tiles) == len(expected_pairs(sizes, copies))
    assert count_pairs(np.array(sizes), np.array(copies)) == len(expected_pairs(sizes, copies))
    assert all(len(side) <= max_rows for tile in tiles for side in (tile.rows, tile.others) if side is not None)


@given(sizes_of_clusters, st.integers(1, 40), st.integers(1, 300))
def test_every_row_is_in_a_tile_that_compares_it_with_its_own(sizes, max_rows, max_pairs):
    tiles = list(home_tiles(np.array(sizes), max_rows=max_rows, max_pairs=max_pairs))

    found = Counter(row for tile in tiles if tile.others is None for row in members(tile.rows, sizes))
    assert found == Counter((cluster, n) for cluster, size in enumerate(sizes) for n in range(size))


@given(st.integers(0, 60), st.integers(1, 20), st.integers(1, 200))
def test_all_pairs_are_in_one_tile_each(n, max_rows, max_pairs):
    tiles = list(all_tiles(n, 3, max_rows=max_rows, max_pairs=max_pairs))

    sizes = [n, 0, 0]
    found = Counter(pair for tile in tiles for pair in pairs_of(tile, sizes, [0, 0, 0]))
    assert found == Counter(frozenset(pair) for pair in combinations([("home", 0, row) for row in range(n)], 2))
    assert not any(tile.within for tile in tiles)


def test_small_clusters_share_a_tile_and_a_large_one_is_cut():
    tiles = list(home_tiles(np.array([3, 4, 100, 2, 0, 5]), max_rows=40, max_pairs=10_000))

    assert [(tile.rows.first, tile.rows.last) for tile in tiles if tile.within] == [(0, 2), (3, 6)]
    assert len([tile for tile in tiles if not tile.within]) == 6  # 3 parts: 3 triangles and 3 rectangles


def test_tasks_cost_about_the_same_and_keep_the_order_of_the_tiles():
    sizes = np.random.default_rng(0).integers(500, 3000, 400)
    tiles = list(home_tiles(sizes, max_rows=20_000, max_pairs=2e7))
    tasks = pack(tiles, 16)

    assert [tile for task in tasks for tile in task.tiles] == tiles
    costs = [task.cost for task in tasks]
    assert len(tasks) <= 20
    assert max(costs) <= 2 * np.median(costs)
    assert sum(costs) == sum(tile.pairs + ROW_PAIRS * len(tile.rows) for tile in tiles)


def test_little_work_is_one_task():
    assert len(pack(list(home_tiles(np.array([10, 10, 10]), max_rows=10, max_pairs=1e9)), 200)) == 1
    assert pack([], 5) == []
