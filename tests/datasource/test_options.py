from __future__ import annotations

import pytest

from spark_imgdedup.datasource.options import read_options, write_options
from spark_imgdedup.errors import ConfigError


def test_options_of_a_read_are_settings_of_the_input():
    found = read_options(
        {"path": "data", "root": "/d", "image_member": "jpg", "id_field": "uid", "max_image_bytes": "7"}
        | {"max_partitions": "12", "reorder": "true"}
    )

    assert found.input.model_dump(
        include={"path", "root", "image_member", "id_field", "max_image_bytes", "reorder"}
    ) == {
        "path": "data",
        "root": "/d",
        "image_member": "jpg",
        "id_field": "uid",
        "max_image_bytes": 7,
        "reorder": True,
    }
    assert found.max_partitions == 12


def test_several_paths_come_as_spark_hands_them_over():
    assert read_options({"paths": '["a", "b/*.tar"]', "root": "."}).input.paths == ("a", "b/*.tar")


def test_storage_options_keep_their_types_and_a_secret_of_digits_stays_text():
    given = {"storage.anon": "False", "storage.secret": "123", "storage.client_kwargs": '{"region_name": "eu-1"}'}
    expected = {"anon": False, "secret": "123", "client_kwargs": {"region_name": "eu-1"}}

    assert read_options({"path": "s3://b", **given}).input.storage_options == expected
    assert write_options({"path": "memory://b", **given}).storage_options == expected


def test_a_secret_is_in_no_text_of_the_options():
    given = {"path": "memory://b", "storage.secret": "hunter2"}

    assert "hunter2" not in repr(read_options(given)) + repr(write_options(given)) + repr(write_options(given).target)


def test_a_relative_path_to_write_to_is_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert write_options({"path": "new/tars/"}).path == f"{tmp_path}/new/tars"


@pytest.mark.parametrize(
    ("parse", "options", "message"),
    [
        (read_options, {}, "no path to read from"),
        (write_options, {}, "no path to write to"),
        (
            read_options,
            {"path": "a", "rooot": "b"},
            r"unknown option 'rooot'\. Did you mean 'root'\? A read takes path",
        ),
        (write_options, {"path": "a", "root": "b"}, r"unknown option 'root'\. A write takes path, samples_per_tar"),
        (write_options, {"path": "a", "samples_per_tar": "0"}, "samples_per_tar must be .* at least 1, got '0'"),
        (read_options, {"path": "a", "max_partitions": "1e3"}, "max_partitions must be a whole number"),
        (read_options, {"path": "a", "max_image_bytes": "many"}, "max_image_bytes"),
        (read_options, {"path": "a", "storage.x": "{'a': 1}"}, "storage.x begins like json, but is none"),
    ],
)
def test_a_wrong_option_is_refused_in_one_line(parse, options, message):
    with pytest.raises(ConfigError, match=message) as refused:
        parse(options)

    assert "\n" not in str(refused.value)
