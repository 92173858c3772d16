"""What a dataset holds before and after, by anything known of its samples: one pass over the rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from spark_imgdedup.stages.columns import quoted

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

# Rows of a table in report.json; what does not fit is summed in one more.
MOST_SHARDS = 1000
MOST_VALUES = 100
# Pixels of the shorter side: the first of each bucket.
RESOLUTIONS = (256, 512, 1024, 2048)
UNKNOWN = "unknown"

SHARD, FORMAT, RESOLUTION, REASON, FIELD = "shard", "image_format", "resolution", "_reason", "field "
# The folder of a loose image, or the shard without its number: train-00012 and train/00012 are of train.
SOURCE = "_source"


class Sizes(TypedDict):
    """Counts of samples, and bytes of their image files; null where the bytes are not known."""

    samples_before: int
    samples_after: int
    image_bytes_before: int | None
    image_bytes_after: int | None


class ValueSizes(Sizes):
    """The sizes of the samples that have one value; null for those that have none."""

    value: str | None


class SizeTable(TypedDict):
    """`shown` of `of` values, by `order`; the others together are `rest`, so that all of it adds up to the total."""

    shown: int
    of: int
    order: str
    rows: list[ValueSizes]
    rest: Sizes | None


class Removals(TypedDict):
    """The samples that leave for one reason, and the bytes of their images."""

    reason: str
    samples: int
    image_bytes: int | None


class SizeBreakdown(TypedDict):
    """Sizes of the whole, and by shard, source, format, resolution and fields; `leaving`: the table of what leaves."""

    leaving: str | None
    total: Sizes
    by_reason: list[Removals]
    by_shard: SizeTable
    by_source: NotRequired[SizeTable]
    by_format: SizeTable | None
    by_resolution: SizeTable | None
    by_field: dict[str, SizeTable]


_NAMES = ("samples_before", "samples_after", "image_bytes_before", "image_bytes_after")
# The totals of a grouping that no sample is in: the dataset has none.
_NOTHING = dict.fromkeys((*_NAMES, "n_values"), 0)


def break_down_sizes(samples: DataFrame, fields: tuple[str, ...], leaving: str | None) -> SizeBreakdown:
    """Sizes before and after. Runs one Spark job; at most 1,000 rows of each table come back.

    Args:
        samples: One row per sample: shard, _reason (null for those that stay) and, if known, _source, image_format,
            width, height, image_bytes and the fields.
        fields: Columns of `samples` to break down by.
        leaving: The table that `_reason` is from.
    """
    found = defaultdict(lambda: [_NOTHING], _collect(samples, fields))
    known = set(samples.columns)
    breakdown: SizeBreakdown = {
        "leaving": leaving,
        "total": _sizes(found[SHARD][0]),
        "by_reason": _removals(found.get(REASON)),
        "by_shard": _table(found[SHARD], MOST_SHARDS, "samples removed"),
        "by_format": _table(found[FORMAT], MOST_VALUES, "samples before") if FORMAT in known else None,
        "by_resolution": _by_resolution(found[RESOLUTION]) if "width" in known else None,
        "by_field": {name: _table(found[FIELD + name], MOST_VALUES, "samples before") for name in fields},
    }
    by_source = _table(found[SOURCE], MOST_VALUES, "samples before")
    return breakdown if by_source["of"] <= 1 else {**breakdown, "by_source": by_source}


def resolution_names() -> tuple[str, ...]:
    """The buckets of the shorter side, from small to large, then that of images whose size is not known."""
    between = (f"{low}-{high - 1}" for low, high in pairwise(RESOLUTIONS))
    return (f"<{RESOLUTIONS[0]}", *between, f">={RESOLUTIONS[-1]}", UNKNOWN)


def _collect(samples: DataFrame, fields: tuple[str, ...]) -> dict[str, list[Any]]:
    """For each grouping a row of totals (place 0), then its largest values in order."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    counted = _count(samples, fields)
    # Shards go by what they lose, all else by what it holds.
    size = F.when(F.col("grouping") == SHARD, F.col("samples_before") - F.col("samples_after"))
    size = F.coalesce(size, F.col("samples_before"))
    order = Window.partitionBy("grouping").orderBy(F.desc(size), F.desc("samples_before"), F.asc_nulls_last("value"))
    # Spark takes the first rows of each partition before it moves any (InferWindowGroupLimit, up to 1,000).
    largest = counted.withColumn("place", F.row_number().over(order)).where(F.col("place") <= MOST_SHARDS)
    totals = counted.groupBy("grouping").agg(
        F.count(F.lit(1)).alias("n_values"), *(F.sum(name).alias(name) for name in _NAMES)
    )
    rows = largest.unionByName(totals.withColumn("place", F.lit(0)), allowMissingColumns=True).collect()
    found: dict[str, list[Any]] = {}
    for row in sorted(rows, key=lambda row: (row["grouping"], row["place"])):
        found.setdefault(row["grouping"], []).append(row)
    return found


def _count(samples: DataFrame, fields: tuple[str, ...]) -> DataFrame:
    """grouping, value, and the sizes of each; every sample counts once in each grouping."""
    from pyspark.sql import functions as F

    groupings = _groupings(samples.columns, fields)
    pairs = [F.struct(F.lit(name).alias("grouping"), value.alias("value")) for name, value in groupings.items()]
    has_bytes = "image_bytes" in samples.columns
    n_bytes = F.coalesce("image_bytes", F.lit(0)) if has_bytes else F.lit(None).cast("bigint")
    exploded = samples.select(
        F.explode(F.array(*pairs)).alias("pair"),
        n_bytes.alias("bytes"),
        F.when(F.col(REASON).isNull(), n_bytes).otherwise(0 if has_bytes else None).alias("bytes_after"),
        F.col(REASON).isNull().cast("bigint").alias("stays"),
    ).select("pair.*", "bytes", "bytes_after", "stays")
    sizes = (F.count(F.lit(1)), F.sum("stays"), F.sum("bytes"), F.sum("bytes_after"))
    return exploded.groupBy("grouping", "value").agg(*(size.alias(n) for size, n in zip(sizes, _NAMES, strict=True)))


def _groupings(columns: list[str], fields: tuple[str, ...]) -> Mapping[str, Column]:
    from pyspark.sql import functions as F

    found = {SHARD: F.col("shard"), REASON: F.col(REASON)}
    if SOURCE in columns:
        found[SOURCE] = F.col(SOURCE)
    if FORMAT in columns:
        found[FORMAT] = F.col(FORMAT)
    if "width" in columns:
        found[RESOLUTION] = resolution_bucket()
    return found | {FIELD + name: F.col(quoted(name)).cast("string") for name in fields}


def with_source(samples: DataFrame, *, is_loose: bool) -> DataFrame:
    """Samples with a column SOURCE, from their shard."""
    from pyspark.sql import functions as F

    source = F.col("shard") if is_loose else F.regexp_replace("shard", "[-_./]*[0-9]*$", "")
    return samples.withColumn(SOURCE, source)


def resolution_bucket() -> Column:
    """The name of a row's bucket, from width and height."""
    from pyspark.sql import functions as F

    shorter = F.least("width", "height")
    # least() passes over nulls: an image has both or neither.
    bucket = F.when(shorter.isNull(), UNKNOWN)
    for limit, name in zip(RESOLUTIONS, resolution_names(), strict=False):
        bucket = bucket.when(shorter < limit, name)
    return bucket.otherwise(resolution_names()[len(RESOLUTIONS)])


def _table(rows: list[Any], most: int, order: str) -> SizeTable:
    total, *largest = rows
    shown: list[ValueSizes] = [{"value": row["value"], **_sizes(row)} for row in largest[:most]]
    n_values = int(total["n_values"])
    rest = _minus(_sizes(total), shown) if n_values > len(shown) else None
    return {"shown": len(shown), "of": n_values, "order": order, "rows": shown, "rest": rest}


def _by_resolution(rows: list[Any]) -> SizeTable:
    table = _table(rows, len(resolution_names()), "pixels of the shorter side")
    places = {name: place for place, name in enumerate(resolution_names())}
    return {**table, "rows": sorted(table["rows"], key=lambda row: places[row["value"] or UNKNOWN])}


def _removals(rows: list[Any] | None) -> list[Removals]:
    largest = [row for row in (rows or ())[1:] if row["value"] is not None]
    return [
        {"reason": row["value"], "samples": row["samples_before"], "image_bytes": row["image_bytes_before"]}
        for row in largest
    ]


def _sizes(row: Any) -> Sizes:
    before, after, bytes_before, bytes_after = (None if row[name] is None else int(row[name]) for name in _NAMES)
    return {
        "samples_before": before or 0,
        "samples_after": after or 0,
        "image_bytes_before": bytes_before,
        "image_bytes_after": bytes_after,
    }


def _minus(total: Sizes, rows: list[ValueSizes]) -> Sizes:
    def left(whole: int | None, parts: list[int | None]) -> int | None:
        return None if whole is None else whole - sum(part or 0 for part in parts)

    return {
        "samples_before": total["samples_before"] - sum(row["samples_before"] for row in rows),
        "samples_after": total["samples_after"] - sum(row["samples_after"] for row in rows),
        "image_bytes_before": left(total["image_bytes_before"], [row["image_bytes_before"] for row in rows]),
        "image_bytes_after": left(total["image_bytes_after"], [row["image_bytes_after"] for row in rows]),
    }
