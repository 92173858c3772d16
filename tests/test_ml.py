"""The pyspark.ml classes give what the functions give, and come back from files: on classic Spark and on Connect."""

from __future__ import annotations

import json

import numpy as np
import pytest

from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.stages.centroids import fit_centroids
from spark_imgdedup.stages.cluster import assign_clusters
from spark_imgdedup.stages.embed import embed_images
from spark_imgdedup.stages.grouping.selection import select_in_clusters
from spark_imgdedup.stages.identify import identify_duplicates
from spark_imgdedup.stages.local_rows import local_rows
from spark_imgdedup.stages.pairwise import score_pairs
from tests.tars import jpeg

pytestmark = pytest.mark.connect

SETTINGS = {
    "embed": {"model": "tests.encoders:ColourEncoder", "batch_size": 4},
    "table": {"embedding_type": "float32"},
    "cluster": {"n_clusters": 2},
    "pairwise": {"which_to_keep": "easy"},
    "identify": {"eps": 0.01},
}
CONFIG = parse_config(SETTINGS)
# Three pictures, two of them again, and one that cannot be read.
IMAGES = [
    ("a", jpeg(1)),
    ("b", jpeg(2)),
    ("c", jpeg(3)),
    ("a again", jpeg(1)),
    ("b again", jpeg(2)),
    ("broken", b"not a picture"),
]


@pytest.fixture
def ml():
    # Not at the head: this imports pyspark.ml, which tests that start no Spark can do without.
    from spark_imgdedup import ml

    return ml


@pytest.fixture
def images(spark):
    return local_rows(spark, IMAGES, "image_id string, image binary")


@pytest.fixture
def vectors(spark):
    rows = [("a", [1.0, 0.0]), ("b", [0.0, 1.0]), ("a again", [2.0, 0.0])]
    return local_rows(spark, rows, "image_id string, embedding array<float>")


def rows(df):
    return sorted((tuple(row) for row in df.collect()), key=lambda row: row[0])


def duplicates(df):
    return {row["image_id"]: (row["max_id"], row["cosine_sim_score"]) for row in df.collect()}


def test_each_class_gives_the_rows_of_its_function(ml, images):
    embeddings = ml.ImageEmbedder(SETTINGS).transform(images)
    assert rows(embeddings) == rows(embed_images(images, CONFIG))

    model = ml.SemanticKMeans(SETTINGS).fit(embeddings)
    centroids = fit_centroids(embeddings, CONFIG)
    np.testing.assert_array_equal(model.centroids, centroids, strict=True)

    clusters = model.transform(embeddings)
    assert rows(clusters) == rows(assign_clusters(embeddings, centroids, CONFIG))
    assert clusters.schema == assign_clusters(embeddings, centroids, CONFIG).schema

    found = ml.DuplicateFinder(SETTINGS).transform(clusters)
    assert rows(found) == rows(select_in_clusters(clusters, CONFIG))
    as_semdedup = ml.DuplicateFinder(SETTINGS | {"identify": SETTINGS["identify"] | {"rule": "semdedup"}})
    assert rows(as_semdedup.transform(clusters)) == rows(identify_duplicates(score_pairs(clusters, CONFIG), CONFIG))


def test_a_pipeline_finds_the_copies_and_finds_them_again_after_it_was_saved_and_loaded(ml, images, tmp_path):
    from pyspark.ml import Pipeline, PipelineModel

    stages = [ml.ImageEmbedder(SETTINGS), ml.SemanticKMeans(SETTINGS), ml.DuplicateFinder(SETTINGS)]
    pipeline = Pipeline(stages=stages)
    pipeline.write().overwrite().save(str(tmp_path / "pipeline"))
    fitted = Pipeline.load(str(tmp_path / "pipeline")).fit(images)
    fitted.write().save(str(tmp_path / "model"))
    fitted.write().overwrite().save(str(tmp_path / "model"))

    loaded = PipelineModel.load(str(tmp_path / "model"))

    # easy keeps the nearest to the centroid, and of copies, which are equally near, the first by id.
    assert duplicates(fitted.transform(images)) == {"a again": ("a", 1.0), "b again": ("b", 1.0)}
    assert rows(loaded.transform(images)) == rows(fitted.transform(images))


@pytest.mark.parametrize("name", ["ImageEmbedder", "SemanticKMeans", "DuplicateFinder"])
def test_a_saved_class_comes_back_with_its_settings_and_its_name(ml, spark, name, tmp_path):
    saved = getattr(ml, name)(SETTINGS)
    path = str(tmp_path / name)
    saved.save(path)

    loaded = getattr(ml, name).load(path)

    assert (type(loaded), loaded.uid, loaded.getSettings()) == (type(saved), saved.uid, SETTINGS)
    assert loaded.config == CONFIG


def test_a_model_is_written_over_another_only_when_asked(ml, vectors, tmp_path):
    path = str(tmp_path / "model")
    ml.SemanticKMeansModel(centroids=np.eye(2, dtype=np.float32)).save(path)
    second = ml.SemanticKMeansModel(centroids=np.eye(2, dtype=np.float32)[:1])

    with pytest.raises(Exception, match="already exists"):
        second.save(path)
    assert ml.SemanticKMeansModel.load(path).centroids.shape == (2, 2)

    second.write().overwrite().save(path)
    np.testing.assert_array_equal(ml.SemanticKMeansModel.load(path).centroids, [[1, 0]])


def test_a_relative_path_counts_from_where_python_stands(ml, spark, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ml.ImageEmbedder(SETTINGS).save("embedder")

    assert (tmp_path / "embedder/metadata").is_dir()
    assert ml.ImageEmbedder.load("embedder").config == CONFIG


def test_centroids_too_large_for_a_closure_are_read_by_the_workers_from_the_saved_model(
    ml, vectors, tmp_path, monkeypatch
):
    model = ml.SemanticKMeansModel(SETTINGS, centroids=np.eye(2, dtype=np.float32))
    expected = rows(model.transform(vectors))
    monkeypatch.setattr(ml, "MAX_CLOSURE_BYTES", 15)  # the centroids are 16 bytes

    with pytest.raises(ConfigError, match="16 bytes of centroids are too many for a closure"):
        model.transform(vectors)
    model.save(str(tmp_path / "model"))

    assert rows(model.transform(vectors)) == expected
    assert rows(ml.SemanticKMeansModel.load(str(tmp_path / "model")).transform(vectors)) == expected


def test_a_loaded_model_whose_centroids_are_small_needs_its_files_no_more(ml, vectors, tmp_path):
    import shutil

    path = tmp_path / "model"
    ml.SemanticKMeansModel(SETTINGS, centroids=np.eye(2, dtype=np.float32)).save(str(path))
    loaded = ml.SemanticKMeansModel.load(str(path))
    shutil.rmtree(path)

    assert [row[:2] for row in rows(loaded.transform(vectors))] == [("a", 0), ("a again", 0), ("b", 1)]


def test_settings_are_a_dict_or_json_or_what_load_config_gives(ml):
    as_dict, as_json, as_config = map(ml.ImageEmbedder, (SETTINGS, json.dumps(SETTINGS), CONFIG))

    assert as_dict.getSettings() == as_json.getSettings() == as_config.getSettings() == SETTINGS
    assert as_dict.config == as_json.config == as_config.config == CONFIG


def test_a_settings_map_of_one_call_counts_for_that_call_alone(ml, vectors):
    model = ml.SemanticKMeansModel(centroids=np.eye(2, dtype=np.float32))
    lists = {"table": {"embedding_type": "array"}}

    types = [dict(model.transform(vectors, extra).dtypes)["embedding"] for extra in ({model.settings: lists}, None)]

    assert types == ["array<float>", "binary"]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"embed": {"batchsize": 8}}, "settings: unknown key 'embed.batchsize'. Did you mean 'embed.batch_size'?"),
        ({"identify": {"eps": 1.5}}, "settings: identify.eps: .* got 1.5"),
        ("embed: {}", "settings: not JSON .* Give JSON, a dict"),
        (["embed"], "settings: sections such as .* got list"),
    ],
)
def test_wrong_settings_are_refused_where_they_are_given(ml, settings, problem):
    with pytest.raises(ConfigError, match=problem):
        ml.SemanticKMeans(settings)


def test_a_finder_without_an_eps_is_refused_before_a_pipeline_is_fitted(ml):
    with pytest.raises(ConfigError, match=r"identify\.eps is not a number, and the encoder has no preset"):
        ml.DuplicateFinder({"embed": {"model": "tests.encoders:ColourEncoder"}})


def test_eps_auto_is_the_preset_of_the_encoder_as_in_a_run(ml, vectors):
    clusters = ml.SemanticKMeansModel(centroids=np.eye(2, dtype=np.float32)).transform(vectors)

    found = ml.DuplicateFinder({"embed": {"model": "efficientnet-lite0"}}).transform(clusters)

    # hard, the default, keeps the last by id of equally distant rows.
    assert duplicates(found) == {"a": ("a again", 1.0)}


def test_a_model_that_was_not_fitted_says_so(ml, vectors):
    with pytest.raises(ConfigError, match="has no centroids"):
        ml.SemanticKMeansModel().transform(vectors)


def test_secrets_among_the_settings_are_not_kept(ml, spark, tmp_path):
    secrets = {"input": {"storage_options": {"key": "open sesame"}}, "spark": {"spark.my.password": "open sesame"}}
    embedder = ml.ImageEmbedder(secrets)
    embedder.save(str(tmp_path / "embedder"))

    written = "".join(path.read_text() for path in (tmp_path / "embedder/metadata").glob("part-*"))

    assert "storage_options" in written
    assert "open sesame" not in written + str(embedder.getSettings()) + embedder.explainParams()
