"""What goes -> duplicates: for every image that goes, one that stays, and the columns that the ranking looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_imgdedup import schemas
from spark_imgdedup.config import Config
from spark_imgdedup.stages.columns import quoted
from spark_imgdedup.stages.grouping.components import label_in_one_task

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def ranked_names(config: Config) -> list[str]:
    """The kept columns that the ranking looks at: duplicates have them once more, of the image that stays."""
    return [name for name, _ in config.rank_keys if name in config.kept_columns]


def final_columns(config: Config) -> list[str]:
    """The columns of `duplicates`, in order."""
    ours = (config.id_column, *schemas.column_names(schemas.DUPLICATES.replace("{id}, ", "")))
    return [*ours, *config.kept_columns, *(f"kept_{name}" for name in ranked_names(config))]


def name_survivors(found: DataFrame, rows: DataFrame, config: Config) -> DataFrame:
    """What `semdedup` found, with the image that stays at the end of each chain: kept_id, rule, group_id and the rest.

    A row names a better-ranked one (max_id), which may go itself, and name another: the last of them stays.

    Args:
        found: id, max_id, cosine_sim_score, cluster_id, found_by and the kept columns.
        rows: The id and the columns that the ranking looks at, of all rows.
        config: The settings.
    """
    from pyspark.sql import functions as F

    id_ = quoted(config.id_column)
    edges = found.select(F.xxhash64(id_).alias("one"), F.xxhash64("max_id").alias("other"))
    labels = label_in_one_task(edges).select("node", "label")
    ends = found.select(F.col("max_id").alias("kept_id")).distinct()
    ends = ends.join(found.select(F.col(id_).alias("kept_id")), "kept_id", "left_anti")
    ends = ends.join(labels, F.xxhash64("kept_id") == F.col("node")).select("kept_id", "label")
    placed = found.join(labels, F.xxhash64(id_) == F.col("node")).drop("node").join(ends, "label").drop("label")
    decided = placed.withColumns(
        {"hamming": F.lit(None).cast("int"), "rule": F.lit(config.identify.rule), "group_id": F.col("kept_id")}
    )
    return _with_ranked(decided, rows, config)


def follow_copies(copies: DataFrame, selected: DataFrame | None, rows: DataFrame, config: Config) -> DataFrame:
    """Exact copies as duplicates: of the image that they repeat, or of the one that stays in that one's place.

    Args:
        copies: What `stages.detect.group_exact` names: image_id, max_id.
        selected: The duplicates among the images that copies were collapsed to; None where these are not compared.
        rows: image_id and the kept columns of all images.
        config: The settings.
    """
    from pyspark.sql import functions as F

    id_ = quoted(config.id_column)
    told = ("kept_id", "cosine_sim_score", "hamming", "group_id")
    if selected is None:
        placed = copies.select(id_, "max_id", *(F.lit(None).alias(f"_{name}") for name in told))
    else:
        gone = selected.select(F.col(id_).alias("max_id"), *(F.col(name).alias(f"_{name}") for name in told))
        placed = copies.select(id_, "max_id").join(gone, "max_id", "left")
    kept = F.coalesce("_kept_id", "max_id")
    made = placed.select(
        id_,
        kept.alias("max_id"),
        F.coalesce("_cosine_sim_score", F.lit(1.0)).alias("cosine_sim_score"),
        F.lit(None).cast("int").alias("cluster_id"),
        F.lit("exact").alias("found_by"),
        kept.alias("kept_id"),
        F.col("_hamming").cast("int").alias("hamming"),
        F.lit(config.identify.rule).alias("rule"),
        F.coalesce("_group_id", kept).alias("group_id"),
    )
    known = [name for name in config.kept_columns if name in rows.columns]
    made = made.join(rows.select(id_, *map(quoted, known)), config.id_column)
    for name in config.kept_columns:
        if name not in known:  # dup_count of a copy
            made = made.withColumn(name, F.lit(0).cast("bigint"))
    return _with_ranked(made, rows, config)


def _with_ranked(found: DataFrame, rows: DataFrame, config: Config) -> DataFrame:
    from pyspark.sql import functions as F

    names = ranked_names(config)
    if names:
        theirs = (F.col(quoted(name)).alias(f"kept_{name}") for name in names)
        found = found.join(rows.select(F.col(quoted(config.id_column)).alias("kept_id"), *theirs), "kept_id", "left")
    return found.select(*map(quoted, final_columns(config)))


def stand_in(copies: DataFrame, never: DataFrame, config: Config) -> DataFrame:
    """(survivor, stands): images of exact copies that must give way to a copy which must stay, and that copy.

    Args:
        copies: image_id, max_id.
        never: Distinct ids that must stay, as text, in a column image_id.
        config: The settings.
    """
    from pyspark.sql import functions as F

    id_ = config.id_column
    listed = never.select(F.col("image_id").alias("_never"))
    told = copies.join(listed, F.col(id_) == F.col("_never")).groupBy(F.col("max_id").alias("survivor"))
    wanted = told.agg(F.min(id_).alias("stands"))
    return wanted.join(listed, F.col("survivor") == F.col("_never"), "left_anti")


def exchange(duplicates: DataFrame, instead: DataFrame, rows: DataFrame, config: Config) -> DataFrame:
    """The duplicates with other survivors: those of `stand_in` go, and what they stayed for names their stand-ins."""
    from pyspark.sql import functions as F

    id_ = config.id_column
    theirs = [f"kept_{name}" for name in ranked_names(config)]
    joined = duplicates.drop(*theirs).join(instead, F.col("kept_id") == F.col("survivor"), "left")
    new = F.coalesce("stands", "kept_id")
    same = F.col("max_id") == F.col("kept_id")
    moved = joined.withColumn("max_id", F.when(same, new).otherwise(F.col("max_id")))
    heads = F.when(F.col("group_id") == F.col("survivor"), F.col("stands"))
    moved = moved.withColumn("group_id", F.coalesce(heads, "group_id"))
    moved = moved.withColumn("kept_id", new).drop("survivor", "stands").where(F.col(id_) != F.col("kept_id"))
    gone = instead.select(F.col("survivor").alias(id_), F.col("stands").alias("max_id"))
    going = follow_copies(gone, None, rows, config)
    return _with_ranked(moved, rows, config).unionByName(going)
