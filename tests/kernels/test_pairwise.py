"""Against the definition; tests/conformance compares whole clusters with two oracles."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_imgdedup.kernels import plan, tiles
from spark_imgdedup.kernels.arrays import to_host
from spark_imgdedup.kernels.cosines import pair_cosines, round_cosine, rounded_cosines, rounded_pair_cosines
from spark_imgdedup.kernels.pairwise import best_across, best_earlier, max_similarity_to_earlier
from spark_imgdedup.kernels.vectors import UnitRows, l2_normalize


def unit_rows(n, dim, seed=0):
    return l2_normalize(np.random.default_rng(seed).standard_normal((n, dim)))


def definition(embeddings):
    """One row at a time in float64: the highest rounded cosine to an earlier row, and the earliest that reaches it."""
    rows = embeddings.astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    scores, indices = [0.0], [0]
    for j in range(1, len(rows)):
        cosines = np.round(rows[:j] @ rows[j], 6)
        scores.append(cosines.max())
        indices.append(int(cosines.argmax()))
    return scores[: len(rows)], indices[: len(rows)]


def scored(xp, embeddings, **settings_):
    scores, indices = max_similarity_to_earlier(xp.asarray(embeddings), **settings_)
    return to_host(scores).tolist(), to_host(indices).tolist()


# Few directions, copies, and near-copies whose cosines differ in the sixth decimal, where rounding and ties decide.
@st.composite
def crowded(draw):
    n, dim = draw(st.integers(1, 60)), draw(st.integers(1, 24))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    base = rng.standard_normal((draw(st.integers(1, 6)), dim))
    noise = rng.choice([0.0, 0.0, 1e-7, 3e-4, 1e-3, 0.5], n)
    rows = base[rng.integers(0, len(base), n)] * rng.choice([1, 1, 1, -1], (n, 1))
    return l2_normalize(rows + noise[:, None] * rng.standard_normal((n, dim)))


def test_a_row_is_compared_with_earlier_rows_only(xp):
    a = unit_rows(1, 8)[0]

    assert scored(xp, np.stack([a, -a, a])) == ([0.0, -1.0, 1.0], [0, 0, 0])


def test_the_earliest_of_equally_similar_rows_is_named(xp):
    rows = np.array([[0, 1], [0.6, 0.8], [0.6, -0.8], [1, 0]], np.float32)

    assert scored(xp, rows) == ([0.0, 0.8, -0.28, 0.6], [0, 0, 1, 1])


def test_a_copy_names_the_earliest_row_that_rounds_to_one_with_it(xp):
    a, b = unit_rows(2, 16)
    almost_a = l2_normalize((a + np.float32(1e-4) * b)[None, :])[0]  # cosine to a: 1 - 5e-9

    scores, indices = scored(xp, np.stack([b, a, almost_a, b, almost_a, a]))

    assert scores[2:] == [1.0] * 4
    assert indices[2:] == [1, 0, 1, 1]


@given(crowded(), st.sampled_from([1, 2, 3, 7, 64, 1024]))
def test_any_batch_size_agrees_with_the_definition(xp, embeddings, batch_size):
    assert scored(xp, embeddings, batch_size=batch_size) == definition(embeddings)


@pytest.mark.parametrize("noise", [0.0, 3e-5, 2e-4, 1.0])
def test_clusters_of_several_tiles_agree_with_the_definition_for_any_batch_size(xp, noise):
    base = unit_rows(2, 32, seed=4)
    rows = base[np.arange(2300) % 2] + noise * unit_rows(2300, 32, seed=5)
    embeddings = l2_normalize(rows)

    results = [scored(xp, embeddings, batch_size=batch_size) for batch_size in (100, 1024, 1500, 5000)]

    assert results == [definition(embeddings)] * 4


@pytest.mark.parametrize("dense_share", [-1, 2], ids=["by tiles", "by pairs"])
@pytest.mark.parametrize("noise", [1e-6, 1e-3, 3e-3, 1e-2])
def test_float32_roundings_that_add_up_do_not_show(xp, monkeypatch, dense_share, noise):
    # Equal entries round the same way in every product: the worst case for the float32 proposals.
    embeddings = l2_normalize(np.ones((600, 384)) + noise * np.random.default_rng(2).standard_normal((600, 384)))
    monkeypatch.setattr(tiles, "_DENSE_SHARE", dense_share)

    assert scored(xp, embeddings) == definition(embeddings)


def test_a_cosine_on_a_rounding_boundary_rounds_alike_alone_and_in_a_crowded_tile(xp):
    # Two vectors of squared length 1048704 and product 8193: cosine 1/128, which is 7812.5 millionths. All entries and
    # scales are exact in float32, so only float64's own roundings can tip it.
    scales = (1 + np.arange(-4, 5) / 2**13) / 1024
    one = np.array([1, 76, 80, -82, 1009, 39, 101, 0, 0, 0])
    other = np.array([653, 7, 63, -24, 0, 0, 0, 785, 24, 30])
    left, right = (UnitRows.of(xp.asarray(np.outer(scales, row).astype(np.float32))) for row in (one, other))
    i, j = (xp.asarray(grid.ravel()) for grid in np.indices((9, 9)))

    alone = to_host(round_cosine(pair_cosines(left, i, right, j)))

    assert to_host(rounded_cosines(left, right)).ravel().tolist() == alone.tolist()
    assert to_host(rounded_pair_cosines(left, i, right, j)).tolist() == alone.tolist()
    assert len(set(alone.tolist())) == 2


def test_rows_slightly_off_unit_length_are_scored_by_their_cosine(xp):
    rng = np.random.default_rng(3)
    embeddings = unit_rows(300, 12) * rng.uniform(0.9992, 1.0008, (300, 1)).astype(np.float32)

    assert scored(xp, embeddings) == definition(embeddings)


@given(crowded(), st.integers(0, 1000))
def test_an_extra_copy_at_the_end_changes_no_other_row(xp, embeddings, pick):
    scores, indices = scored(xp, embeddings)

    more_scores, more_indices = scored(xp, np.vstack([embeddings, embeddings[pick % len(embeddings)]]))

    assert (more_scores[:-1], more_indices[:-1]) == (scores, indices)
    assert more_scores[-1] == 1.0
    assert more_indices[-1] <= pick % len(embeddings)


def test_many_copies_are_all_found(xp):
    embeddings = np.repeat(unit_rows(2, 64), 20_000, axis=0)

    scores, indices = max_similarity_to_earlier(xp.asarray(embeddings))

    assert to_host(indices).tolist() == [0] * 20_001 + [20_000] * 19_999
    assert (to_host(scores) == 1.0).sum() == 39_998


def test_scratch_memory_stays_far_below_the_square_of_the_rows():
    embeddings = unit_rows(6000, 16)

    tracemalloc.start()
    max_similarity_to_earlier(embeddings, batch_size=256)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak_bytes < 6000 * 6000 * 4 / 4


@st.composite
def grouped(draw):
    """Crowded rows, cut into groups at random: where each row's group starts."""
    embeddings = draw(crowded())
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    is_first = rng.random(len(embeddings)) < draw(st.sampled_from([0.02, 0.2, 0.7]))
    is_first[0] = True
    return embeddings, np.maximum.accumulate(np.where(is_first, np.arange(len(embeddings)), 0))


@given(grouped(), st.sampled_from([1, 2, 5, 64, 1024]), st.sampled_from([1, 4, 64]), st.sampled_from([2, 8, 512]))
def test_each_group_is_scored_as_if_it_were_alone(xp, embeddings_and_starts, batch_size, packed_rows, leaf_rows):
    embeddings, starts = embeddings_and_starts
    expected = [[], []]
    for start in np.unique(starts):
        scores, indices = definition(embeddings[starts == start])
        expected[0] += scores
        expected[1] += [start + index for index in indices]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "_PACKED_ROWS", packed_rows)
        patch.setattr(plan, "_BLOCK_ROWS", 4 * packed_rows)
        patch.setattr(plan, "_LEAF_ROWS", leaf_rows)
        scores, indices = best_earlier(UnitRows.of(xp.asarray(embeddings)), starts, batch_size=batch_size)

    assert [scores.tolist(), indices.tolist()] == expected


def test_a_thousand_small_groups_and_a_large_one_agree_with_the_definition(xp):
    rng = np.random.default_rng(1)
    sizes = [*rng.integers(1, 90, 60).tolist(), 700, *rng.integers(1, 4, 1000).tolist()]
    starts = np.repeat(np.cumsum([0, *sizes[:-1]]), sizes)
    rows = unit_rows(40, 24)[rng.integers(0, 40, len(starts))]
    embeddings = l2_normalize(rows + rng.choice([1e-4, 0.3], (len(rows), 1)) * unit_rows(len(rows), 24, seed=9))

    scores, indices = best_earlier(UnitRows.of(xp.asarray(embeddings)), starts)

    for start, size in zip(np.unique(starts), sizes, strict=True):
        group = slice(start, start + size)
        assert (scores[group].tolist(), (indices[group] - start).tolist()) == definition(embeddings[group])


@pytest.mark.parametrize("starts", [[0, 0, 2, 1], [0, 0, 0], [1, 1, 1, 1], [0, 2, 2, 2]])
def test_starts_that_are_not_those_of_groups_are_refused(starts):
    with pytest.raises(ValueError, match=r"starts must hold, for each of the 4 rows.*Sort the rows by group"):
        best_earlier(UnitRows.of(unit_rows(4, 8)), np.array(starts))


def across_by_definition(embeddings, side):
    """Both directions by one loop over the joint order: side says which rows are in a."""
    rows = embeddings.astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    number = np.where(side, np.cumsum(side) - 1, np.cumsum(~side) - 1)
    found = {True: [], False: []}
    for j in range(len(rows)):
        others = np.flatnonzero(side[:j] != side[j])
        cosines = np.round(rows[others] @ rows[j], 6)
        best = (cosines.max(), int(number[others[cosines.argmax()]])) if len(others) else (-np.inf, -1)
        found[bool(side[j])].append(best)
    return found[True], found[False]


def across(xp, embeddings, side, **settings_):
    ranks = np.arange(len(side)) * 3 + 1
    a, b = (UnitRows.of(xp.asarray(embeddings[which])) for which in (side, ~side))
    found = best_across(a, b, ranks[side], ranks[~side], **settings_)
    of_a = zip(found.a_scores.tolist(), found.a_partners.tolist(), strict=True)
    return list(of_a), list(zip(found.b_scores.tolist(), found.b_partners.tolist(), strict=True))


@given(
    crowded(),
    st.integers(0, 1000),
    st.sampled_from([0.1, 0.5, 0.9]),
    st.sampled_from(["mixed", "a first", "b first"]),
    st.sampled_from([1, 3, 8, 1024]),
    st.sampled_from([1, 16, 1024]),
    st.sampled_from([-1, 0.02, 2]),
)
def test_any_interleaving_of_two_sets_agrees_with_the_definition(
    xp, embeddings, seed, share, order, batch_size, tile_columns, dense_share
):
    side = np.random.default_rng(seed).random(len(embeddings)) < share
    side = side if order == "mixed" else np.sort(side) ^ (order == "a first")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "_MIN_TILE_COLUMNS", tile_columns)
        patch.setattr(tiles, "_DENSE_SHARE", dense_share)
        found = across(xp, embeddings, side, batch_size=batch_size)

    assert found == across_by_definition(embeddings, side)


@pytest.mark.parametrize("noise", [0.0, 3e-5, 2e-4, 1.0])
def test_two_sets_of_several_tiles_agree_with_the_definition(xp, noise):
    base = unit_rows(2, 32, seed=4)
    embeddings = l2_normalize(base[np.arange(2300) % 2] + noise * unit_rows(2300, 32, seed=5))
    side = np.random.default_rng(0).random(2300) < 0.4

    results = [across(xp, embeddings, side, batch_size=batch_size) for batch_size in (100, 1024, 5000)]

    assert results == [across_by_definition(embeddings, side)] * 3


def test_a_set_cut_into_blocks_and_compared_block_by_block_gives_the_same_rows(xp):
    base = unit_rows(30, 16)
    noise = np.random.default_rng(3).choice([0.0, 1e-7, 1e-3, 0.3], (500, 1))
    rows = UnitRows.of(xp.asarray(l2_normalize(base[np.arange(500) % 30] + noise * unit_rows(500, 16, seed=1))))
    whole = best_earlier(rows)

    ranks, scores, indices = np.arange(500), np.full(500, -np.inf), np.zeros(500, dtype=np.int64)
    for block in (slice(0, 200), slice(200, 290), slice(290, 500)):
        if block.start:
            earlier = best_across(rows[: block.start], rows[block], ranks[: block.start], ranks[block])
            scores[block], indices[block] = earlier.b_scores, earlier.b_partners
        own_scores, own_indices = best_earlier(rows[block])
        own_scores[0] = -np.inf if block.start else 0.0
        better = own_scores > scores[block]
        scores[block] = np.where(better, own_scores, scores[block])
        indices[block] = np.where(better, own_indices + block.start, indices[block])

    assert (scores.tolist(), indices.tolist()) == (whole[0].tolist(), whole[1].tolist())


def test_two_sets_are_compared_in_far_less_memory_than_their_product_takes():
    a, b = (UnitRows.of(unit_rows(6000, 16, seed)) for seed in (0, 1))
    order = np.random.default_rng(0).permutation(12_000)

    tracemalloc.start()
    best_across(a, b, np.sort(order[:6000]), np.sort(order[6000:]), batch_size=256)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak_bytes < 6000 * 6000 * 4 / 4


@pytest.mark.parametrize(
    ("a_ranks", "b_ranks", "message"),
    [
        ([0, 1, 2], [3, 4], r"b_ranks must be 3 ascending numbers, one for each row, got shape \(2,\)\. Sort"),
        ([0, 2, 1], [3, 4, 5], r"a_ranks must be 3 ascending numbers"),
        ([0, 2, 4], [1, 4, 5], r"1 ranks are in both sets, 4 first.*Leave rows"),
    ],
)
def test_ranks_that_are_no_order_of_both_sets_are_refused(a_ranks, b_ranks, message):
    rows = UnitRows.of(unit_rows(3, 8))
    with pytest.raises(ValueError, match=message):
        best_across(rows, rows, np.array(a_ranks), np.array(b_ranks))


def test_no_rows_give_no_scores(xp):
    scores, indices = max_similarity_to_earlier(xp.empty((0, 4), dtype=xp.float32))

    assert (scores.shape, scores.dtype, indices.shape, indices.dtype) == ((0,), np.float64, (0,), np.int64)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.full((3, 4), 0.9, np.float32), r"3 of 3 rows have not: row 0 has length 1\.8\. .*l2_normalize"),
        (np.array([[1, 0], [np.nan, 1]], np.float32), r"1 of 2 rows have not: row 1 has length nan\. .*invalid_rows"),
        (np.zeros((1, 4), np.float32), r"row 0 has length 0\. "),
        (np.eye(2), r"float32 matrix \(N, D\), got float64 of shape \(2, 2\)"),
        (np.ones(2, np.float32), r"float32 matrix \(N, D\), got float32 of shape \(2,\)"),
    ],
)
def test_what_are_not_float32_rows_of_unit_length_is_refused_with_the_remedy(bad, message):
    with pytest.raises(ValueError, match=message):
        max_similarity_to_earlier(bad)


def test_a_batch_without_rows_is_refused():
    with pytest.raises(ValueError, match=r"batch_size must be at least 1, got 0\. The default"):
        max_similarity_to_earlier(np.eye(2, dtype=np.float32), batch_size=0)
