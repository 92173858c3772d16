"""Against the rules as they are said: one picture after the other, in rank order, over every pair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components

from spark_imgdedup.kernels.content import PLAIN_BYTES
from spark_imgdedup.kernels.cosines import rounded_cosines
from spark_imgdedup.kernels.evidence import NO_DISTANCE, Apart, Evidence, Hashes, Pairs, Plain, Reach
from spark_imgdedup.kernels.selection import join, keep_first, keep_greedily
from spark_imgdedup.kernels.vectors import UnitRows, l2_normalize


@st.composite
def pictures(draw):
    """Vectors a few steps apart, hashes a few bits apart, some plain, some without a hash, some called different."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    n = draw(st.integers(1, 40))
    steps = rng.standard_normal((n, 6)) * rng.choice([1e-3, 0.1, 0.4, 3.0], (n, 1))
    vectors = l2_normalize(rng.standard_normal(6) + np.cumsum(steps, axis=0)).astype(np.float32)
    bits = np.cumsum(rng.random((n, 64)) < rng.choice([0.02, 0.1, 0.5], (n, 1)), axis=0) % 2
    own = np.packbits(bits.astype(np.uint8), axis=1)
    views = np.packbits(1 - bits.astype(np.uint8), axis=1)[:, None, :]
    plain = rng.random(n) < draw(st.sampled_from([0.0, 0.3]))
    pixels = rng.integers(0, 3, (n, 1)).astype(np.uint8) * 100 + np.zeros((n, PLAIN_BYTES), np.uint8)
    starts = np.sort(rng.integers(0, draw(st.integers(1, 4)), n))
    starts = np.searchsorted(starts, starts)
    hashes = Hashes(own, views, rng.random(n) < 0.9)
    numbers = np.where(rng.random(n) < draw(st.sampled_from([0.3, 1.0])), rng.permutation(n), -1)
    pairs = np.sort(rng.integers(0, n, (draw(st.integers(0, 40)), 2)), axis=1)
    pairs = pairs[pairs[:, 0] < pairs[:, 1]]
    apart = Apart(numbers.astype(np.int64), pairs) if len(pairs) else None
    return Evidence(n, UnitRows.of(vectors), hashes, Plain(pixels, plain), apart), starts, rng.random(n)


REACHES = st.builds(
    Reach,
    min_cosine=st.sampled_from([None, 0.999999, 0.99, 0.95, 0.8]),
    radius=st.sampled_from([None, 0, 3, 8]),
    agreeing_radius=st.sampled_from([None, 10]),
    agreeing_cosine=st.sampled_from([0.5, 0.9]),
)


def called_different(evidence):
    """Which pairs are (N, N)."""
    apart, n = evidence.apart, len(evidence)
    said = set() if apart is None else set(map(tuple, apart.pairs.tolist()))
    numbers = [-1] * n if apart is None else apart.number.tolist()
    pairs = [[(min(one, other), max(one, other)) in said for other in numbers] for one in numbers]
    return np.array(pairs, dtype=bool).reshape(n, n)


def near_by_definition(evidence, starts, reach):
    """Which pairs count, from the words of `Reach` and `Plain`."""
    n = len(evidence)
    cosines = rounded_cosines(evidence.vectors, evidence.vectors)
    near, different = np.zeros((n, n), bool), called_different(evidence)
    for i in range(n):
        for j in range(n):
            if i == j or starts[i] != starts[j] or different[i, j]:
                continue
            plain = evidence.plain.known
            if plain[i] or plain[j]:
                near[i, j] = plain[i] and plain[j] and (evidence.plain.pixels[i] == evidence.plain.pixels[j]).all()
                continue
            distance = NO_DISTANCE
            if evidence.hashes.known[i] and evidence.hashes.known[j]:
                bits = [
                    np.unpackbits(one ^ other).sum()
                    for one, other in (
                        (evidence.hashes.own[i], evidence.hashes.own[j]),
                        (evidence.hashes.own[i], evidence.hashes.views[j, 0]),
                        (evidence.hashes.views[i, 0], evidence.hashes.own[j]),
                    )
                ]
                distance = min(bits)
            near[i, j] = (
                (reach.min_cosine is not None and cosines[i, j] >= reach.min_cosine)
                or (reach.radius is not None and distance <= reach.radius)
                or (
                    reach.agreeing_radius is not None
                    and distance <= reach.agreeing_radius
                    and cosines[i, j] >= reach.agreeing_cosine
                )
            )
    return near


def one_by_one(near, never):
    kept_by = []
    for row in range(len(near)):
        within = [other for other in range(row) if kept_by[other] < 0 and near[row, other]]
        kept_by.append(within[0] if within and not never[row] else -1)
    return kept_by


@settings(deadline=None)
@given(pictures(), st.lists(REACHES, min_size=1, max_size=3), st.sampled_from([0.0, 0.2]), st.sampled_from([1, 3, 512]))
def test_greedy_keeps_what_a_walk_through_all_pictures_in_rank_order_keeps(case, reaches, share, block_rows):
    evidence, starts, draws = case
    in_group = np.arange(len(evidence)) - starts
    sizes = np.bincount(starts, minlength=len(evidence))[starts]
    never = in_group < np.floor(share * sizes * draws[starts] * 3)  # first in their groups

    found = keep_greedily(evidence, starts, reaches, never, block_rows=block_rows)

    for reach, kept_by in zip(reaches, found, strict=True):
        near = near_by_definition(evidence, starts, reach)
        assert kept_by.tolist() == one_by_one(near, never)
        gone = np.flatnonzero(kept_by >= 0)
        assert (kept_by[kept_by[gone]] == -1).all()
        assert near[gone, kept_by[gone]].all()


@settings(deadline=None)
@given(pictures(), REACHES, st.sampled_from([1, 3, 512]))
def test_components_are_those_of_all_pairs(case, reach, block_rows):
    evidence, starts, _ = case
    near = near_by_definition(evidence, starts, reach)

    found = join(evidence, starts, reach, block_rows=block_rows)

    labels = connected_components(near, directed=False)[1]
    assert found.tolist() == [int(np.flatnonzero(labels == label)[0]) for label in labels]


@pytest.mark.parametrize("block_rows", [64, 512])
def test_every_second_link_of_a_chain_stays_by_greedy_and_the_first_by_components(block_rows):
    turns = np.arange(1000) * 0.001
    rows = UnitRows.of(np.stack([np.cos(turns), np.sin(turns)], axis=1).astype(np.float32))
    chain, starts = Evidence(1000, rows), np.zeros(1000, np.int64)
    next_only = Reach(min_cosine=round(float(np.cos(0.0015)), 6))

    (kept_by,) = keep_greedily(chain, starts, [next_only], block_rows=block_rows)
    alone = keep_first(join(chain, starts, next_only, block_rows=block_rows))

    assert kept_by.tolist() == [-1 if place % 2 == 0 else place - 1 for place in range(1000)]
    assert alone.tolist() == [-1] + [0] * 999


def test_of_a_star_the_middle_stays_where_it_ranks_first_and_all_rays_where_it_ranks_last():
    rays = np.eye(8, dtype=np.float32) * np.sqrt(0.19) + np.concatenate([[np.sqrt(0.81)], np.zeros(7)]).astype(
        np.float32
    )
    rays = l2_normalize(rays[1:])
    middle = np.eye(8, dtype=np.float32)[:1]
    reach = Reach(min_cosine=0.89)

    first = Evidence(8, UnitRows.of(np.concatenate([middle, rays])))
    last = Evidence(8, UnitRows.of(np.concatenate([rays, middle])))
    starts = np.zeros(8, np.int64)

    assert keep_greedily(first, starts, [reach])[0].tolist() == [-1] + [0] * 7
    assert keep_greedily(last, starts, [reach])[0].tolist() == [-1] * 7 + [0]
    assert keep_first(join(last, starts, reach)).tolist() == [-1] + [0] * 7


def test_two_pictures_that_must_stay_both_stay_and_take_the_others():
    same = Evidence(4, UnitRows.of(np.tile(np.float32([1, 0]), (4, 1))))
    never = np.array([True, True, False, False])
    starts = np.zeros(4, np.int64)

    assert keep_greedily(same, starts, [Reach(1.0)], never)[0].tolist() == [-1, -1, 0, 0]
    assert keep_first(join(same, starts, Reach(1.0)), never).tolist() == [-1, -1, 0, 0]


def test_a_question_about_vectors_that_are_not_there_is_refused():
    nothing = Evidence(2, hashes=Hashes(np.zeros((2, 8), np.uint8), np.zeros((2, 0, 8), np.uint8), np.ones(2, bool)))

    assert Pairs(nothing, nothing).within(Reach(radius=0)).all()
    assert np.isnan(nothing.cosines(np.array([0]), nothing, np.array([1]))).all()
    with pytest.raises(ValueError, match="no vectors"):
        Pairs(nothing, nothing).within(Reach(min_cosine=0.5))
