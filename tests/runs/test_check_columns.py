"""Metadata columns that no table will have."""

from __future__ import annotations

import pytest

from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.runs.check_columns import require_metadata
from spark_imgdedup.runs.plan import plan_steps

OWN = {"embeddings_path": "embeddings", "id_field": "clip"}


def settings(*metadata, **sections):
    cluster = sections.pop("cluster", {}) | {"metadata_columns": list(metadata)}
    return parse_config({"cluster": cluster, "input": {"path": "data"}, "detect": {"prepass": []}} | sections)


@pytest.mark.parametrize(
    ("column", "sections"),
    [
        ("width", {}),
        ("sha256", {}),
        ("quality", {"input": {"path": "data", "json_fields": {"quality": "double"}}}),
        ("open_nsfw_score", {"embed": {"pixel_scorers": ["open_nsfw"]}}),
        ("aesthetic_score", {"score": {"aesthetic_head": "head.npz"}}),
        ("own_score", {"score": {"scorers": [{"name": "own", "scorer": "a.b:C"}]}}),
        ("dup_count", {"detect": {"prepass": ["exact"]}}),
    ],
)
def test_columns_that_the_steps_make_are_known_before_an_image_is_read(column, sections):
    require_metadata(settings(column, **sections))


@pytest.mark.parametrize("column", ["quality", "open_nsfw_score", "aesthetic_score", "own_score", "dup_count"])
def test_columns_that_nothing_makes_are_refused(column):
    with pytest.raises(ConfigError, match=f"there is no column {column}"):
        require_metadata(settings(column))


def test_a_score_that_is_taken_after_the_search_cannot_be_kept_through_it():
    steps = ["embed", "cluster", "pairwise", "identify", "score", "remove", "report"]

    with pytest.raises(ConfigError, match="there is no column aesthetic_score"):
        require_metadata(settings("aesthetic_score", score={"aesthetic_head": "head.npz"}, steps=steps))


def test_a_missing_column_is_named_with_those_there_are_and_the_remedy_before_the_run_starts():
    with pytest.raises(ConfigError) as caught:
        plan_steps(settings("width", "qualty", input={"path": "data", "json_fields": ["quality"]}))

    said = str(caught.value)
    assert said.startswith(
        "cluster.metadata_columns: there is no column qualty. There are image_id, shard, key, width, "
    )
    assert said.endswith("error, quality. Leave it out, or name a field of the samples' json in input.json_fields.")


def test_a_table_adds_its_own_columns_which_are_known_once_it_is_open():
    config = settings("caption", input={"path": "data", "format": "table"})

    assert "cluster" in plan_steps(config)
    require_metadata(config, ["image_id", "image", "caption"])
    with pytest.raises(ConfigError, match=r"no column caption\. There are url, image_id, .* or correct the name"):
        require_metadata(config, ["image_id", "image", "url"])
    with pytest.raises(ConfigError, match="there is no column image"):  # the pictures themselves are not kept
        require_metadata(settings("image", input={"path": "data", "format": "table"}), ["image_id", "image"])


def test_own_embeddings_have_the_columns_of_their_table_and_the_scores():
    config = settings("source", "own_score", cluster=OWN, score={"scorers": [{"name": "own", "scorer": "a.b:C"}]})

    require_metadata(config, ["clip", "embedding", "source"])
    with pytest.raises(ConfigError, match=r"no column source\. There are clip, embedding, own_score\. .* correct"):
        require_metadata(config, ["clip", "embedding"])


def test_where_hashes_search_alone_the_columns_to_rank_by_must_be_there():
    def ranked_by(column):
        pairwise = {"which_to_keep": "metadata", "metadata_columns": [column]}
        return settings(detect={"method": "phash"}, pairwise=pairwise)

    require_metadata(ranked_by("width"))
    with pytest.raises(ConfigError, match=r"pairwise\.metadata_columns: there is no column quality"):
        require_metadata(ranked_by("quality"))


def test_a_column_of_the_table_that_gives_way_to_ours_in_any_case_is_refused():
    config = settings("WIDTH", input={"path": "data", "format": "table"})

    with pytest.raises(ConfigError, match="there is no column WIDTH"):
        require_metadata(config, ["image_id", "image", "WIDTH"])
