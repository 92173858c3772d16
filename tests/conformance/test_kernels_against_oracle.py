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
from spark_imgdedup.kernels.ranking import RankKey, rank_order
from spark_imgdedup.kernels.vectors import l2_normalize

# Outside the repository: the project's reference oracle, where a checkout has it beside it.
REFERENCE = Path(__file__).parents[2].parent / "shared" / "oracle_semdedup.py"


def load(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ours = load(Path(__file__).with_name("oracle.py"), "conformance_oracle")


def by_reference(embeddings, ids, centroids, which_to_keep, seed=0, keys=()):
    reference = load(REFERENCE, "reference_oracle")
    order = None
    if which_to_keep in ("random", "metadata"):
        order = np.empty(len(ids), dtype=int)
        order[ours.in_rank_order(ids, [0.0] * len(ids), which_to_keep, seed, keys)] = np.arange(len(ids))
        which_to_keep = "random"  # to the reference: the order given
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


def by_kernels(embeddings, ids, centroids, which_to_keep, seed=0, keys=(), batch_size=1024):
    home, distances = nearest_centroid(embeddings, centroids, batch_size=batch_size)
    result = {}
    for cluster in np.unique(home).tolist():
        members = np.flatnonzero(home == cluster)
        order = rank_order(
            [ids[m] for m in members],
            distances[members],
            which_to_keep=which_to_keep,
            random_state=seed,
            keys=[RankKey("key", [values[m] for m in members], ascending) for values, ascending in keys],
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


def metadata_of(ids):
    """A source (text, descending) and a quality (ascending), each with many ties and with gaps."""
    marks = [len(str(id_)) * 7 + sum(map(ord, str(id_))) for id_ in ids]
    sources = [(None, "web", "books")[mark % 3] for mark in marks]
    qualities = [(None, float("nan"), 0.5, 1.5)[mark // 3 % 4] for mark in marks]
    return [(sources, False), (qualities, True)]


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
            cache[oracle, which_to_keep] = oracle(*dataset, which_to_keep, 5, metadata_of(dataset[1]))
        return cache[oracle, which_to_keep]

    return answer


@pytest.mark.parametrize("oracle", ORACLES)
@pytest.mark.parametrize("which_to_keep", ["hard", "easy", "random", "metadata"])
@pytest.mark.parametrize("batch_size", [1, 64, 1024])
def test_every_row_equals_the_oracles(dataset, expected, oracle, which_to_keep, batch_size):
    found = by_kernels(*dataset, which_to_keep, 5, metadata_of(dataset[1]), batch_size)

    assert found == expected(oracle, which_to_keep)


@st.composite
def small_clusters(draw):
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    n, dim = draw(st.integers(1, 30)), draw(st.integers(2, 8))
    noise = rng.choice([0.0, 1e-3, 0.3], (n, 1))
    rows = rng.standard_normal((4, dim))[rng.integers(0, 4, n)] + noise * rng.standard_normal((n, dim))
    return l2_normalize(rows)


RANKINGS = st.sampled_from(["hard", "easy", "random", "metadata"])


@given(small_clusters(), RANKINGS, st.randoms(use_true_random=False))
def test_the_order_in_which_rows_arrive_changes_nothing(embeddings, which_to_keep, random):
    ids = [f"{i:03}" for i in range(len(embeddings))]
    order = random.sample(range(len(ids)), len(ids))

    ids_shuffled = [ids[i] for i in order]

    shuffled = by_kernels(
        embeddings[order], ids_shuffled, embeddings[:2], which_to_keep, keys=metadata_of(ids_shuffled)
    )

    assert shuffled == by_kernels(embeddings, ids, embeddings[:2], which_to_keep, keys=metadata_of(ids))


@given(small_clusters(), RANKINGS, st.floats(0, 0.99))
def test_the_best_ranked_row_of_each_cluster_always_stays(embeddings, which_to_keep, eps):
    ids = list(range(len(embeddings)))
    scored = by_kernels(embeddings, ids, embeddings[:2], which_to_keep, keys=metadata_of(ids))

    best = {id_ for id_, row in scored.items() if row.rank == 0}

    assert best
    assert not best & ours.removed_by_semdedup(scored, eps)


@given(small_clusters(), RANKINGS)
def test_one_of_each_set_of_exact_copies_stays_at_eps_zero(embeddings, which_to_keep):
    ids = list(range(len(embeddings)))
    scored = by_kernels(embeddings, ids, embeddings[:2], which_to_keep, keys=metadata_of(ids))

    kept = set(scored) - ours.removed_by_semdedup(scored, 0.0)

    assert all(row.max_id in scored and scored[row.max_id].rank <= row.rank for row in scored.values())
    assert len({embeddings[id_].tobytes() for id_ in kept}) == len(kept)
