"""Duplicates by the values of the two images: how many are in train of one that stays in test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypedDict

from spark_imgdedup.report.sizes import resolution_bucket
from spark_imgdedup.stages.columns import quoted

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

# Combinations of a grouping in report.json.
MOST_PAIRS = 50


class ValuePair(TypedDict):
    """Duplicates that have one value and go for images of another, or the same; null is none."""

    goes: str | None
    stays: str | None
    duplicates: int


class ValuePairs(TypedDict):
    """`shown` of `of` combinations, the most frequent first; `across` of all `pairs` lie on two values."""

    shown: int
    of: int
    pairs: int
    across: int
    rows: list[ValuePair]


def break_down_pairs(
    duplicates: DataFrame, samples: DataFrame, id_column: str, fields: tuple[str, ...]
) -> dict[str, ValuePairs]:
    """Pairs of values by source, format, resolution and field, where there is more than one; one Spark job.

    Args:
        duplicates: The id column, and kept_id, the image that stays for it, or else max_id.
        samples: image_id, _source, and, if known, image_format, width, height and the fields.
        id_column: Of `duplicates`.
        fields: Columns of `samples`.
    """
    found: dict[str, ValuePairs] = {}
    for row in _collect(duplicates, samples, id_column, fields):
        name = row["name"]
        if name not in found:
            of, pairs, across = (int(row[each]) for each in ("of", "pairs", "across"))
            found[name] = ValuePairs(shown=0, of=of, pairs=pairs, across=across, rows=[])
        pair = ValuePair(goes=row["goes"], stays=row["stays"], duplicates=int(row["n"]))
        found[name]["rows"].append(pair)
        found[name]["shown"] += 1
    return {name: table for name, table in found.items() if table["of"] > 1 or table["across"]}


def _collect(duplicates: DataFrame, samples: DataFrame, id_column: str, fields: tuple[str, ...]) -> list[Any]:
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    groupings = _groupings(samples.columns, fields)
    counted = _count(duplicates, samples, id_column, groupings)
    by_name = Window.partitionBy("name")
    across = F.when(~F.col("goes").eqNullSafe(F.col("stays")), F.col("n")).otherwise(0)
    order = by_name.orderBy(F.desc("n"), F.asc_nulls_last("goes"), F.asc_nulls_last("stays"))
    # Spark takes the first rows of each partition before it moves any (InferWindowGroupLimit).
    largest = counted.withColumn("place", F.row_number().over(order)).where(F.col("place") <= MOST_PAIRS)
    sums = counted.groupBy("name").agg(
        F.count(F.lit(1)).alias("of"), F.sum("n").alias("pairs"), F.sum(across).alias("across")
    )
    rows = largest.join(F.broadcast(sums), "name").collect()
    names = list(groupings)
    return sorted(rows, key=lambda row: (names.index(row["name"]), row["place"]))


def _count(duplicates: DataFrame, samples: DataFrame, id_column: str, groupings: Mapping[str, Column]) -> DataFrame:
    """name, goes, stays, n."""
    from pyspark.sql import functions as F

    values = F.array(*(value.cast("string") for value in groupings.values()))
    described = samples.select(F.col("image_id"), values.alias("values"))
    kept = "kept_id" if "kept_id" in duplicates.columns else "max_id"
    pairs = duplicates.select(F.col(quoted(id_column)).alias("_goes"), F.col(kept).alias("_stays"))
    going = described.select(F.col("image_id").alias("_goes"), F.col("values").alias("goes"))
    staying = described.select(F.col("image_id").alias("_stays"), F.col("values").alias("stays"))
    both = pairs.join(going, "_goes").join(staying, "_stays")
    of_each = (
        F.struct(F.lit(name).alias("name"), F.col("goes")[place].alias("goes"), F.col("stays")[place].alias("stays"))
        for place, name in enumerate(groupings)
    )
    each = both.select(F.explode(F.array(*of_each)).alias("each")).select("each.*")
    return each.groupBy("name", "goes", "stays").agg(F.count(F.lit(1)).alias("n"))


def _groupings(columns: list[str], fields: tuple[str, ...]) -> Mapping[str, Column]:
    from pyspark.sql import functions as F

    found = {"source": F.col("_source")}
    if "image_format" in columns:
        found["format"] = F.col("image_format")
    if "width" in columns:
        found["shorter side, pixels"] = resolution_bucket()
    return found | {f"field {name}": F.col(quoted(name)) for name in fields}
