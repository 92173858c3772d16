"""conf/nemo.yaml against the oracle, and what NeMo Curator 1.4.0 does otherwise than the version before it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_imgdedup.config import load_config, parse_config
from spark_imgdedup.errors import SchemaError
from spark_imgdedup.files import artifacts
from spark_imgdedup.kernels.pairwise import max_similarity_to_earlier
from spark_imgdedup.kernels.vectors import l2_normalize
from spark_imgdedup.pipeline import run
from spark_imgdedup.stages.cluster import assign_clusters
from spark_imgdedup.stages.identify import identify_duplicates
from spark_imgdedup.stages.local_rows import local_rows
from spark_imgdedup.stages.pairwise import score_pairs
from tests.arrow import computed
from tests.conformance import nemo_curator
from tests.conformance.test_kernels_against_oracle import ORACLES, ours
from tests.conformance.test_stages_against_oracle import EMBEDDINGS

ROOT = Path(__file__).resolve().parents[2]
# T24: in this order D is as far from A as from B and C, and names the earliest.
FIVE = np.array([[1, 0, 0, 0], [0.96, 0.28, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0.96, 0, 0.28]], np.float32)
FIVE_FOUND = {"A": ("A", 0), "B": ("A", 0.96), "C": ("B", 0.28), "D": ("A", 0), "E": ("C", 0.96)}
BY_PLACE = {"which_to_keep": "metadata", "metadata_columns": ["place"]}


@pytest.fixture(scope="module")
def real():
    """ids, and (2100, 1280) vectors, exact copies among them."""
    with np.load(EMBEDDINGS) as stored:
        return stored["ids"].tolist(), l2_normalize(stored["vectors"][stored["row_of"]])


@pytest.fixture(scope="module")
def migrated(_session, real, tmp_path_factory):
    """A run with conf/nemo.yaml: its settings and summary, ids, vectors and the centroids it made."""
    folder = tmp_path_factory.mktemp("nemo")
    ids, vectors = real
    table = pa.table({"id": ids, "embedding": pa.array(list(vectors), pa.list_(pa.float32()))})
    pq.write_table(table, folder / "embeddings.parquet")
    given = (f"cluster.embeddings_path={folder}/embeddings.parquet", f"work_dir={folder}/work")
    config = load_config(str(ROOT / "conf/nemo.yaml"), given)

    summary = run(config, _session)

    return folder / "work", summary, artifacts.load(artifacts.find(str(folder / "work/centroids")))


def test_its_settings_are_nemo_curators():
    config = load_config(str(ROOT / "conf/nemo.yaml"), ())

    assert (config.identify.rule, config.identify.eps) == ("semdedup", 0.01)
    assert (config.pairwise.which_to_keep, config.pairwise.distance_metric) == ("hard", "cosine")
    assert (config.pairwise.probes, config.cluster.n_clusters, config.cluster.max_iter) == ("home", 100, 300)
    assert (config.cluster.random_state, config.pairwise.random_state, config.pairwise.batch_size) == (42, 42, 1024)
    assert config.detect.hashes == frozenset()


@pytest.mark.parametrize("oracle", ORACLES)
def test_a_run_with_conf_nemo_removes_the_oracles_rows_and_no_others(migrated, real, oracle):
    work, summary, centroids = migrated
    ids, vectors = real

    expected = oracle(vectors, ids, centroids, "hard")

    rows = pq.read_table(work / "similarities").to_pylist()
    assert len(centroids) == summary.clusters == 100
    assert {row["id"]: (row["cluster_id"], row["max_id"], row["cosine_sim_score"]) for row in rows} == {
        id_: (row.cluster_id, row.max_id, row.cosine_sim_score) for id_, row in expected.items()
    }
    removed = pq.read_table(work / "duplicates")["id"].to_pylist()
    assert set(removed) == ours.removed_by_semdedup(expected, 0.01)
    assert len(removed) == len(set(removed)) > 350


def test_t24_in_the_kernel():
    values, indices = max_similarity_to_earlier(l2_normalize(FIVE))

    found = dict(zip("ABCDE", zip(("ABCDE"[i] for i in indices), values.tolist(), strict=True), strict=True))
    assert found == FIVE_FOUND


def test_t24_in_the_engine_of_one_group_a_cluster(spark):
    cluster = {"embeddings_path": "given", "metadata_columns": ["place"]}
    config = parse_config({"cluster": cluster, "pairwise": BY_PLACE, "identify": {"eps": 0.1, "rule": "semdedup"}})
    rows = [(name, FIVE[place].tolist(), place) for place, name in enumerate("ABCDE")]
    df = local_rows(spark, rows, "id string, embedding array<float>, place int").repartition(3)

    similarities = computed(score_pairs(assign_clusters(df, FIVE[:1], config), config))

    assert {row.id: (row.max_id, row.cosine_sim_score) for row in similarities.collect()} == FIVE_FOUND
    assert {row.id for row in identify_duplicates(similarities, config).collect()} == {"B", "E"}


@pytest.mark.parametrize(("n_clusters", "probes"), [(1, "home"), (3, "all")])
def test_t24_in_the_engine_of_tiles(spark, tmp_path, n_clusters, probes):
    columns = {"id": list("ABCDE"), "embedding": pa.array(list(FIVE), pa.list_(pa.float32())), "place": range(5)}
    pq.write_table(pa.table(columns), tmp_path / "five.parquet")
    cluster = {"embeddings_path": str(tmp_path / "five.parquet"), "metadata_columns": ["place"]}
    config = parse_config(
        {
            "work_dir": str(tmp_path / "work"),
            "cluster": cluster | {"n_clusters": n_clusters},
            "pairwise": BY_PLACE | {"probes": probes},
            "identify": {"eps": 0.1, "rule": "semdedup"},
            "steps": ["cluster", "pairwise", "identify"],
        }
    )

    run(config, spark)

    rows = pq.read_table(tmp_path / "work/similarities").to_pylist()
    assert {row["id"]: (row["max_id"], row["cosine_sim_score"]) for row in rows} == FIVE_FOUND
    assert set(pq.read_table(tmp_path / "work/duplicates")["id"].to_pylist()) == {"B", "E"}


@pytest.mark.parametrize(
    ("eps", "of_scores", "of_cosines"),
    [(0.01, 0.009766, 0.010010), (0.001, 0.000977, 0.001221), (0.00095, 0.000488, 0.000732), (0.1, 0.099609, 0.099854)],
)
def test_the_eps_that_float16_scores_make_of_an_eps(eps, of_scores, of_cosines):
    assert round(1 - nemo_curator.least_score(eps), 6) == of_scores
    assert round(nemo_curator.acting_eps(eps), 6) == of_cosines
    assert float(np.float16(1 - of_cosines + 1e-6)) >= 1 - eps > float(np.float16(1 - of_cosines - 1e-6))


@pytest.mark.parametrize("eps", [0.00095, 0.001, 0.003, 0.01, 0.03, 0.2])
def test_our_rule_at_that_eps_removes_what_float16_removes(real, eps):
    scores, _ = max_similarity_to_earlier(real[1])

    theirs = nemo_curator.removed(real[1], eps)

    assert np.array_equal(scores >= round(1 - nemo_curator.acting_eps(eps), 6), theirs)
    assert theirs.sum() > 400


def test_float16_scores_of_t24_remove_the_same_rows():
    assert nemo_curator.removed(FIVE, 0.1).tolist() == [False, True, False, False, True]


def test_its_clusters_of_uint16_are_refused_and_not_taken_for_numbers(spark, tmp_path):
    bits = FIVE.astype(np.float16).view(np.uint16)
    columns = {"id": list("ABCDE"), "embedding": pa.array(list(bits), pa.list_(pa.uint16()))}
    (tmp_path / "kmeans_results/centroid=0").mkdir(parents=True)
    pq.write_table(pa.table(columns), tmp_path / "kmeans_results/centroid=0/0.parquet")
    cluster = {"embeddings_path": str(tmp_path / "kmeans_results")}

    with pytest.raises(SchemaError, match=r"needs embeddings in column 'embedding', found array<int>"):
        run(parse_config({"work_dir": str(tmp_path / "work"), "cluster": cluster}), spark)
