"""images -> copies, near_hashes: what repeats by its digests or by its perceptual hash, without a model.

Rows need `image_id`; leave out those that have `rejected_because` set.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from spark_imgdedup import schemas
from spark_imgdedup.errors import SchemaError
from spark_imgdedup.kernels.bands import BandPlan, bands, expected_recall, plan_bands
from spark_imgdedup.kernels.hashes import words
from spark_imgdedup.stages.partitions import shuffle_partitions
from spark_imgdedup.stages.preference import Order, first_of, precedes, rank_struct, sort_keys
from spark_imgdedup.stages.tasks import map_batches

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

HASH, VIEWS = "phash", "phash_views"
# Hashes that agree in one band and are compared by one task with all others of that band.
BAND_ROWS = 1 << 14


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

    _require(images, {"sha256": "string"}, order)
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
    from pyspark.sql import functions as F

    counts = copies.groupBy(F.col("max_id").alias("image_id")).agg(F.count("*").alias("dup_count"))
    kept = images.drop("dup_count").join(copies.select("image_id"), "image_id", "left_anti")
    return kept.join(counts, "image_id", "left").fillna(0, ["dup_count"])


def near_hashes(images: DataFrame, *, n_bits: int, radius: int) -> DataFrame:
    """Pairs of distinct hashes that differ in at most `radius` bits, each pair once: phash_a < phash_b, hamming int.

    Hashes are those of the images as they are and those of their other orientations (phash_views); at least one of a
    pair is of an image as it is. They say nothing of images and of which is preferred, so they hold for any ranking. A
    value that two images share is no pair. All pairs
    are found up to `kernels.bands.plan_bands(n_bits, radius).lossless_radius`; `search_recall` tells how many beyond.

    Args:
        images: phash binary of n_bits / 8 bytes, null in rows that have no hash; and, if there is such a column,
            phash_views binary, any number of hashes one after the other.
        n_bits: 64 or 256.
        radius: Hamming distance.

    Raises:
        SchemaError: the column is missing, or (in the worker) a hash has another length.
        ValueError: n_bits or radius is out of range.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    plan = plan_bands(n_bits, radius)
    in_band = Window.partitionBy("band", "band_key")
    shared = _in_bands(_distinct_hashes(images, n_bits), plan, radius).withColumn("size", F.count("*").over(in_band))
    shared = shared.where("size > 1")
    # A large band is cut into parts on one side and repeated for each part on the other: no task has all of its pairs.
    n_parts = F.ceil(F.col("size") / BAND_ROWS).cast("int")
    x = shared.withColumn("part", F.pmod(F.xxhash64(HASH), n_parts).cast("int"))
    y = shared.withColumn("part", F.explode(F.sequence(F.lit(0), n_parts - 1)))
    place = ("band", "band_key", "part")
    # A number of our own: adaptive execution merges small partitions by their bytes, and here cost is their square.
    n_tasks = shuffle_partitions(images)
    x, y = (side.repartition(n_tasks, *place).alias(name) for name, side in (("x", x), ("y", y)))
    together = functools.reduce(operator.and_, (F.col(f"x.{name}") == F.col(f"y.{name}") for name in place))
    differing = (F.bit_count(F.col(f"x.{word}").bitwiseXOR(F.col(f"y.{word}"))) for word in _word_columns(plan.n_bits))
    distance = functools.reduce(operator.add, differing)
    first, second = F.col(f"x.{HASH}"), F.col(f"y.{HASH}")
    of_images = F.col("x.is_own") | F.col("y.is_own")
    near = x.join(y.hint("merge"), together & (distance <= radius) & (first < second) & of_images)
    # A pair is found once for each band in which it agrees.
    return near.select(first.alias("phash_a"), second.alias("phash_b"), distance.alias("hamming")).distinct()


def search_recall(*, n_bits: int, radius: int) -> dict[str, Any]:
    """lossless_radius of the search for near hashes, and beyond it the expected recall at each distance."""
    lossless = plan_bands(n_bits, radius).lossless_radius
    beyond = range(lossless + 1, radius + 1)
    recall = {str(distance): round(expected_recall(n_bits, radius, distance), 4) for distance in beyond}
    return {"lossless_radius": lossless, "expected_recall": recall}


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


def _distinct_hashes(images: DataFrame, n_bits: int) -> DataFrame:
    """(phash, is_own): each value once, and whether it is that of an image as it is."""
    from pyspark.sql import functions as F

    _require(images, {HASH: "binary"}, ())
    hashes = images.where(f"{HASH} is not null").select(HASH, F.lit(True).alias("is_own"))
    if VIEWS in images.columns:
        _require(images, {VIEWS: "binary"}, ())
        size = n_bits // 8
        places = f"sequence(0, (length({VIEWS}) - 1) div {size})"
        views = f"explode(transform({places}, place -> substring({VIEWS}, place * {size} + 1, {size})))"
        turned = images.where(f"length({VIEWS}) > 0").select(F.expr(views).alias(HASH), F.lit(False).alias("is_own"))
        hashes = hashes.unionByName(turned)
    return hashes.groupBy(HASH).agg(F.bool_or("is_own").alias("is_own"))


def _in_bands(hashes: DataFrame, plan: BandPlan, radius: int) -> DataFrame:
    """Each hash once for each band, is_own, and its bits as integers word0, word1 and so on."""
    from pyspark.sql import functions as F

    names = _word_columns(plan.n_bits)

    def cut(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if batch.num_rows:
                matrix = _to_matrix(batch.column(0), plan.n_bits)
                numbers = words(matrix).view(np.int64)
                keys = bands(matrix, radius=radius)
                offsets = pa.array(np.arange(len(keys) + 1, dtype=np.int32) * keys.shape[1])
                columns = {HASH: batch.column(0), "is_own": batch.column(1)}
                columns |= {name: pa.array(numbers[:, place]) for place, name in enumerate(names)}
                columns["band_keys"] = pa.ListArray.from_arrays(offsets, pa.array(keys.ravel()))
                yield pa.RecordBatch.from_pydict(columns)

    schema = f"{HASH} binary, is_own boolean, {', '.join(f'{name} bigint' for name in names)}, band_keys array<bigint>"
    cut_up = map_batches(hashes, cut, schema)
    return cut_up.select(HASH, "is_own", *names, F.posexplode("band_keys").alias("band", "band_key"))


def _to_matrix(column: pa.Array, n_bits: int) -> np.ndarray:
    values = column.to_pylist()
    wrong = next((value for value in values if len(value) * 8 != n_bits), None)
    if wrong is not None:
        raise SchemaError(
            f"Column {HASH} must hold hashes of {n_bits} bits, found one of {len(wrong) * 8}. Set the number of bits "
            "that the images were hashed with, or hash them again."
        )
    return np.frombuffer(b"".join(values), np.uint8).reshape(len(values), n_bits // 8)


def _word_columns(n_bits: int) -> list[str]:
    return [f"word{place}" for place in range(n_bits // 64)]


def _require(images: DataFrame, columns: dict[str, str | None], order: Order) -> None:
    schemas.require(images, {**columns, **{name: None for name, _ in order}}, stage="detect")
