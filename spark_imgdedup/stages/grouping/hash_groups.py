"""images, near_hashes -> what goes, where hashes alone speak: the rules on groups that Spark brings together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from spark_imgdedup.config import Config
from spark_imgdedup.files import artifacts
from spark_imgdedup.kernels.content import PLAIN_BYTES, plain_keys
from spark_imgdedup.stages.columns import quoted
from spark_imgdedup.stages.grouping.components import label_in_one_task
from spark_imgdedup.stages.grouping.group_files import GROUP
from spark_imgdedup.stages.grouping.members import Members, reach_at
from spark_imgdedup.stages.grouping.selection import Columns, duplicates_of
from spark_imgdedup.stages.kept_columns import kept_fields, matrix, plain_names
from spark_imgdedup.stages.partitions import shuffle_partitions
from spark_imgdedup.stages.searching.spans import DISTANCE
from spark_imgdedup.stages.tasks import map_batches

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def select_by_hash(
    images: DataFrame, near: DataFrame, config: Config, said: artifacts.Artifact | None = None
) -> DataFrame:
    """As `stages.grouping.selection.select_duplicates`, of images without vectors.

    Args:
        images: image_id, the columns of `config.searched_columns`; a row without a hash has no part.
        near: What `stages.detect.near_hashes` gives.
        config: The settings.
        said: What people have said of the images, as `stages.grouping.said` has it.
    """
    from pyspark.sql import functions as F

    fields = kept_fields(images, config.searched_columns, config, stage="identify")
    columns = Columns(images.schema[config.id_column].dataType, tuple(fields), config)
    plain = plain_names(config.searched_columns)
    named = (F.col(quoted(name)).alias(short) for name, short in plain.items())
    rows = images.where("phash is not null or plain_pixels is not null").select(
        quoted(config.id_column), F.lit(0.0).alias(DISTANCE), F.lit(None).cast("int").alias("cluster_id"), *named
    )
    grouped = _with_groups(rows, near, plain, config.detect.phash_bits // 8)
    schema, reach, rule = columns.schema(), reach_at(None, config), config.identify.rule

    def select(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        parts = [batch for batch in batches if batch.num_rows]
        if not parts:
            return
        thin = pa.Table.from_batches(parts).combine_chunks()
        members = Members.of(thin, None, config, None if said is None else artifacts.load(said))
        (kept_by,) = members.kept_by(rule, [reach])
        yield from duplicates_of(members, kept_by, reach, rule, config).select(schema.names).to_batches()

    by_group = grouped.repartition(shuffle_partitions(images), GROUP)
    return columns.under_names(map_batches(by_group, select, schema))


def _with_groups(rows: DataFrame, near: DataFrame, plain: dict[str, str], width: int) -> DataFrame:
    """The rows that may count as one image with another, and a number for each group of these."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    own, views, pixels = (F.col(plain[name]) for name in ("phash", "phash_views", "plain_pixels"))
    pictures = rows.where(pixels.isNull())
    n_views = F.coalesce(F.length(views) / width, F.lit(0)).cast("int")
    each = F.explode(F.expr(f"sequence(0, int(coalesce(length({plain['phash_views']}), 0) / {width}) - 1)"))
    turned = pictures.where(n_views > 0).select(own.alias("own"), views.alias("views"), each.alias("nth"))
    view = F.expr(f"substring(views, nth * {width} + 1, {width})")
    edges = turned.select(F.xxhash64("own").alias("one"), F.xxhash64(view).alias("other"))
    edges = edges.unionByName(near.select(F.xxhash64("phash_a").alias("one"), F.xxhash64("phash_b").alias("other")))
    edges = edges.unionByName(_plain_edges(rows.where(pixels.isNotNull()).select(pixels).distinct()))
    labels = label_in_one_task(edges.where("one != other").distinct()).select("node", "label")
    placed = rows.withColumn("node", F.xxhash64(F.coalesce(pixels, own))).join(labels, "node", "left")
    together = placed.withColumn(GROUP, F.coalesce("label", "node")).drop("node", "label")
    size = F.count("*").over(Window.partitionBy(GROUP))
    return together.withColumn("_size", size).where("_size > 1").drop("_size")


def _plain_edges(pixels: DataFrame) -> DataFrame:
    """From each plain picture's pixels to the keys that near-equal ones share."""
    from pyspark.sql import functions as F

    def key(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for column, keys in enumerate(plain_keys(matrix(batch.column(0), PLAIN_BYTES)).T if batch.num_rows else ()):
                names = pa.array([f"plain {column} {each}" for each in keys.tolist()])
                yield pa.RecordBatch.from_arrays([batch.column(0), names], names=["pixels", "name"])

    keyed = map_batches(pixels, key, "pixels binary, name string")
    return keyed.select(F.xxhash64("pixels").alias("one"), F.xxhash64("name").alias("other"))
