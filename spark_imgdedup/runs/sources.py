"""The tables that a step reads, where that depends on the settings and on what is there already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_imgdedup import schemas
from spark_imgdedup.config import Config
from spark_imgdedup.runs.check_columns import require_metadata
from spark_imgdedup.runs.current import has_hashes, is_current
from spark_imgdedup.runs.tables import Tables, require_unique_ids
from spark_imgdedup.stages.columns import id_as_text
from spark_imgdedup.stages.embed import embed_images, embed_shards
from spark_imgdedup.stages.index import index_embeddings, index_images
from spark_imgdedup.stages.read import read_images
from spark_imgdedup.stages.remove import match_column, read_ids, select_ids
from spark_imgdedup.stages.user_tables import open_table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_HASH_COLUMNS = ("sha256", "pixel_sha256", "phash", "phash_views")


def read_pixels(tables: Tables, config: Config, *, with_model: bool) -> DataFrame:
    """What is made from the images of the input, decoded once: embeddings, or hashes alone."""
    if config.input.format == "webdataset":
        return embed_shards(tables.spark, config, with_model=with_model)
    images = read_images(tables.spark, config)
    require_metadata(config, images.columns)
    return embed_images(images, config, with_model=with_model)


def all_embeddings(tables: Tables, config: Config) -> DataFrame:
    """The embeddings of the embed step, or the user's own.

    Raises:
        SchemaError: a column that the settings name is not there.
        ShardError: two of the user's rows have one id.
    """
    path = config.cluster.embeddings_path
    if path is None:
        return tables.read("embeddings")
    embeddings = open_table(tables.spark, (path,), config.storage_options)
    schemas.require(embeddings, {config.cluster.id_field: None, config.cluster.embedding_field: None}, stage="cluster")
    require_metadata(config, embeddings.columns)
    require_unique_ids(embeddings, config.cluster.id_field)
    return embeddings


def searched_embeddings(tables: Tables, config: Config) -> DataFrame:
    """The rows among which duplicates are searched; what a filter has rejected before is marked in them."""
    return tables.read("scored") if config.filters_first else all_embeddings(tables, config)


def searched_images(tables: Tables, config: Config) -> DataFrame:
    """The usable images among which duplicates are searched, with their hashes: from the embeddings, or from `detect`.

    Raises:
        SchemaError: `detect` has not taken their hashes.
    """
    if has_hashes("embed", tables, config):
        images = searched_embeddings(tables, config)
    elif config.detect.method == "embedding" or config.filters_first:
        hashes = tables.read("hashes").select("image_id", *_HASH_COLUMNS)
        images = searched_embeddings(tables, config).drop(*_HASH_COLUMNS).join(hashes, "image_id")
    else:
        images = tables.read("hashes")
    return images.where("rejected_because is null")


def sample_index(tables: Tables, config: Config) -> DataFrame:
    """What `index_images` gives: from a table of this very input that is there already, else from the input."""
    known = _known_samples(tables, config)
    if known is None or ("match_id" not in known.columns and config.remove.match_field is not None):
        index = tables.write("index", index_images(tables.spark, config))
        if known is None:
            require_unique_ids(index.where(schemas.IS_SAMPLE), "image_id")
            known = index
        else:
            samples = index.where(schemas.IS_SAMPLE).select("image_id", "match_id")
            known = known.join(samples, "image_id", "left")
    return _mark_filtered(known, tables, config) if config.uses_scores and config.own_embeddings else known


def mark_rejected(index: DataFrame, tables: Tables, config: Config) -> DataFrame:
    """An index of the input with what the steps before know of its samples: which are unreadable, which filtered."""
    known = _known_samples(tables, config)
    if known is not None:
        reasons = known.where(schemas.IS_SAMPLE).select("image_id", "rejected_because")
        index = index.drop("rejected_because").join(reasons, "image_id", "left").select(*index.columns)
    return _mark_filtered(index, tables, config) if config.uses_scores and config.own_embeddings else index


def _known_samples(tables: Tables, config: Config) -> DataFrame | None:
    if is_current("embed", tables, config):
        is_scored = config.uses_scores and not config.own_embeddings
        return index_embeddings(tables.read("scored" if is_scored else "embeddings"), config)
    if is_current("hashes", tables, config):
        return index_embeddings(tables.read("hashes"), config)
    return None


def _mark_filtered(index: DataFrame, tables: Tables, config: Config) -> DataFrame:
    """The index, with what a filter rejects among the user's own embeddings marked in it."""
    from pyspark.sql import functions as F

    by = match_column(index)
    rejected = tables.read("scored").where("rejected_because is not null")
    ids = id_as_text(rejected, config.id_column, "cluster.id_field").alias(by)
    reasons = rejected.select(ids, F.col("rejected_because").alias("filtered"))
    marked = index.join(reasons, by, "left").withColumn(
        "rejected_because", F.expr("coalesce(filtered, rejected_because)")
    )
    return marked.select(*index.columns)


def ids_to_remove(tables: Tables, config: Config) -> DataFrame:
    """Ids as text, in a column image_id; they may repeat."""
    if config.remove.paths:
        return read_ids(tables.spark, config.remove.paths, config.remove.id_field, config.storage_options)
    if config.uses_duplicates:
        return select_ids(tables.read("duplicates"), config.id_column)
    return tables.spark.createDataFrame([], "image_id string")
