"""The tables that a step reads, where that depends on the settings and on what is there already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from spark_imgdedup import schemas
from spark_imgdedup.config import Config, InputConfig
from spark_imgdedup.config.steps import STEP
from spark_imgdedup.counts import ImageCounts
from spark_imgdedup.errors import SchemaError
from spark_imgdedup.files import storage
from spark_imgdedup.files.decisions import read_decisions
from spark_imgdedup.files.loose import list_images
from spark_imgdedup.files.tars.shards import input_root, list_tars, shards_of
from spark_imgdedup.runs.check_columns import require_metadata
from spark_imgdedup.runs.counting import count_images
from spark_imgdedup.runs.current import has_hashes, is_current
from spark_imgdedup.runs.fingerprints import models_of, row_settings
from spark_imgdedup.runs.side_by_side import side_by_side
from spark_imgdedup.runs.tables import RENAME, Tables, require_unique_ids
from spark_imgdedup.runs.warm_up import warming_up
from spark_imgdedup.stages.columns import id_as_text
from spark_imgdedup.stages.embed import embed_images
from spark_imgdedup.stages.index import index_embeddings, index_images
from spark_imgdedup.stages.local_rows import local_rows
from spark_imgdedup.stages.parts import Files, Target, most_parts, write_parts
from spark_imgdedup.stages.read import read_images
from spark_imgdedup.stages.remove import match_column
from spark_imgdedup.stages.user_input.id_lists import read_ids, require_lists
from spark_imgdedup.stages.vectors.own_embeddings import open_embeddings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

# What to do where the ids of a user's own rows repeat, or are missing.
_OTHER_VECTOR_IDS = "Leave those rows out of the table, or name a column in cluster.id_field that is unique."
_OTHER_ROW_IDS = "Leave those rows out of the table, or name a column in input.id_field that is unique."
_HASH_COLUMNS = ("sha256", "pixel_sha256", "phash", "phash_views")


def write_pixels(step: str, tables: Tables, config: Config) -> ImageCounts:
    """Make what `embed` or `hashes` makes from the images of the input, decoded once, and count it.

    Of tars and loose images only those are decoded that are new, that have changed, or that a run which was broken off
    has left.

    Raises:
        ConfigError: a column to rank by will not be there.
        ShardError: two rows have one id, or one has none.
    """
    (name,) = STEP[step].tables
    with_model = step == "embed"
    if config.input.format == "table":
        # Of how many tasks it will be Spark alone knows.
        with warming_up(tables.spark, config, with_model=with_model, most_tasks=1):
            table, not_read = tables.write(name, _of_table(tables, config, with_model=with_model)), None
    else:
        if config.input.format == "images":
            require_metadata(config, [])  # a loose image has no fields
        files, not_read = _list_files(config.input)
        settings = row_settings(step, config, models_of(step, config))

        def make(folder: str) -> DataFrame:
            return write_parts(tables.spark, files, Target(folder, settings), config, with_model=with_model)

        with warming_up(tables.spark, config, with_model=with_model, most_tasks=most_parts(files, config.input)):
            table = tables.write_parts(name, make)
    with side_by_side(tables.spark) as start:
        are_unique = start(lambda: require_unique_ids(table.where(schemas.IS_SAMPLE), "image_id"))
        counts = start(lambda: count_images(table, config, not_read))
        are_unique.result()
    return counts.result()


def _of_table(tables: Tables, config: Config, *, with_model: bool) -> DataFrame:
    images = read_images(tables.spark, config)
    require_metadata(config, images.columns)
    # Ids are cheap to look at before, and the images are not.
    require_unique_ids(images.select("image_id", "shard", "key"), "image_id", _OTHER_ROW_IDS)
    return embed_images(images, config, with_model=with_model)


def _list_files(config: InputConfig) -> tuple[Files, Mapping[str, int]]:
    """The tars or loose images of the input, sorted by name, and how many other files there are, by reason."""
    if config.format == "images":
        return list_images(config)
    found = list_tars(config)
    return shards_of(found, input_root(config), config), found.not_read


def all_embeddings(tables: Tables, config: Config) -> DataFrame:
    """The embeddings of the embed step, or the user's own.

    Raises:
        SchemaError: a column that the settings name is not there.
        ShardError: two of the user's rows have one id.
    """
    path = config.cluster.embeddings_path
    if path is None:
        return tables.read("embeddings")
    embeddings, ids = open_embeddings(tables.spark, path, config)
    try:
        needed = (config.cluster.id_field, config.cluster.embedding_field)
        schemas.require(embeddings, dict.fromkeys(needed), stage="cluster")
    except SchemaError as error:
        raise SchemaError(f"{path}: {error}") from None
    require_metadata(config, embeddings.columns)
    require_unique_ids(ids, config.cluster.id_field, _OTHER_VECTOR_IDS)
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


def count_searched(tables: Tables, config: Config) -> int | None:
    """How many images `searched_images` gives, as the step that took them in has counted them; None where none has."""
    if config.filters_first or config.own_embeddings:
        return None
    by_embed = config.detect.method == "embedding" or has_hashes("embed", tables, config)
    record = tables.record("embed" if by_embed else "hashes")
    return record.counts.embedded if record is not None and isinstance(record.counts, ImageCounts) else None


def sample_index(tables: Tables, config: Config) -> DataFrame:
    """What `index_images` gives: from a table of this very input that is there already, else from the input."""
    known = _known_samples(tables, config)
    if known is None or ("match_id" not in known.columns and config.remove.match_field is not None):
        index = tables.write("index", index_images(tables.spark, config))
        if known is None:
            remedy = _OTHER_ROW_IDS if config.input.format == "table" else RENAME
            require_unique_ids(index.where(schemas.IS_SAMPLE), "image_id", remedy)
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


def require_planned_lists(steps: Sequence[str], config: Config) -> None:
    """Look, before any work, at the lists of ids, and of decisions, that these steps read.

    But not at what the run itself writes.

    Raises:
        ConfigError: there is no list.
        SchemaError: it is damaged, or has no ids.
    """
    if "identify" in steps:
        read_decisions(config)
    remove = config.remove
    minds_never = {"identify", "remove"} & set(steps)
    paths = (*(remove.paths if "remove" in steps else ()), *(remove.never_paths if minds_never else ()))
    brought = [path for path in paths if not storage.is_within(path, config.work_dir)]
    require_lists(brought, remove.id_field, config.storage_options)


def ids_to_remove(tables: Tables, config: Config) -> DataFrame:
    """Ids as text, in a column image_id; they may repeat."""
    if config.remove.paths:
        return read_ids(tables.spark, config.remove.paths, config.remove.id_field, config.storage_options)
    if config.uses_duplicates:
        duplicates = tables.read("duplicates")
        return duplicates.select(id_as_text(duplicates, config.id_column, "cluster.id_field").alias("image_id"))
    return local_rows(tables.spark, [], "image_id string")
