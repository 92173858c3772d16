"""Settings that name fields of the samples' json."""

from __future__ import annotations

import pytest

from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import ConfigError


def error_of(**settings):
    with pytest.raises(ConfigError) as caught:
        parse_config(settings)
    return str(caught.value)


def test_a_list_of_names_is_a_mapping_to_text():
    config = parse_config({"input": {"json_fields": ["source", "meta.license"]}})

    assert config.input.json_fields == {"source": "string", "meta.license": "string"}


def test_fields_may_be_named_like_no_column_of_ours():
    names = ["source", "url", "Caption", "image.id", "original_width", "score", "nsfw"]

    assert list(parse_config({"input": {"json_fields": names}}).input.json_fields) == names


@pytest.mark.parametrize(
    "name",
    [
        *("image_id", "shard", "key", "image", "width", "image_format", "sha256", "phash", "embedding", "error"),
        *("rejected_because", "cluster_id", "max_id", "cosine_sim_score", "cosine_dist_to_cent", "dup_count"),
        *("KEY", "aesthetic_score", "my_Score"),
    ],
)
def test_a_field_that_would_take_the_place_of_our_column_is_refused(name):
    said = error_of(input={"json_fields": ["source", name]})

    assert said.startswith(
        f"config: input.json_fields: {name} would take the place of a column of the tables, which have "
    )
    assert "\n" not in said


def test_such_a_field_may_still_be_what_ids_are_matched_with():
    parse_config({"input": {"id_field": "key"}, "remove": {"ids_path": "ids", "match_field": "sha256"}})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"input": {"json_fields": {"a": "float"}}}, "input.json_fields: Input should be 'string', 'double', 'bigint'"),
        ({"input": {"json_fields": {"a": "string", "A": "double"}}}, "input.json_fields: a, A would be one column"),
        ({"input": {"json_fields": ["a`b"]}}, "input.json_fields: 'a`b' can be no column of a parquet table."),
        (
            {"input": {"json_fields": ["a b"]}, "table": {"format": "delta"}},
            "input.json_fields: 'a b' can be no column of a delta table.",
        ),
        ({"input": {"json_fields": ["a"], "format": "images"}}, "input.json_fields: 'a' needs tars"),
        ({"input": {"id_field": "uid", "format": "images"}}, "input.id_field: 'uid' needs tars"),
        (
            {"input": {"format": "images"}, "remove": {"ids_path": "ids", "match_field": "uid"}},
            "remove.match_field: 'uid' needs tars",
        ),
        (
            {"remove": {"match_field": "uid"}},
            "remove.match_field: 'uid' says how to read a list of ids, but the duplicates of this run are image_ids.",
        ),
    ],
)
def test_a_field_that_cannot_be_read_is_refused_before_any_work(settings, said):
    assert error_of(**settings).startswith(f"config: {said}")


def test_a_name_that_delta_refuses_is_fine_in_parquet():
    parse_config({"input": {"json_fields": ["a b"]}})


def test_the_duplicates_of_own_embeddings_may_be_matched_with_a_field():
    parse_config({"cluster": {"embeddings_path": "clips"}, "remove": {"match_field": "uuid"}})
