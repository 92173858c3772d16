"""The stages on 2,100 embeddings of real images, exact copies among them, against slow implementations of the rules.

`scripts/make_test_embeddings.py` makes the embeddings.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from spark_imgdedup.config import parse_config
from spark_imgdedup.kernels.vectors import l2_normalize
from spark_imgdedup.stages.centroids import fit_centroids
from spark_imgdedup.stages.cluster import assign_clusters
from spark_imgdedup.stages.identify import identify_duplicates
from spark_imgdedup.stages.pairwise import score_pairs
from spark_imgdedup.stages.thresholds import survey_scores
from spark_imgdedup.stages.vectors.vector_column import VectorColumn, mark_vectors
from tests.arrow import computed, from_arrow, to_arrow
from tests.conformance.test_kernels_against_oracle import ORACLES, metadata_of, ours

EMBEDDINGS = Path(__file__).parents[1] / "data" / "real_embeddings.npz"
N_CLUSTERS = 12
SEED = 5
CASES = [*((kind, which) for kind in ("float16", "float32") for which in ("hard", "easy", "random"))]
CASES += [("float16", "metadata")]
METADATA = ["source", "quality"]
EPS_LEVELS = [0.0, 0.01, 0.1, 0.29]
# Partitions of every shuffle, and rows per matrix product.
ROUTES = [(1, 1024), (8, 64)]


def settings(which_to_keep="hard", batch_size=1024, eps=0.1):
    ranking = {"metadata_columns": METADATA, "ascending": [False, True]} if which_to_keep == "metadata" else {}
    return parse_config(
        {
            "cluster": {"n_clusters": N_CLUSTERS, "metadata_columns": METADATA},
            "pairwise": {"which_to_keep": which_to_keep, "batch_size": batch_size, "random_state": SEED} | ranking,
            "identify": {"eps": eps},
        }
    )


@pytest.fixture(scope="module")
def real():
    """ids, and the (N, 1280) vectors as float16 holds them."""
    with np.load(EMBEDDINGS) as stored:
        return stored["ids"].tolist(), stored["vectors"][stored["row_of"]]


@pytest.fixture(scope="module")
def stored_as(real):
    """For each kind of column, the matrix to store: float16 as it is, float32 of unit length."""
    vectors = real[1].astype(np.float32)
    return {"float16": vectors, "float32": l2_normalize(vectors)}


@pytest.fixture(scope="module")
def tables(_session, real, stored_as):
    metadata = {name: values for name, (values, _) in zip(METADATA, metadata_of(real[0]), strict=True)}

    def table(kind):
        column = VectorColumn(kind)
        rows = pa.table({"image_id": real[0], "embedding": column.encode(stored_as[kind]), **metadata})
        return mark_vectors(from_arrow(_session, rows), "embedding", column).repartition(4).cache()

    return {kind: table(kind) for kind in stored_as}


@pytest.fixture(scope="module")
def centroids(tables):
    return fit_centroids(tables["float16"], settings())


@pytest.fixture(scope="module")
def run(_session, tables, centroids):
    """Similarities of one route through the stages, kept for all tests."""
    kept = {}

    def route(kind, which_to_keep, n_partitions, batch_size):
        name = kind, which_to_keep, n_partitions, batch_size
        if name not in kept:
            _session.conf.set("spark.sql.shuffle.partitions", str(n_partitions))
            config = settings(which_to_keep, batch_size)
            clusters = assign_clusters(tables[kind].repartition(n_partitions), centroids, config)
            kept[name] = computed(score_pairs(clusters, config)).coalesce(1).cache()
            _session.conf.set("spark.sql.shuffle.partitions", "2")
        return kept[name]

    return route


@pytest.fixture(scope="module")
def expected(real, stored_as, centroids):
    """Each oracle's answer for the stored vectors, computed once for all routes."""
    cache = {}

    def answer(oracle, kind, which_to_keep):
        name = oracle, kind, which_to_keep
        if name not in cache:
            cache[name] = oracle(
                l2_normalize(stored_as[kind]), real[0], centroids, which_to_keep, SEED, metadata_of(real[0])
            )
        return cache[name]

    return answer


def compared(similarities):
    names = ("image_id", "cluster_id", "cosine_dist_to_cent", "max_id", "cosine_sim_score")
    columns = to_arrow(similarities.select(*names))
    return dict(
        zip(columns[0].to_pylist(), zip(*(c.to_pylist() for c in columns.columns[1:]), strict=True), strict=True)
    )


def by_oracle(scored):
    return {
        id_: (row.cluster_id, row.cosine_dist_to_cent, row.max_id, row.cosine_sim_score) for id_, row in scored.items()
    }


def test_the_embeddings_are_many_and_real_with_exact_copies_among_them(real, centroids):
    ids, vectors = real

    _, counts = np.unique(vectors, axis=0, return_counts=True)

    assert len(set(ids)) == len(vectors) == 2_100
    assert len(counts) < 1_740
    assert counts.max() > 60
    assert centroids.shape == (N_CLUSTERS, 1280)


@pytest.mark.parametrize("oracle", ORACLES)
@pytest.mark.parametrize(("kind", "which_to_keep"), CASES)
def test_every_row_equals_the_oracles(run, expected, oracle, kind, which_to_keep):
    wanted = by_oracle(expected(oracle, kind, which_to_keep))

    for n_partitions, batch_size in ROUTES:
        assert compared(run(kind, which_to_keep, n_partitions, batch_size)) == wanted


def test_metadata_stays_with_its_row(run, real):
    kept = run("float16", "metadata", *ROUTES[1]).select("image_id", *METADATA).collect()

    given = dict(zip(real[0], zip(*(values for values, _ in metadata_of(real[0])), strict=True), strict=True))
    assert {row.image_id: (row.source, str(row.quality)) for row in kept} == {
        id_: (source, str(quality)) for id_, (source, quality) in given.items()
    }


def test_one_row_at_a_time_gives_the_same_result(run):
    assert compared(run("float16", "hard", 1, 1)) == compared(run("float16", "hard", 8, 64))


@pytest.mark.parametrize("oracle", ORACLES)
@pytest.mark.parametrize(("kind", "which_to_keep"), CASES)
def test_the_duplicates_are_the_oracles(run, expected, oracle, kind, which_to_keep):
    similarities = run(kind, which_to_keep, *ROUTES[0])
    scored = expected(oracle, kind, which_to_keep)

    removed = [ours.removed_by_semdedup(scored, eps) for eps in EPS_LEVELS]

    levels = survey_scores(similarities, EPS_LEVELS, settings()).levels
    assert [level.n_removed for level in levels] == [len(ids) for ids in removed]
    assert len(removed[0]) > 350  # the copies at the least
    duplicates = to_arrow(identify_duplicates(similarities, settings(eps=EPS_LEVELS[-1])))
    assert set(duplicates["image_id"].to_pylist()) == removed[-1]
