"""dataset -> index: the samples by name, without their images. What `remove` matches ids against."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from spark_imgdedup import schemas
from spark_imgdedup.config import Config
from spark_imgdedup.config.values import JsonType
from spark_imgdedup.files.loose import ImageFile
from spark_imgdedup.files.tars.shards import Shard, list_shards
from spark_imgdedup.models.stream import ImageRecord
from spark_imgdedup.stages.columns import id_as_text, quoted
from spark_imgdedup.stages.loose import map_loose_images, name_loose_images
from spark_imgdedup.stages.read import group_by_bytes, iter_images, map_shards
from spark_imgdedup.stages.user_input.image_tables import sample_columns
from spark_imgdedup.stages.user_input.user_tables import open_table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

INDEX = f"{schemas.SAMPLE}, rejected_because string"
# Bytes that a row of an index takes, about: its batches must end too.
ROW_BYTES = 256


def index_images(spark: SparkSession, config: Config, *, version: int | None = None) -> DataFrame:
    """image_id, shard, key, rejected_because of every sample; no image is read, and of tars only headers and json.

    With `remove.match_field` also match_id: the value of that field as text, by which `remove` finds the sample. A
    Delta table is read at `version`.

    Raises:
        ConfigError: nothing is found at input.path.
        SchemaError: the table lacks a column that a setting names, or it holds no ids.
    """
    if config.input.format == "images":

        def name(files: Iterator[ImageFile]) -> Iterator[pa.RecordBatch]:
            return _batches(name_loose_images(files, config.input), INDEX)

        return map_loose_images(spark, config.input, name, INDEX)
    if config.input.format == "table":  # which need not have images: video clips are removed from tables too
        table = open_table(spark, config.input.paths, config.input.storage_options, version=version)
        return _index_table(table, config)
    field = config.remove.match_field
    fields: dict[str, JsonType] = {} if field is None else {field: "string"}
    settings = config.input.model_copy(update={"json_fields": fields})
    columns = INDEX if field is None else f"{INDEX}, match_id string"

    def read(shards: Iterator[Shard]) -> Iterator[pa.RecordBatch]:
        return _batches((each for shard in shards for each in iter_images(shard, settings, with_data=False)), columns)

    return map_shards(spark, list_shards(config.input), read, columns)


def index_embeddings(embeddings: DataFrame, config: Config) -> DataFrame:
    """The index of the dataset that these embeddings are of, with the digests of its images where they hold them.

    match_id is there only where they hold it, as text of a json.
    """
    from pyspark.sql import functions as F

    names, field = [*schemas.column_names(INDEX)], config.remove.match_field
    names += ["sha256"] if "sha256" in embeddings.columns else []
    if field is None or config.input.format == "table" or config.input.json_fields.get(field) != "string":
        return embeddings.select(*names)
    return embeddings.select(*names, F.col(quoted(field)).alias("match_id"))


def _batches(records: Iterator[ImageRecord], columns: str) -> Iterator[pa.RecordBatch]:
    for rows in group_by_bytes(records, lambda _: ROW_BYTES):
        yield _to_batch(rows, schemas.column_names(columns))


def _to_batch(rows: list[ImageRecord], names: tuple[str, ...]) -> pa.RecordBatch:
    columns = {name: [getattr(row, name) for row in rows] for name in schemas.column_names(INDEX)}
    columns["match_id"] = [row.fields[0] if row.fields else None for row in rows]
    return pa.RecordBatch.from_pydict({name: pa.array(columns[name], pa.string()) for name in names})


def _index_table(table: DataFrame, config: Config) -> DataFrame:
    from pyspark.sql import functions as F

    columns = [*sample_columns(table, config.input), F.lit(None).cast("string").alias("rejected_because")]
    if config.remove.match_field is not None:
        columns.append(id_as_text(table, config.remove.match_field, "remove.match_field").alias("match_id"))
    return table.select(*columns)
