"""Settings that name columns to keep and to rank by."""

from __future__ import annotations

import pytest

from spark_imgdedup.config import load_config, parse_config
from spark_imgdedup.config.ranking import RESERVED
from spark_imgdedup.errors import ConfigError

OWN = {"embeddings_path": "embeddings", "id_field": "clip"}


def settings(pairwise, cluster=(), detect=None):
    return parse_config({"pairwise": pairwise, "cluster": dict(cluster), "detect": detect or {}})


def by(*columns, **more):
    return {"which_to_keep": "metadata", "metadata_columns": list(columns), **more}


def error_of(*sections, **more):
    with pytest.raises(ConfigError) as caught:
        settings(*sections, **more)
    return str(caught.value)


@pytest.mark.parametrize(
    ("ascending", "directions"), [(True, (True, True)), (False, (False, False)), ([False, True], (False, True))]
)
def test_one_direction_serves_all_columns_or_each_has_its_own(ascending, directions):
    config = settings(by("width", "image_bytes", ascending=ascending), {"metadata_columns": ["width", "image_bytes"]})

    assert config.rank_keys == tuple(zip(("width", "image_bytes"), directions, strict=True))


def test_columns_to_rank_by_can_be_given_on_the_command_line():
    config = load_config(
        None,
        [
            "cluster.metadata_columns=[width]",
            "pairwise.which_to_keep=metadata",
            "pairwise.metadata_columns=[width, cosine_dist_to_cent]",
            "pairwise.ascending=[false, true]",
        ],
    )

    assert config.rank_keys == (("width", False), ("cosine_dist_to_cent", True))


def test_l2_is_a_distance_to_rank_by():
    assert settings({"which_to_keep": "easy", "distance_metric": "l2"}).pairwise.distance_metric == "l2"


@pytest.mark.parametrize(
    ("column", "cluster"),
    [("cosine_dist_to_cent", {}), ("image_id", {}), ("clip", OWN), ("a b", OWN | {"metadata_columns": ["a b"]})],
)
def test_what_reaches_the_clusters_can_be_ranked_by(column, cluster):
    assert settings(by(column), cluster).pairwise.metadata_columns == (column,)


def test_hashes_rank_by_columns_of_the_images_without_any_cluster():
    config = settings(by("width", "image_id"), detect={"method": "exact"})
    assert config.rank_keys == (("width", True), ("image_id", True))


def test_of_images_the_best_copy_stays_and_of_embeddings_of_your_own_the_hardest():
    images = settings({})
    assert images.pairwise.which_to_keep == "best"
    assert images.rank_keys == (("pixels", False), ("image_bytes", False), ("is_grey", True))
    assert (settings({}, OWN).ranking, settings({}, OWN).rank_keys) == ("hard", ())


def test_an_order_in_words_is_a_ranking_by_columns_that_stay_with_the_rows():
    config = settings({"keep": "aesthetic_score desc, pixels DESC,bytes, cosine_dist_to_cent asc"})

    assert config.rank_keys == (
        ("aesthetic_score", False),
        ("pixels", False),
        ("image_bytes", True),
        ("cosine_dist_to_cent", True),
    )
    assert config.ranking == "metadata"
    assert config.kept_columns[:3] == ("aesthetic_score", "pixels", "image_bytes")
    assert "cosine_dist_to_cent" not in config.kept_columns


@pytest.mark.parametrize(
    ("pairwise", "said"),
    [
        ({"keep": "pixels downwards"}, "pairwise.keep: takes columns, each with asc or desc, such as 'pixels desc"),
        ({"keep": "pixels desc, "}, "pairwise.keep: takes columns"),
        ({"keep": "pixels, bytes, pixels desc"}, "pairwise.keep: 'pixels, bytes, pixels desc' names a column twice"),
        (
            {"keep": "pixels", "which_to_keep": "hard"},
            "pairwise.keep: 'pixels' stands in place of which_to_keep (hard)",
        ),
        ({"keep": "pixels", "metadata_columns": ["width"]}, "pairwise.keep: 'pixels' stands in place of"),
    ],
)
def test_words_that_say_no_order_are_refused(pairwise, said):
    assert said in error_of(pairwise, {"metadata_columns": ["width"]})


@pytest.mark.parametrize(
    ("sections", "hashes"),
    [
        ({}, {"exact", "phash"}),
        ({"embed": {"model": "timm:resnet18"}}, {"exact"}),
        ({"cluster": OWN}, set()),
        ({"detect": {"prepass": []}}, set()),
        ({"steps": ["embed", "cluster", "pairwise", "identify"]}, set()),
        ({"detect": {"method": "phash"}}, {"phash"}),
    ],
)
def test_hashes_join_the_encoder_that_comes_with_the_package_by_themselves(sections, hashes):
    assert parse_config(sections).detect.hashes == hashes


@pytest.mark.parametrize(
    ("detect", "cluster", "kept"),
    [
        ({"prepass": []}, {}, ()),
        ({"prepass": []}, {"metadata_columns": ["width", "shard", "width"]}, ("width", "shard")),
        ({"prepass": ["exact", "phash"]}, {"metadata_columns": ["width"]}, ("width", "dup_count")),
        ({"prepass": ["exact"]}, {"metadata_columns": ["dup_count", "width"]}, ("dup_count", "width")),
        ({"prepass": ["phash"]}, {}, ()),
        ({"method": "exact"}, {}, ()),
        ({"prepass": ["exact"]}, OWN, ()),
    ],
)
def test_what_stays_with_the_rows_is_the_metadata_and_the_number_of_collapsed_copies(detect, cluster, kept):
    assert settings({"which_to_keep": "easy"}, cluster, detect=detect).kept_columns == kept


@pytest.mark.parametrize("name", [*RESERVED, "image_id", "Cluster_ID"])
def test_a_column_named_like_one_of_ours_is_refused(name):
    said = error_of({}, {"metadata_columns": ["width", name]})

    assert said.startswith(f"config: cluster.metadata_columns: {name} would take the place of a column of the tables")


def test_the_id_column_of_own_embeddings_is_one_of_ours_and_image_id_is_not():
    assert "clip would take the place" in error_of({}, OWN | {"metadata_columns": ["clip"]})
    assert settings({}, OWN | {"metadata_columns": ["image_id"]}).kept_columns == ("image_id",)


@pytest.mark.parametrize(
    ("pairwise", "more", "said"),
    [
        (by(), {}, "pairwise.metadata_columns: empty, but which_to_keep is metadata. Name the columns to rank by"),
        (
            {"metadata_columns": ["width"]},
            {},
            "pairwise.metadata_columns: [width] is not ranked by while which_to_keep is best. Set",
        ),
        (
            by("width", ascending=[True, False]),
            {},
            "pairwise.ascending: 2 directions for 1 metadata_columns. Give one for each",
        ),
        (by("width", ascending=[]), {}, "pairwise.ascending: 0 directions for 1 metadata_columns."),
        (by("width", "width"), {}, "pairwise.metadata_columns: [width, width] names a column twice."),
        (
            by("width", "hieght"),
            {},
            "pairwise.metadata_columns: hieght does not reach the clusters, where the columns are width, dup_count, "
            "cosine_dist_to_cent, image_id. Add it to cluster.metadata_columns, or correct the name.",
        ),
        (
            by("cosine_dist_to_cent"),
            {"method": "phash"},
            "pairwise.metadata_columns: cosine_dist_to_cent is not known with detect.method phash",
        ),
    ],
)
def test_columns_that_cannot_be_ranked_by_are_refused_with_the_remedy(pairwise, more, said):
    assert error_of(pairwise, {"metadata_columns": ["width"]}, detect=more).startswith(f"config: {said}")


def test_every_mistake_is_told_in_a_line_of_its_own():
    said = error_of(by("a", "b", ascending=[True]), {"metadata_columns": ["embedding"]}).splitlines()

    assert [line.split(": ")[1] for line in said] == [
        "cluster.metadata_columns",
        "pairwise.ascending",
        "pairwise.metadata_columns",
    ]
