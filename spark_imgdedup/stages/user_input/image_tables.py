"""Tables of images as rows: the image, its id, and the columns that stay beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from spark_imgdedup import schemas
from spark_imgdedup.config import InputConfig
from spark_imgdedup.errors import SchemaError
from spark_imgdedup.stages.columns import column_at, column_path, id_as_text, in_words, quoted, without_clashes
from spark_imgdedup.stages.user_input.image_column import find_image_column
from spark_imgdedup.stages.user_input.user_tables import open_table

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession


def read_table(spark: SparkSession, config: InputConfig) -> DataFrame:
    """The rows of a table as `read_images` gives them: image_id, shard, key, image, rejected_because, error, its own.

    Raises:
        ConfigError: there is no table.
        SchemaError: it lacks columns that settings name, a line for each.
    """
    from pyspark.sql import functions as F

    table = open_table(spark, config.paths, config.storage_options)
    _require_all(
        lambda: find_image_column(table.schema, config.image_column),
        lambda: sample_columns(table, config),
        lambda: _fields(table, config),
    )
    image, fields = find_image_column(table.schema, config.image_column), _fields(table, config)
    others = (name for name in table.columns if name != image.name)
    own = without_clashes(others, schemas.column_names(schemas.IMAGES), silent=("image_id", "shard", "key"))
    return table.select(
        *sample_columns(table, config),
        image.column.alias("image"),
        F.when(image.column.isNull(), F.lit("no_image")).alias("rejected_because"),
        F.lit(None).cast("string").alias("error"),
        *map(quoted, own),
        *fields,
    )


def _require_all(*looks: Callable[[], object]) -> None:
    """Look for all that is needed, so that one error says all that is missing, a line each."""
    problems = []
    for look in looks:
        try:
            look()
        except SchemaError as error:
            problems.append(str(error))
    if problems:
        raise SchemaError("\n".join(problems))


def _fields(table: DataFrame, config: InputConfig) -> list[Column]:
    """The columns of json_fields that lie within structs; the others stay with the rows anyway."""
    found = {name: column_path(table.schema, name) for name in config.json_fields}
    if missing := [name for name, place in found.items() if place is None]:
        raise SchemaError(
            f"input.json_fields: the table has no column {', '.join(missing)}, it has {in_words(table.schema)}. "
            "Correct the name, or leave it out."
        )
    return [
        column_at(place[0]).cast(config.json_fields[name]).alias(name)
        for name, place in found.items()
        if place is not None and len(place[0]) > 1
    ]


def sample_columns(table: DataFrame, config: InputConfig) -> list[Column]:
    """image_id, shard and key of a table's rows."""
    from pyspark.sql import functions as F

    image_id = id_as_text(table, config.id_field or "image_id", "input.id_field")
    shard = F.col("shard").cast("string") if "shard" in table.columns else F.lit(None).cast("string")
    key = F.col("key").cast("string") if "key" in table.columns else image_id
    return [
        image_id.alias("image_id"),
        shard.alias("shard"),
        F.coalesce(key, F.lit("")).alias("key"),  # a null key would say "damaged shard"; a null id is refused later
    ]
