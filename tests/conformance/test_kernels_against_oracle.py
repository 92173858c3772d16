"""The kernels, put together as the stages do, against slow implementations of the same rules."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_imgdedup.kernels.kmeans import nearest_centroid
from spark_imgdedup.kernels.pairwise import max_similarity_to_earlier
from spark_imgdedup.kernels.ranking import rank_order
from spark_imgdedup.kernels.vectors import l2_normalize

# Outside the repository: the project's reference oracle, where a checkout has it beside it.
REFERENCE = Path(__file__).parents[2].parent / "shared" / "oracle_semdedup.py"


def load(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ours = load(Path(__file__).with_name("oracle.py"), "conformance_oracle")


def by_reference(embeddings, ids, centroids, which_to_keep, seed=0):
    reference = load(REFERENCE, "reference_oracle")
    order = None
    if which_to_keep == "random":
        order = np.empty(len(ids), dtype=int)
        order[ours.in_rank_order(ids, [0.0] * len(ids), "random", seed)] = np.arange(len(ids))
    found = reference.semdedup_oracle(embeddings, ids, centroids, which_to_keep, order)
    return {
        id_: ours.Scored(
            int(found.cluster[i]),
            float(np.round(found.cosine_dist_to_cent[i], 6)),
            int(found.rank_in_cluster[i]),
            found.max_id[i],
            float(found.cosine_sim_score[i]),
        )
        for i, id_ in enumerate(ids)
    }


ORACLES = [
    pytest.param(ours.score, id="ours"),
    pytest.param(
        by_reference,
        id="reference",
        marks=pytest.mark.skipif(not REFERENCE.exists(), reason="no reference oracle beside this checkout"),
    ),
]


def by_kernels(embeddings, ids, centroids, which_to_keep, seed=0, batch_size=1024):
    home, distances = nearest_centroid(embeddings, centroids, batch_size=batch_size)
    result = {}
    for cluster in np.unique(home).tolist():
        members = np.flatnonzero(home == cluster)
        order = rank_order(
            [ids[m] for m in members], distances[members], which_to_keep=which_to_keep, random_state=seed
        )
        ranked = members[order]
        scores, indices = max_similarity_to_earlier(embeddings[ranked], batch_size=batch_size)
        for rank, member in enumerate(ranked):
            max_id = ids[ranked[indices[rank]]]
            result[ids[member]] = ours.Scored(cluster, float(distances[member]), rank, max_id, float(scores[rank]))
    return result


def isotropic(rng):
    return rng.standard_normal((700, 24))


def clip_like(rng):
    """A shared direction, topics within it, and near-copies at cosines of about 0.9 to 0.9999999."""
    topics = rng.standard_normal((12, 48)) * (1 + np.arange(48)) ** -0.6
    images = topics[rng.integers(0, 12, 1500)] + 0.5 * rng.standard_normal((1500, 48)) * (1 + np.arange(48)) ** -0.6
    images = l2_normalize(images) + l2_normalize(rng.standard_normal((1, 48)))
    edits = images[:900] + rng.choice([3e-4, 3e-3, 0.05], (900, 1)) * rng.standard_normal((900, 48))
    return np.vstack([images, edits])


def full_of_copies(rng):
    return rng.standard_normal((60, 16))[rng.integers(0, 60, 700)]


@pytest.fixture(scope="module", params=[isotropic, clip_like, full_of_copies], ids=lambda make: make.__name__)
def dataset(request):
    rng = np.random.default_rng(11)
    embeddings = l2_normalize(request.param(rng))
    ids = [f"shard-{i % 7}/{i}" for i in rng.permutation(len(embeddings))]
    return embeddings, ids, embeddings[rng.choice(len(embeddings), 2, replace=False)]


@pytest.fixture(scope="module")
def expected(dataset):
    """Each oracle's answer, computed once for all batch sizes."""
    cache = {}

    def answer(oracle, which_to_keep):
        if (oracle, which_to_keep) not in cache:
            cache[oracle, which_to_keep] = oracle(*dataset, which_to_keep, 5)
        return cache[oracle, which_to_keep]

    return answer


@pytest.mark.parametrize("oracle", ORACLES)
@pytest.mark.parametrize("which_to_keep", ["hard", "easy", "random"])
@pytest.mark.parametrize("batch_size", [1, 64, 1024])
def test_every_row_equals_the_oracles(dataset, expected, oracle, which_to_keep, batch_size):
    assert by_kernels(*dataset, which_to_keep, 5, batch_size) == expected(oracle, which_to_keep)


# The hand-made cluster: ids 0 to 5, the centroid is row 0, and rows 4 and 5 repeat it.
SIX = l2_normalize(np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11, 12], [1, 2, 3], [1, 2, 3]], np.float64))
ONE_TO_TWO, TWO_TO_THREE, THREE_TO_FOUR = 0.974632, 0.998191, 0.999619
EPS = (0.1, 0.01, 0.003, 0.001)


def scored_six(which_to_keep):
    return by_kernels(SIX, list(range(6)), SIX[:1], which_to_keep)


@pytest.mark.parametrize("batch_size", range(1, 7))
def test_rows_in_input_order_score_as_published(batch_size):
    scores, indices = max_similarity_to_earlier(SIX, batch_size=batch_size)

    assert scores.tolist() == [0, ONE_TO_TWO, TWO_TO_THREE, THREE_TO_FOUR, 1, 1]
    assert indices.tolist() == [0, 0, 1, 2, 0, 0]


@pytest.mark.parametrize(
    ("which_to_keep", "order", "max_ids", "scores"),
    [
        ("hard", [3, 2, 1, 5, 4, 0], [3, 3, 2, 1, 5, 5], [0, THREE_TO_FOUR, TWO_TO_THREE, ONE_TO_TWO, 1, 1]),
        ("easy", [0, 4, 5, 1, 2, 3], [0, 0, 0, 0, 1, 2], [0, 1, 1, ONE_TO_TWO, TWO_TO_THREE, THREE_TO_FOUR]),
    ],
)
def test_ranked_rows_score_as_published(which_to_keep, order, max_ids, scores):
    scored = scored_six(which_to_keep)

    assert sorted(scored, key=lambda id_: scored[id_].rank) == order
    assert [scored[id_].max_id for id_ in order] == max_ids
    assert [scored[id_].cosine_sim_score for id_ in order] == scores
    assert [scored[id_].cosine_dist_to_cent for id_ in range(6)] == [0, 0.025368, 0.040588, 0.048742, 0, 0]


@pytest.mark.parametrize(
    ("which_to_keep", "removed"),
    [
        ("hard", [{0, 1, 2, 4, 5}, {0, 1, 2, 4}, {0, 1, 2, 4}, {0, 2, 4}]),
        ("easy", [{1, 2, 3, 4, 5}, {2, 3, 4, 5}, {2, 3, 4, 5}, {3, 4, 5}]),
    ],
)
def test_the_published_rows_are_removed_at_each_eps(which_to_keep, removed):
    assert [ours.removed_by_semdedup(scored_six(which_to_keep), eps) for eps in EPS] == removed


@pytest.mark.parametrize(("which_to_keep", "kept"), [("easy", {0, 1}), ("hard", {3, 5})])
def test_a_chain_is_removed_link_by_link_even_where_no_kept_row_is_left_within_eps(which_to_keep, kept):
    assert set(range(6)) - ours.removed_by_semdedup(scored_six(which_to_keep), 0.003) == kept


def test_a_single_row_resembles_itself_with_a_score_of_zero():
    scored = by_kernels(SIX[:1], ["only"], SIX[1:2], "hard")

    assert scored == {"only": ours.Scored(0, 0.025368, 0, "only", 0.0)}


def test_a_row_between_two_others_names_the_better_ranked():
    half = 2**-0.5
    ranked = np.array([[0, 1], [half, half], [1, 0]], np.float32)  # ids 2, 3, 1 by their metadata

    scores, indices = max_similarity_to_earlier(ranked)

    assert scores.tolist() == [0, 0.707107, 0.707107]
    assert indices.tolist() == [0, 0, 1]


def test_a_row_opposite_to_all_before_it_keeps_its_negative_score():
    scores, indices = max_similarity_to_earlier(np.array([[1, 0], [-1, 0]], np.float32))

    assert (scores.tolist(), indices.tolist()) == ([0, -1], [0, 0])


def made(scores):
    return {number: ours.Scored(0, 0.0, number, 0, value) for number, value in enumerate(scores)}


@pytest.mark.parametrize(
    ("scores", "eps", "n_removed"),
    [
        ([0.95, 0.95, 0.85, 0.85, 0.75], 0.1, 2),
        ([0.5, 0.6, 0.7], 0.1, 0),
        ([0.98, 0.98, 0.85, 0.85], 0.2, 4),
        ([0.82], 0.18, 1),
    ],
)
def test_the_oracle_removes_as_many_as_published(scores, eps, n_removed):
    assert len(ours.removed_by_semdedup(made(scores), eps)) == n_removed


@st.composite
def small_clusters(draw):
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    n, dim = draw(st.integers(1, 30)), draw(st.integers(2, 8))
    noise = rng.choice([0.0, 1e-3, 0.3], (n, 1))
    rows = rng.standard_normal((4, dim))[rng.integers(0, 4, n)] + noise * rng.standard_normal((n, dim))
    return l2_normalize(rows)


RANKINGS = st.sampled_from(["hard", "easy", "random"])


@given(small_clusters(), RANKINGS, st.randoms(use_true_random=False))
def test_the_order_in_which_rows_arrive_changes_nothing(embeddings, which_to_keep, random):
    ids = [f"{i:03}" for i in range(len(embeddings))]
    order = random.sample(range(len(ids)), len(ids))

    shuffled = by_kernels(embeddings[order], [ids[i] for i in order], embeddings[:2], which_to_keep)

    assert shuffled == by_kernels(embeddings, ids, embeddings[:2], which_to_keep)


@given(small_clusters(), RANKINGS, st.floats(0, 0.99))
def test_the_best_ranked_row_of_each_cluster_always_stays(embeddings, which_to_keep, eps):
    scored = by_kernels(embeddings, list(range(len(embeddings))), embeddings[:2], which_to_keep)

    best = {id_ for id_, row in scored.items() if row.rank == 0}

    assert best
    assert not best & ours.removed_by_semdedup(scored, eps)


@given(small_clusters(), RANKINGS)
def test_one_of_each_set_of_exact_copies_stays_at_eps_zero(embeddings, which_to_keep):
    scored = by_kernels(embeddings, list(range(len(embeddings))), embeddings[:2], which_to_keep)

    kept = set(scored) - ours.removed_by_semdedup(scored, 0.0)

    assert all(row.max_id in scored and scored[row.max_id].rank <= row.rank for row in scored.values())
    assert len({embeddings[id_].tobytes() for id_ in kept}) == len(kept)
