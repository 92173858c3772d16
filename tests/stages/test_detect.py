from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import SchemaError
from spark_imgdedup.kernels.hashes import hamming_distances
from spark_imgdedup.stages import near_hashes as near_search
from spark_imgdedup.stages.detect import collapse_copies, group_exact, match_hashes
from spark_imgdedup.stages.local_rows import local_rows
from spark_imgdedup.stages.near_hashes import near_hashes
from spark_imgdedup.stages.preference import preference
from tests.stages.hash_cost import phash_cost

HARD, EASY = [("image_id", False)], [("image_id", True)]
DIGESTS = "image_id string, sha256 string, pixel_sha256 string"
HASHES = "image_id string, phash binary"
# a, b and c are one file; d has other bytes and the same pixels; f and g have no pixel digest, i and j none at all.
COPIES = [
    ("a", "s1", "p1"),
    ("b", "s1", "p1"),
    ("c", "s1", None),
    ("d", "s2", "p1"),
    ("e", "s3", "p3"),
    ("f", "s4", None),
    ("g", "s4", None),
    ("h", None, "p3"),
    ("i", None, None),
    ("j", None, None),
]


def bits(*places, n_bits=64):
    """A hash with ones at these places."""
    row = np.zeros(n_bits, np.uint8)
    row[list(places)] = 1
    return np.packbits(row).tobytes()


def hashed(spark, rows):
    return local_rows(spark, [(image_id, bytearray(phash) if phash else None) for image_id, phash in rows], HASHES)


def hashed_rows(spark, hashes):
    return hashed(spark, [(f"i{number:06d}", row.tobytes()) for number, row in enumerate(hashes)])


def collected(df):
    return sorted(tuple(row) for row in df.collect())


def columns(df):
    return [(field.name, field.dataType.simpleString()) for field in df.schema]


def near_rows(hashes, radius):
    """The definition: (i, j, distance) of all pairs i < j, by brute force."""
    distances = hamming_distances(hashes, hashes)
    return {(int(i), int(j), int(distances[i, j])) for i, j in np.argwhere(np.triu(distances <= radius, 1))}


def flip(rng, hashes, n_flips):
    row_bits = np.unpackbits(hashes, axis=1)
    places = rng.random(row_bits.shape).argsort(axis=1) < n_flips
    return np.packbits(row_bits ^ places, axis=1)


def order_of(which_to_keep, *, with_distances, columns=(), **pairwise):
    settings = {"which_to_keep": which_to_keep, "metadata_columns": list(columns), **pairwise}
    metadata = [name for name in columns if name not in ("cosine_dist_to_cent", "image_id")]
    config = parse_config({"pairwise": settings, "cluster": {"metadata_columns": metadata}})
    return preference(config, with_distances=with_distances)


# Order


def test_without_distances_hard_prefers_the_highest_id_and_easy_and_random_the_lowest():
    assert [order_of(name, with_distances=False) for name in ("hard", "easy", "random")] == [HARD, EASY, EASY]


def test_with_distances_rows_are_preferred_as_within_a_cluster():
    assert order_of("hard", with_distances=True) == [("cosine_dist_to_cent", False), *HARD]
    assert order_of("easy", with_distances=True) == [("cosine_dist_to_cent", True), *EASY]
    assert order_of("random", with_distances=True) == [("_random_rank", True), *EASY]


def test_ids_break_the_ties_of_metadata_unless_they_are_part_of_it():
    by = {"columns": ["width", "cosine_dist_to_cent"], "ascending": [False, True]}
    assert order_of("metadata", with_distances=True, **by) == [
        ("width", False),
        ("cosine_dist_to_cent", True),
        ("image_id", True),
    ]
    assert order_of("metadata", with_distances=False, **by) == [("width", False), ("image_id", True)]
    by = {"columns": ["width", "image_id", "height"], "ascending": False}
    assert order_of("metadata", with_distances=True, **by) == [("width", False), ("image_id", False)]


# Exact copies


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (EASY, [("b", "a", 4), ("c", "a", 4), ("d", "a", 4), ("g", "f", 2), ("h", "e", 2)]),
        (HARD, [("a", "d", 4), ("b", "d", 4), ("c", "d", 4), ("e", "h", 2), ("f", "g", 2)]),
    ],
    ids=["easy", "hard"],
)
def test_copies_of_bytes_or_of_pixels_name_the_preferred_one(spark, order, expected):
    copies = group_exact(local_rows(spark, COPIES, DIGESTS).repartition(3), order=order)

    assert columns(copies) == [("image_id", "string"), ("max_id", "string"), ("group_size", "bigint")]
    assert collected(copies) == expected


def test_the_kept_row_says_how_many_copies_it_stands_for(spark):
    images = local_rows(spark, COPIES, DIGESTS)

    kept = collapse_copies(images, group_exact(images, order=EASY))

    assert {row.image_id: row.dup_count for row in kept.collect()} == {"a": 3, "e": 1, "f": 1, "i": 0, "j": 0}
    assert kept.columns == [*images.columns, "dup_count"]


def test_one_file_that_two_decoders_read_differently_is_one_group(spark):
    rows = [("a", "s", "p1"), ("b", "s", "p2"), ("c", "t", "p1")]

    copies = group_exact(local_rows(spark, rows, DIGESTS), order=EASY)

    assert [(row.image_id, row.max_id) for row in copies.collect()] == [("b", "a"), ("c", "a")]


def test_without_digests_of_pixels_the_bytes_decide(spark):
    images = local_rows(spark, [("a", "s"), ("b", "s"), ("c", None), ("d", None)], "image_id string, sha256 string")

    assert [tuple(row)[:2] for row in group_exact(images, order=HARD).collect()] == [("a", "b")]


def test_metadata_chooses_the_copy_that_is_kept_and_nulls_come_last(spark):
    rows = [("a", "s", None, 9), ("b", "s", 100, 2), ("c", "s", 100, 1), ("d", "s", 50, 0)]
    images = local_rows(spark, rows, "image_id string, sha256 string, `w.px` int, crop int")

    kept = {
        name: {row.max_id for row in group_exact(images, order=[*zip(*by, strict=True), *EASY]).collect()}
        for name, by in {
            "largest": (["w.px"], [False]),
            "largest, least cropped": (["w.px", "crop"], [False, True]),
            "smallest": (["w.px"], [True]),
        }.items()
    }

    assert kept == {"largest": {"b"}, "largest, least cropped": {"c"}, "smallest": {"d"}}


def test_images_without_a_needed_column_are_refused(spark):
    images = local_rows(spark, [("a", "s")], "image_id string, sha256 string")

    with pytest.raises(SchemaError, match="Stage 'detect' needs width"):
        group_exact(images, order=[("width", True), *EASY])
    with pytest.raises(SchemaError, match="Stage 'detect' needs phash binary"):
        near_hashes(images, n_bits=64, radius=3)


# Perceptual hashes


CHAIN = [  # a, b and c are 2 bits apart each, f lies between a and b; e repeats a, d is far from all, g has no hash
    ("a", bits()),
    ("b", bits(1, 20)),
    ("c", bits(1, 20, 33, 50)),
    ("d", bits(2, 12, 22, 32, 42, 52)),
    ("e", bits()),
    ("f", bits(1)),
    ("g", None),
]


def matches(images, order, *, n_bits=64, radius=2):
    near = near_hashes(images, n_bits=n_bits, radius=radius)
    return collected(match_hashes(images, near, order=order))


def test_near_hashes_are_pairs_of_distinct_hashes_each_once(spark):
    near = near_hashes(hashed(spark, CHAIN), n_bits=64, radius=2)

    a, b, c, f = bits(), bits(1, 20), bits(1, 20, 33, 50), bits(1)
    assert columns(near) == [("phash_a", "binary"), ("phash_b", "binary"), ("hamming", "int")]
    assert [(bytes(x), bytes(y), d) for x, y, d in collected(near)] == sorted(
        (*sorted(pair), distance) for *pair, distance in [(a, b, 2), (a, f, 1), (b, c, 2), (b, f, 1)]
    )


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (EASY, [("b", "a", 2), ("c", "b", 2), ("e", "a", 0), ("f", "a", 1)]),
        (HARD, [("a", "e", 0), ("b", "f", 1), ("e", "f", 1)]),
    ],
    ids=["easy", "hard"],
)
def test_an_image_is_matched_with_the_nearest_preferred_one(spark, order, expected):
    assert matches(hashed(spark, CHAIN).repartition(3), order) == expected


def test_metadata_decides_which_of_two_near_hashes_stays_and_nan_comes_last(spark):
    nan = float("nan")
    rows = [("a", bits(1), 1.0), ("b", bits(2), None), ("c", bits(3), 3.0), ("d", bits(1), 2.0), ("e", bits(4), nan)]
    images = local_rows(spark, [(i, bytearray(h), w) for i, h, w in rows], HASHES + ", width double")

    found = matches(images, [("width", False), *EASY])

    # Order: c, d, a, b, e.
    assert [row[:2] for row in found] == [("a", "d"), ("b", "c"), ("d", "c"), ("e", "c")]


def test_matches_are_those_of_brute_force_for_any_order(spark):
    rng = np.random.default_rng(3)
    seeds = rng.integers(0, 256, (5, 8), dtype=np.uint8)
    hashes = np.concatenate([flip(rng, seeds, n_flips) for n_flips in (0, 0, 1, 2, 3)])
    weights = rng.integers(0, 4, len(hashes)).tolist()
    rows = [
        (f"i{n:02d}", bytearray(row.tobytes()), weight)
        for n, (row, weight) in enumerate(zip(hashes, weights, strict=True))
    ]
    images = local_rows(spark, rows, HASHES + ", weight int").repartition(3)
    distances = hamming_distances(hashes, hashes)
    ranked = sorted(range(len(rows)), key=lambda n: (-weights[n], n))
    expected = []
    for place, n in enumerate(ranked):
        better = [(int(distances[n, m]), ranked.index(m)) for m in ranked[:place] if distances[n, m] <= 3]
        if better:
            distance, best = min(better)
            expected.append((f"i{n:02d}", f"i{ranked[best]:02d}", distance))

    assert matches(images, [("weight", False), *EASY], radius=3) == sorted(expected)
    assert len(expected) > 10


def with_views(spark, rows):
    """(image_id, own hash, hashes of other orientations)."""
    return local_rows(
        spark,
        [(i, bytearray(own), bytearray(b"".join(views)) if views is not None else None) for i, own, views in rows],
        HASHES + ", phash_views binary",
    )


def test_a_hash_is_near_the_views_of_other_images_and_no_two_views_are_a_pair(spark):
    far, a_view, b_view = bits(*range(40)), bits(*range(20, 60)), bits(*range(20, 59))
    rows = [
        ("a", bits(), [a_view]),
        ("b", far, [b_view, bits(1)]),
        ("c", bits(*range(20, 60), 63), []),
        ("d", far, None),
    ]

    near = near_hashes(with_views(spark, rows), n_bits=64, radius=2)

    expected = [(bits(), bits(1), 1), (a_view, rows[2][1], 1), (b_view, rows[2][1], 2)]
    assert [(bytes(x), bytes(y), d) for x, y, d in collected(near)] == sorted(
        (*sorted((a, b)), d) for a, b, d in expected
    )
    assert collected(match_hashes(with_views(spark, rows), near, order=EASY)) == [("d", "b", 0)]


@pytest.mark.parametrize(("n_bits", "n_views"), [(64, 1), (64, 7), (256, 1)])
def test_pairs_with_views_are_those_of_brute_force(spark, n_bits, n_views):
    rng, radius = np.random.default_rng(n_views), 4
    seeds = rng.integers(0, 256, (6, n_bits // 8), dtype=np.uint8)
    own = np.concatenate([flip(rng, seeds, n_flips) for n_flips in (0, 1, 2)])
    views = [flip(rng, seeds[rng.integers(0, 6, n_views)], 2) for _ in own]
    rows = [(f"i{n}", row.tobytes(), [view.tobytes() for view in views[n]]) for n, row in enumerate(own)]
    values = np.unique(np.concatenate([own, *views]), axis=0)
    is_own = {row.tobytes() for row in own}
    expected = {
        (values[i].tobytes(), values[j].tobytes(), distance)
        for i, j, distance in near_rows(values, radius)
        if {values[i].tobytes(), values[j].tobytes()} & is_own
    }

    found = near_hashes(with_views(spark, rows).repartition(2), n_bits=n_bits, radius=radius).collect()

    assert len(found) == len(expected) > 18
    assert {(bytes(row.phash_a), bytes(row.phash_b), row.hamming) for row in found} == expected


def test_views_that_are_no_whole_hashes_are_an_error(spark):
    images = with_views(spark, [("a", bits(), [bits(1), b"half"])])

    with pytest.raises(Exception, match="must hold hashes of 64 bits, found one of 32"):
        near_hashes(images, n_bits=64, radius=2).collect()


@pytest.mark.slow
@pytest.mark.parametrize(("n_bits", "radius"), [(64, 0), (64, 3), (64, 5), (256, 15)])
def test_every_planted_neighbour_is_found_among_20000_hashes(spark, n_bits, radius):
    rng = np.random.default_rng(radius)
    hashes = rng.integers(0, 256, (20_000, n_bits // 8), dtype=np.uint8)
    hashes[-200:-100] = flip(rng, hashes[:100], max(radius, 1))  # equal hashes have a test of their own
    hashes[-100:] = flip(rng, hashes[100:200], radius + 1)
    images = hashed_rows(spark, hashes)
    planted = ((*sorted((hashes[i].tobytes(), hashes[19_800 + i].tobytes())), radius) for i in range(100))
    expected = set(planted) if radius else set()

    near = near_hashes(images, n_bits=n_bits, radius=radius).collect()
    found = {(bytes(row.phash_a), bytes(row.phash_b), row.hamming) for row in near}
    cost = phash_cost(images, n_bits=n_bits, radius=radius)

    assert found == expected
    assert cost["n_hashes"] == 20_000
    # 2e8 pairs without bands; chance alone gives one in 2**16 for each band.
    assert cost["n_candidates"] < 1.2 * cost["n_bands"] * (2e8 / 2**16 + 200)


@pytest.fixture(params=[None, 20], ids=["whole groups", "crowds in tiles"])
def crowd(request, monkeypatch):
    """How many members make a crowd."""
    if request.param is not None:
        monkeypatch.setattr(near_search, "CROWD", request.param)
    return request.param


@pytest.mark.parametrize("radius", [3, 6])
def test_crowded_hashes_give_the_pairs_of_brute_force(spark, crowd, radius):
    rng = np.random.default_rng(0)
    seeds = rng.integers(0, 256, (8, 8), dtype=np.uint8)
    hashes = np.unique(np.concatenate([flip(rng, np.repeat(seeds, 9, 0), n_flips) for n_flips in range(6)]), axis=0)
    images = hashed_rows(spark, hashes).repartition(3)

    pairs = near_hashes(images, n_bits=64, radius=radius).collect()

    number = {row.tobytes(): place for place, row in enumerate(hashes)}  # np.unique has sorted them
    assert len(pairs) == len(near_rows(hashes, radius)) > len(seeds)
    assert {(number[bytes(a)], number[bytes(b)], distance) for a, b, distance in pairs} == near_rows(hashes, radius)
    assert phash_cost(images, n_bits=64, radius=radius)["largest_band"] > 20


def test_a_group_of_all_hashes_is_cut_and_loses_nothing(spark, monkeypatch):
    monkeypatch.setattr(near_search, "CROWD", 300)
    monkeypatch.setattr(near_search, "SAMPLED", 1000)
    hashes = np.random.default_rng(0).integers(0, 256, (1000, 8), dtype=np.uint8)
    hashes[:, :2] = 7
    hashes[-20:] = hashes[:20]
    hashes[-20:, 7] ^= 3
    images = hashed_rows(spark, hashes)

    assert matches(images, EASY, radius=3) == [(f"i{980 + i:06d}", f"i{i:06d}", 2) for i in range(20)]
    assert phash_cost(images, n_bits=64, radius=3)["largest_band"] == 1000


def test_a_task_that_gets_several_buckets_compares_them_one_after_the_other(spark, monkeypatch):
    monkeypatch.setattr(near_search, "MEMBERS", 0)
    rng = np.random.default_rng(1)
    seeds = rng.integers(0, 256, (50, 8), dtype=np.uint8)
    hashes = np.concatenate([seeds, flip(rng, seeds, 2)])

    pairs = near_hashes(hashed_rows(spark, hashes), n_bits=64, radius=2).collect()

    assert len(pairs) == len(near_rows(hashes, 2)) >= 50


def test_many_equal_hashes_all_name_the_preferred_one(spark):
    rows = [(f"i{number:05d}", bits(5)) for number in range(3000)] + [("near", bits(5, 6)), ("far", bits(*range(40)))]
    images = hashed(spark, rows)

    found = matches(images, HARD, radius=3)

    assert Counter((kept, distance) for _, kept, distance in found) == {("i02999", 0): 2999, ("near", 1): 1}
    assert phash_cost(images, n_bits=64, radius=3)["n_hashes"] == 3


def test_images_without_hashes_give_no_pairs(spark):
    images = hashed(spark, [("a", None), ("b", None)])

    assert matches(images, HARD) == []
    assert phash_cost(images, n_bits=64, radius=3) == {
        "n_bands": 4,
        "n_hashes": 0,
        "n_candidates": 0,
        "largest_band": 0,
    }


def test_hashes_of_another_length_are_an_error_that_names_both(spark):
    with pytest.raises(Exception, match="must hold hashes of 256 bits, found one of 64"):
        near_hashes(hashed(spark, CHAIN), n_bits=256, radius=3).collect()
