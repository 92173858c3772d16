from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spark_imgdedup import schemas
from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import SchemaError
from spark_imgdedup.kernels.vectors import l2_normalize
from spark_imgdedup.models import EncoderSettings, load_encoder
from spark_imgdedup.stages.embed import embed_images, embed_shards, export_embeddings
from spark_imgdedup.stages.local_rows import local_rows
from spark_imgdedup.stages.read import read_images
from spark_imgdedup.stages.vectors.vector_column import VectorColumn, vector_column
from tests.arrow import to_arrow

COLOURS = "tests.encoders:ColourEncoder"
CRAWL = Path(__file__).parents[2] / "examples" / "shards" / "crawl"


def settings(model=COLOURS, embedding_type="float32", **sections):
    embed = {"model": model, "batch_size": 4, "device": "cpu"} | sections.pop("embed", {})
    return parse_config({"embed": embed, "table": {"embedding_type": embedding_type}, **sections})


def png(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def noise(number, size=(6, 5)):
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(pixels)


def direction(image):
    encoder = load_encoder(EncoderSettings(COLOURS))
    return l2_normalize(encoder.encode(encoder.preprocess(image)[None]))[0]


def vectors_by(df, key):
    column = vector_column(df, "embedding", stage="test")
    table = to_arrow(df.select(key, "embedding"))
    rows = zip(table[key].to_pylist(), table["embedding"].to_pylist(), strict=True)
    kept = [(name, value) for name, value in rows if value is not None]
    if column.kind == "array":
        return {name: np.array(value, np.float32) for name, value in kept}
    dtype = {"float16": "<f2", "float32": "<f4"}[column.kind]
    return {name: np.frombuffer(value, dtype) for name, value in kept}


@pytest.fixture
def three_rows_a_batch(spark):
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "3")
    yield spark
    spark.conf.unset("spark.sql.execution.arrow.maxRecordsPerBatch")


@pytest.fixture(scope="module")
def pictures():
    return [noise(number) for number in range(23)]


def test_each_row_gets_the_vector_of_its_image_across_arrow_batches(three_rows_a_batch, pictures):
    rows = [(number, f"label {number}", bytearray(png(image))) for number, image in enumerate(pictures)]
    df = local_rows(three_rows_a_batch, rows, "n int, label string, image binary").repartition(2)

    embedded = embed_images(df, settings()).cache()

    assert {name: vector.tobytes() for name, vector in vectors_by(embedded, "n").items()} == {
        number: direction(image).tobytes() for number, image in enumerate(pictures)
    }
    assert {(row.n, row.label) for row in embedded.collect()} == {(n, f"label {n}") for n in range(23)}


def test_the_columns_are_those_given_and_those_of_the_schema(spark):
    data = png(noise(1, (8, 3)))
    df = local_rows(spark, [(1, bytearray(data), "kept")], "n int, image binary, caption string")

    embedded = embed_images(df, settings())
    (row,) = embedded.collect()

    described = ", ".join(f"{f.name} {f.dataType.simpleString()}" for f in embedded.schema)
    assert described == "n int, caption string, " + schemas.EMBEDDED.format(embedding="binary")
    assert (row.n, row.caption, row.width, row.height, row.image_format) == (1, "kept", 8, 3, "png")
    assert (row.image_bytes, row.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert (row.rejected_because, row.error) == (None, None)


def test_a_row_without_a_usable_image_keeps_its_place_and_a_reason(spark):
    good = bytearray(png(noise(1)))
    rows = [
        (0, good, None, None),
        (1, None, None, None),
        (2, bytearray(b"no picture"), None, None),
        (3, good, "no_id", "no field uid"),
        (4, None, "several_images", "members: jpg, png"),
    ]
    df = local_rows(spark, rows, "n int, image binary, rejected_because string, error string")

    found = sorted(embed_images(df, settings()).collect())

    assert [row.rejected_because for row in found] == [None, "no_image", "unreadable", "no_id", "several_images"]
    assert [row.embedding is not None for row in found] == [True, False, False, False, False]
    assert [row.error for row in found][3:] == ["no field uid", "members: jpg, png"]
    assert all(row.error for row in found[1:])
    assert [row.image_bytes for row in found] == [len(good), None, 10, len(good), None]


def test_a_vector_without_a_direction_becomes_a_rejected_row(spark):
    colours = ["blue", "red", "black", "green"]
    rows = [(colour, bytearray(png(Image.new("RGB", (4, 4), colour)))) for colour in colours]
    df = local_rows(spark, rows, "colour string, image binary").coalesce(1)

    embedded = embed_images(df, settings("tests.encoders:BrokenEncoder")).collect()

    assert {row.colour: row.rejected_because for row in embedded} == {
        "blue": None,
        "red": "nan_embedding",
        "black": "zero_embedding",
        "green": None,
    }
    assert {row.colour for row in embedded if row.embedding is not None} == {"blue", "green"}


@pytest.mark.parametrize(
    ("kind", "spark_type", "tolerance"),
    [("float16", "binary", 1e-3), ("float32", "binary", 1e-6), ("array", "array<float>", 1e-6)],
)
def test_unit_vectors_are_stored_as_asked_and_parquet_remembers_how(spark, tmp_path, kind, spark_type, tolerance):
    df = local_rows(spark, [(n, bytearray(png(noise(n)))) for n in range(5)], "n int, image binary")

    embed_images(df, settings(embedding_type=kind)).write.parquet(str(tmp_path / "embeddings"))
    stored = spark.read.parquet(str(tmp_path / "embeddings"))

    assert dict(stored.dtypes)["embedding"] == spark_type
    assert vector_column(stored, "embedding", stage="test") == VectorColumn(kind)
    found = vectors_by(stored, "n")
    assert sorted(found) == [0, 1, 2, 3, 4]
    for number, vector in found.items():
        assert np.linalg.norm(vector.astype(np.float64)) == pytest.approx(1, abs=tolerance)
        assert vector == pytest.approx(direction(noise(number)), abs=tolerance)


def test_another_image_column_is_named_in_the_settings(spark):
    df = local_rows(spark, [(1, bytearray(png(noise(1))))], "n int, photo binary")

    embedded = embed_images(df, settings(input={"image_column": "photo"}))

    assert "photo" not in embedded.columns
    assert vectors_by(embedded, "n")[1].tobytes() == direction(noise(1)).tobytes()


@pytest.mark.parametrize("columns", ["n int, picture binary", "n int, image string"])
def test_a_table_without_a_binary_image_column_is_refused_before_any_work(spark, columns):
    df = local_rows(spark, [], columns)

    with pytest.raises(SchemaError, match=r"^input.image_column: (the table has no column 'image'|found image string)"):
        embed_images(df, settings())


def test_a_table_without_rows_gives_no_rows(spark):
    df = local_rows(spark, [], "n int, image binary")

    assert embed_images(df, settings()).collect() == []


def test_the_embedded_model_gives_the_same_bits_on_any_partitioning(spark):
    rows = [(n, bytearray(png(noise(n, (40, 30))))) for n in range(17)]
    df = local_rows(spark, rows, "n int, image binary")
    config = settings("efficientnet-lite0", "float32")

    on_one, on_three = (vectors_by(embed_images(df.repartition(n), config), "n") for n in (1, 3))

    assert {n: vector.tobytes() for n, vector in on_one.items()} == {n: v.tobytes() for n, v in on_three.items()}


def test_the_batch_size_does_not_show_in_what_the_embedded_model_stores(spark):
    rows = [(n, bytearray(png(noise(n, (40, 30))))) for n in range(11)]
    df = local_rows(spark, rows, "n int, image binary").coalesce(1)

    by_one, by_eight = (
        vectors_by(embed_images(df, settings("efficientnet-lite0", embed={"batch_size": size})), "n") for size in (1, 8)
    )

    assert max(np.abs(by_one[n] - by_eight[n]).max() for n in range(11)) < 1e-6


def test_a_worker_loads_the_model_once_for_all_its_tasks(spark, tmp_path):
    df = local_rows(spark, [(n, bytearray(png(noise(n)))) for n in range(24)], "n int, image binary")

    embed_images(df.repartition(24), settings(embed={"model_dir": str(tmp_path)})).collect()

    # Tasks take the idle workers in turn, and jobs before this one may have left some more than there are cores.
    loads = [path.name.partition("-")[0] for path in tmp_path.iterdir()]
    assert 1 <= len(loads) == len(set(loads)) < 24


def test_shards_read_and_embedded_in_one_pass_give_the_same_rows_as_in_two(spark):
    config = settings(input={"path": str(CRAWL)})

    one_pass = embed_shards(spark, config)
    two_passes = embed_images(read_images(spark, config), config)

    def rows(df):
        return sorted(tuple(row) for row in df.select(*one_pass.columns).fillna("").collect())

    found = rows(one_pass)
    assert found == rows(two_passes)
    assert ", ".join(f"{f.name} {f.dataType.simpleString()}" for f in one_pass.schema) == schemas.EMBEDDINGS.format(
        embedding="binary"
    )
    assert len(found) > 100
    assert [row[0] for row in found if "damaged_shard" in row] == ["clipart-00001"]
    assert vector_column(one_pass, "embedding", stage="test") == VectorColumn("float32")


@pytest.mark.parametrize("kind", ["float16", "float32", "array"])
def test_exported_embeddings_are_lists_of_unit_length(spark, kind):
    rows = [(f"id-{n}", bytearray(png(noise(n))) if n else None) for n in range(4)]
    df = local_rows(spark, rows, "image_id string, image binary")

    exported = export_embeddings(embed_images(df, settings(embedding_type=kind)))

    assert exported.dtypes == [("image_id", "string"), ("embedding", "array<float>")]
    found = {row.image_id: np.array(row.embedding) for row in exported.collect()}
    assert sorted(found) == ["id-1", "id-2", "id-3"]
    assert [np.linalg.norm(vector) for vector in found.values()] == pytest.approx([1, 1, 1], abs=1e-6)
