"""images -> copies: what repeats by its digests or, with `near_hashes`, by its perceptual hash, without a model.

Rows need `image_id`; leave out those that have `rejected_because` set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_imgdedup import schemas
from spark_imgdedup.stages.near_hashes import HASH
from spark_imgdedup.stages.preference import Order, first_of, precedes, rank_struct, sort_keys

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def group_exact(images: DataFrame, *, order: Order) -> DataFrame:
    """The images whose bytes or pixels equal those of a preferred one: image_id, max_id (which is kept), group_size.

    One shuffle by the digest of the bytes and one by that of the pixels, both of narrow rows.

    Args:
        images: image_id, sha256 string, and pixel_sha256 string if there is one. A null digest equals none.
        order: Which of them is kept, see `preference`.

    Raises:
        SchemaError: a column is missing.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    schemas.require(images, {"sha256": "string", **{name: None for name, _ in order}}, stage="detect")
    either = [F.col(name) for name in ("sha256", "pixel_sha256") if name in images.columns]
    rows = images.select(*either, rank_struct(images, order)).withColumn("digest", F.coalesce(*either))
    rows = rows.where("digest is not null")
    if len(either) > 1:
        # Decoders of two releases can give one file other pixels: its lowest digest stands for all its copies.
        pixels = F.min("pixel_sha256").over(Window.partitionBy("digest"))
        rows = rows.withColumn("digest", F.coalesce(pixels, "digest"))
    group = Window.partitionBy("digest")
    survivor = F.first("rank.image_id").over(group.orderBy(*sort_keys(order)))
    sized = rows.select("rank.image_id", survivor.alias("max_id"), F.count("*").over(group).alias("group_size"))
    return sized.where("image_id != max_id")


def collapse_copies(images: DataFrame, copies: DataFrame) -> DataFrame:
    """`images` without the copies that `group_exact` names, with the number that each row stands for: dup_count.

    dup_count is 0 for a row that nothing repeats. Sum of dup_count + rows = rows of `images`.
    """
    kept = images.drop("dup_count").join(told_of_copies(copies), "image_id", "left").where("_goes is not true")
    return kept.drop("_goes").fillna(0, ["dup_count"])


def told_of_copies(copies: DataFrame) -> DataFrame:
    """What copies say of images, a row for each: image_id, _goes, dup_count (images that are collapsed to it)."""
    from pyspark.sql import functions as F

    # A copy says of one image that it goes, of another that it stands for it: told by image, for a single join.
    said = F.array(
        F.struct(F.col("image_id"), F.lit(True).alias("_goes")),
        F.struct(F.col("max_id").alias("image_id"), F.lit(False).alias("_goes")),
    )
    told = copies.select(F.explode(said).alias("said")).select("said.*").groupBy("image_id")
    return told.agg(F.bool_or("_goes").alias("_goes"), F.count_if(~F.col("_goes")).alias("dup_count"))


def match_hashes(images: DataFrame, near: DataFrame, *, order: Order) -> DataFrame:
    """The images with a preferred one whose hash is equal or near, even if that one is itself removed (`semdedup`).

    Of the hashes of the images as they are. Gives the id under its name, max_id (the nearest preferred image; of those
    equally near the most preferred) and hamming int. For a hash that n images share only the most preferred is looked
    at, so the work is in the number of hashes and not in that of pairs.

    Args:
        images: phash binary, and the columns of `order`, the id among them and last.
        near: What `near_hashes` gives.
        order: See `preference`.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    schemas.require(images, {HASH: "binary", **{name: None for name, _ in order}}, stage="identify")
    id_field = order[-1][0]
    rows = images.where(f"{HASH} is not null").select(HASH, rank_struct(images, order))
    best = first_of(rows, (HASH,), order).select(F.col(HASH).alias("near"), F.col("rank").alias("best"))
    itself = best.select(F.col("near").alias(HASH), "near", F.lit(0).alias("hamming"))
    one_way = near.select(F.col("phash_a").alias(HASH), F.col("phash_b").alias("near"), "hamming")
    other_way = near.select(F.col("phash_b").alias(HASH), F.col("phash_a").alias("near"), "hamming")
    links = itself.unionByName(one_way).unionByName(other_way).join(best, "near")
    # Of the hashes at one distance the one with the most preferred image suffices: radius + 1 candidates for each hash.
    candidates = first_of(links.withColumnRenamed("best", "rank"), (HASH, "hamming"), order)
    candidates = candidates.select(HASH, "hamming", F.col("rank").alias("best"))
    better = rows.join(candidates, HASH).where(precedes("best", "rank", order))
    both = Window.partitionBy(f"rank.{id_field}")
    nearest = better.withColumn("least", F.min("hamming").over(both)).where("hamming = least")
    return nearest.select(f"rank.{id_field}", F.col(f"best.{id_field}").alias("max_id"), "hamming")
