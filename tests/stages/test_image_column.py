"""Which column of a table holds the images, by its schema alone."""

from __future__ import annotations

import pytest
from pyspark.sql import SparkSession

from spark_imgdedup.errors import SchemaError
from spark_imgdedup.stages.columns import column_path, free_name, nearest_column
from spark_imgdedup.stages.local_rows import local_rows
from spark_imgdedup.stages.user_input.image_column import find_image_column

# Spark reads types in words by its JVM.
pytestmark = pytest.mark.usefixtures("spark")


def schema(ddl):
    return local_rows(SparkSession.active(), [], ddl).schema  # Spark 3.5 has no StructType.fromDDL


IMAGE = "struct<bytes: binary, path: string>"


@pytest.mark.parametrize(
    ("columns", "wanted", "path"),
    [
        ("image binary, image_id string", "image", ("image",)),
        (f"image {IMAGE}, label bigint", "image", ("image", "bytes")),
        (f"image {IMAGE}", "image.bytes", ("image", "bytes")),
        (f"jpg {IMAGE}, label bigint", "image", ("jpg", "bytes")),  # the one image struct, where none is named
        (f"`image.bytes` binary, image {IMAGE}", "image.bytes", ("image.bytes",)),  # a name of a column goes first
        ("a struct<`b.c`: struct<d: binary>>", "a.b.c.d", ("a", "b.c", "d")),
        ("`a.b` struct<c: binary>, a string", "a.b.c", ("a.b", "c")),
        ('`x ``y`` "z" 日` binary', 'x `y` "z" 日', ('x `y` "z" 日',)),
    ],
)
def test_it_is_bytes_by_name_or_those_of_an_image_struct(columns, wanted, path):
    assert find_image_column(schema(columns), wanted).path == path


@pytest.mark.parametrize(
    ("columns", "wanted", "words"),
    [
        (
            "image struct<data: binary, name: string>",
            "image",
            "input.image_column: found image struct<data:binary,name:string>: set input.image_column=image.data",
        ),
        (f"a {IMAGE}, b {IMAGE}", "image", "Set input.image_column=a or input.image_column=b."),
        ("jpg binary, id string", "image", "it has jpg binary, id string. Set input.image_column=jpg."),
        ("Image binary", "image", "Set input.image_column=Image."),
        (f"image {IMAGE}", "image.byte", "Set input.image_column=image.bytes"),
        (
            "image string, thumb binary",
            "image",
            "found image string, which holds no bytes. Set input.image_column=thumb",
        ),
        ("image string", "image", "found image string, which holds no bytes. Name a binary column"),
        ("url string, image_id string", "image", "None of them holds bytes"),
        ("image array<binary>", "image", "found image array<binary>, which holds no bytes."),
    ],
)
def test_another_column_is_refused_with_what_fits_this_table(columns, wanted, words):
    with pytest.raises(SchemaError) as refused:
        find_image_column(schema(columns), wanted)

    assert words in str(refused.value)
    assert "step before" not in str(refused.value)


def test_a_mistaken_name_finds_its_like_in_another_case_or_within_a_struct():
    table = schema("meta struct<uid: string>, Label bigint")

    assert [nearest_column(table, name) for name in ("label", "uid", "mete.uid", "xyz")] == [
        *("Label", "meta.uid", "meta.uid", None)
    ]
    assert column_path(table, "meta.nothing") is None
    assert column_path(table, "Label.uid") is None


def test_a_name_for_a_column_on_the_way_is_one_that_is_free():
    assert free_name("_new", ["a", "_NEW", "_new_"]) == "_new__"
