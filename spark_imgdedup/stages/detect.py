"""images -> duplicates without a model: copies by their digests, near-copies by their perceptual hashes.

Both write what `identify` writes. Rows need `image_id`; leave out those that have `rejected_because` set.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from spark_imgdedup import schemas
from spark_imgdedup.errors import ConfigError, SchemaError
from spark_imgdedup.kernels.hashes import BandPlan, bands, plan_bands, words

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

# Columns and whether each ascends, the most important first; nulls come last, image_id ends it.
Order = Sequence[tuple[str, bool]]
HASH = "phash"
# Hashes that agree in one band and are compared by one task with all others of that band.
BAND_ROWS = 1 << 14


def order_by(which_to_keep: str, metadata_columns: Sequence[str] = (), ascending: Sequence[bool] = ()) -> Order:
    """The order in which images are preferred where there are no distances to rank by.

    Args:
        which_to_keep: 'hard' prefers the highest id, 'easy' and 'random' the lowest; 'metadata' goes by the columns,
            then by the lowest id.
        metadata_columns: For 'metadata'; the others ignore them.
        ascending: One for each of them.

    Raises:
        ConfigError: an unknown strategy, or lengths that differ.
    """
    if which_to_keep not in ("hard", "easy", "random", "metadata"):
        raise ConfigError(f"which_to_keep must be hard, easy, random or metadata, got {which_to_keep!r}.")
    if which_to_keep != "metadata":
        return [("image_id", which_to_keep != "hard")]
    if len(metadata_columns) != len(ascending):
        raise ConfigError(
            f"Each metadata column needs one direction, got {len(metadata_columns)} metadata_columns and "
            f"{len(ascending)} values of ascending."
        )
    tie = [] if "image_id" in metadata_columns else [("image_id", True)]
    return [*zip(metadata_columns, ascending, strict=True), *tie]


def group_exact(images: DataFrame, *, order: Order) -> DataFrame:
    """The images whose bytes or pixels equal those of a preferred one, with the number of images in their group.

    Gives image_id, max_id (the one that is kept), cosine_sim_score 1, cluster_id null, group_size bigint. One shuffle
    by the digest of the bytes and one by that of the pixels, both of narrow rows.

    Args:
        images: image_id, sha256 string, and pixel_sha256 string if there is one. A null digest equals none.
        order: Which of them is kept, see `order_by`.

    Raises:
        SchemaError: a column is missing.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    _require(images, {"sha256": "string"}, order)
    either = [F.col(name) for name in ("sha256", "pixel_sha256") if name in images.columns]
    rows = images.select(*either, _rank(order)).withColumn("digest", F.coalesce(*either)).where("digest is not null")
    if len(either) > 1:
        # Decoders of two releases can give one file other pixels: its lowest digest stands for all its copies.
        pixels = F.min("pixel_sha256").over(Window.partitionBy("digest"))
        rows = rows.withColumn("digest", F.coalesce(pixels, "digest"))
    group = Window.partitionBy("digest")
    survivor = F.first("rank.image_id").over(group.orderBy(*_sort_keys(order)))
    sized = rows.select("rank.image_id", survivor.alias("max_id"), F.count("*").over(group).alias("group_size"))
    return sized.where("image_id != max_id").select(*_as_duplicates(F.lit(1.0)), "group_size")


def collapse_copies(images: DataFrame, copies: DataFrame) -> DataFrame:
    """`images` without the copies that `group_exact` names, with the number that each row stands for: dup_count.

    dup_count is 0 for a row that nothing repeats. Sum of dup_count + rows = rows of `images`.
    """
    from pyspark.sql import functions as F

    counts = copies.groupBy(F.col("max_id").alias("image_id")).agg(F.count("*").alias("dup_count"))
    kept = images.join(copies.select("image_id"), "image_id", "left_anti")
    return kept.join(counts, "image_id", "left").fillna(0, ["dup_count"])


def phash_pairs(images: DataFrame, *, n_bits: int, radius: int, order: Order) -> DataFrame:
    """Pairs of images whose perceptual hashes differ in at most `radius` bits, as id_a, id_b, hamming int.

    id_a is preferred to id_b. Of images with one hash only the most preferred is compared with other hashes, and is
    paired with each of the rest, so n equal hashes give n - 1 pairs: the same components as with all pairs, and the
    nearest preferred image of every row. Rows without a hash are in no pair.

    All pairs are found up to `kernels.hashes.plan_bands(n_bits, radius).lossless_radius`; `expected_recall` tells
    how many beyond.

    Args:
        images: image_id, phash binary of n_bits / 8 bytes, and the columns of `order`.
        n_bits: 64 or 256.
        radius: Hamming distance.
        order: See `order_by`.

    Raises:
        SchemaError: a column is missing, or (in the worker) a hash has another length.
        ValueError: n_bits or radius is out of range.
    """
    from pyspark.sql import functions as F

    pairs = _ranked_pairs(images, plan_bands(n_bits, radius), radius, order)
    return pairs.select(F.col("a.image_id").alias("id_a"), F.col("b.image_id").alias("id_b"), "hamming")


def phash_duplicates(images: DataFrame, *, n_bits: int, radius: int, order: Order) -> DataFrame:
    """The images with a preferred one within `radius` bits, even if that one is itself removed (the rule `semdedup`).

    Gives image_id, max_id (the nearest preferred image; of those equally near the most preferred), cosine_sim_score
    (1 - hamming / n_bits), cluster_id null. Arguments and errors are those of `phash_pairs`.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    pairs = _ranked_pairs(images, plan_bands(n_bits, radius), radius, order)
    nearest_first = Window.partitionBy("b.image_id").orderBy("hamming", *_sort_keys(order, "a"))
    nearest = pairs.withColumn("place", F.row_number().over(nearest_first)).where("place = 1")
    named = nearest.select(F.col("b.image_id").alias("image_id"), F.col("a.image_id").alias("max_id"), "hamming")
    return named.select(*_as_duplicates(F.round(1 - F.col("hamming") / n_bits, 6)))


def phash_cost(images: DataFrame, *, n_bits: int, radius: int) -> dict[str, int]:
    """What a search has to do. Runs a Spark job that counts the members of each band and compares nothing.

    Gives n_hashes (distinct), n_bands, n_candidates (pairs to compare, once for each band they share; without bands it
    would be n_hashes ** 2 / 2), largest_band, n_split_bands (bands too large for one task).
    """
    from pyspark.sql import functions as F

    plan = plan_bands(n_bits, radius)
    _require(images, {HASH: "binary"}, [])
    hashes = images.where(f"{HASH} is not null").select(HASH).distinct()
    n = F.col("count")
    found = (
        _in_bands(hashes, plan, radius)
        .groupBy("band", "band_key")
        .count()
        .agg(
            F.sum(F.when(F.col("band") == 0, n)).alias("n_hashes"),
            F.sum((n * (n - 1) / 2).cast("bigint")).alias("n_candidates"),
            F.max(n).alias("largest_band"),
            F.count_if(n > BAND_ROWS).alias("n_split_bands"),
        )
        .first()
    )
    counts = found.asDict() if found else {}
    return {"n_bands": len(plan.bands), **{name: value or 0 for name, value in counts.items()}}


def _ranked_pairs(images: DataFrame, plan: BandPlan, radius: int, order: Order) -> DataFrame:
    """a, b, hamming: the columns of `order` of the preferred image and of the other, as structs."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    _require(images, {HASH: "binary"}, order)
    same_hash = Window.partitionBy(HASH).orderBy(*_sort_keys(order))
    rows = (
        images.where(f"{HASH} is not null")
        .select(HASH, _rank(order))
        .withColumn("first", F.first("rank").over(same_hash))
    )
    is_first = F.col("rank.image_id") == F.col("first.image_id")
    equal = rows.where(~is_first).select(F.col("first").alias("a"), F.col("rank").alias("b"), F.lit(0).alias("hamming"))
    hashes = _in_bands(rows.where(is_first).select(HASH, "rank"), plan, radius)
    return equal.unionByName(_near_pairs(hashes, plan, radius, order))


def _near_pairs(banded: DataFrame, plan: BandPlan, radius: int, order: Order) -> DataFrame:
    """a, b, hamming of the pairs of distinct hashes, each once, from what `_in_bands` gives."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    in_band = Window.partitionBy("band", "band_key")
    shared = banded.withColumn("size", F.count("*").over(in_band)).where("size > 1")
    # A large band is cut into parts on one side and repeated for each part on the other: no task has all of its pairs.
    n_parts = F.ceil(F.col("size") / BAND_ROWS).cast("int")
    x = shared.withColumn("part", F.pmod(F.xxhash64("rank.image_id"), n_parts).cast("int"))
    y = shared.withColumn("part", F.explode(F.sequence(F.lit(0), n_parts - 1)))
    place = ("band", "band_key", "part")
    # A number of our own: adaptive execution merges small partitions by their bytes, and here cost is their square.
    n_tasks = int(banded.sparkSession.conf.get("spark.sql.shuffle.partitions") or 200)
    x, y = (side.repartition(n_tasks, *place).alias(name) for name, side in (("x", x), ("y", y)))
    together = functools.reduce(operator.and_, (F.col(f"x.{name}") == F.col(f"y.{name}") for name in place))
    differing = (F.bit_count(F.col(f"x.{word}").bitwiseXOR(F.col(f"y.{word}"))) for word in _word_columns(plan.n_bits))
    distance = functools.reduce(operator.add, differing)
    near = x.join(y.hint("merge"), together & (distance <= radius) & _precedes(order))
    # A pair is found once for each band in which it agrees.
    return near.select(F.col("x.rank").alias("a"), F.col("y.rank").alias("b"), distance.alias("hamming")).distinct()


def _precedes(order: Order) -> Column:
    """Whether row x is preferred to row y."""
    from pyspark.sql import functions as F

    precedes = F.lit(False)
    for name, up in reversed(order):
        x, y = F.col("x.rank").getField(name), F.col("y.rank").getField(name)
        before = F.coalesce(x < y if up else x > y, x.isNotNull() & y.isNull())
        precedes = before | (x.eqNullSafe(y) & precedes)
    return precedes


def _in_bands(hashes: DataFrame, plan: BandPlan, radius: int) -> DataFrame:
    """Each row once for each band, with the hash as integers word0, word1, … instead of bytes."""
    from pyspark.sql import functions as F

    names = _word_columns(plan.n_bits)
    kept = [name for name in hashes.columns if name != HASH]

    def cut(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if batch.num_rows:
                matrix = _to_matrix(batch.column(HASH), plan.n_bits)
                numbers = words(matrix).view(np.int64)
                keys = bands(matrix, radius=radius)
                offsets = pa.array(np.arange(len(keys) + 1, dtype=np.int32) * keys.shape[1])
                columns = {name: batch.column(name) for name in kept}
                columns |= {name: pa.array(numbers[:, place]) for place, name in enumerate(names)}
                columns["band_keys"] = pa.ListArray.from_arrays(offsets, pa.array(keys.ravel()))
                yield pa.RecordBatch.from_pydict(columns)

    # A DDL string would lose the exact types of the rank's columns.
    template = hashes.select(*kept, *(F.lit(0).cast("bigint").alias(name) for name in names))
    schema = template.withColumn("band_keys", F.array(F.lit(0).cast("bigint"))).schema
    return hashes.mapInArrow(cut, schema).select(*kept, *names, F.posexplode("band_keys").alias("band", "band_key"))


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


def _sort_keys(order: Order, struct: str = "rank") -> list[Column]:
    """What to sort by, for a struct of the order's columns."""
    from pyspark.sql import functions as F

    fields = ((F.col(struct).getField(name), up) for name, up in order)
    return [field.asc_nulls_last() if up else field.desc_nulls_last() for field, up in fields]


def _rank(order: Order) -> Column:
    from pyspark.sql import functions as F

    return F.struct(*(F.col(f"`{name}`") for name, _ in order)).alias("rank")


def _as_duplicates(score: Column) -> list[Column]:
    from pyspark.sql import functions as F

    return [
        F.col("image_id"),
        F.col("max_id"),
        score.cast("double").alias("cosine_sim_score"),
        F.lit(None).cast("int").alias("cluster_id"),
    ]


def _require(images: DataFrame, columns: dict[str, str | None], order: Order) -> None:
    schemas.require(images, {"image_id": None, **columns, **{name: None for name, _ in order}}, stage="detect")
