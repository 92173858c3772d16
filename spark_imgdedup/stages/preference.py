"""Which of several images is preferred, as Spark sorts and compares: `kernels.ranking` across clusters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from spark_imgdedup.config import Config
from spark_imgdedup.config.ranking import DISTANCE
from spark_imgdedup.kernels.ranking import hash_ids
from spark_imgdedup.stages.columns import quoted

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

# Columns and whether each ascends, the most important first; nulls and NaN come last, the id ends it.
Order = Sequence[tuple[str, bool]]
# The hash by which which_to_keep random ranks, as a signed integer.
RANDOM = "_random_rank"


def preference(config: Config, *, with_distances: bool) -> Order:
    """The order in which images are preferred, the same as within a cluster.

    Args:
        config: `pairwise` says which are kept.
        with_distances: Whether the rows have cosine_dist_to_cent (and, for random, what `add_random_rank` adds).
            Without, the highest id is preferred for hard and the lowest for easy and random.
    """
    image_id = config.id_column
    if config.ranking == "metadata":
        keys: list[tuple[str, bool]] = []
        for key in config.rank_keys:
            if key[0] == image_id:  # ids are unique: what comes after them decides nothing
                return [*keys, key]
            if with_distances or key[0] != DISTANCE:
                keys.append(key)
        return [*keys, (image_id, True)]
    ascends = config.ranking != "hard"
    if not with_distances:
        return [(image_id, ascends)]
    first = RANDOM if config.ranking == "random" else DISTANCE
    return [(first, ascends), (image_id, ascends)]


def add_random_rank(df: DataFrame, config: Config, *, of: str | None = None) -> DataFrame:
    """`df` with the place that which_to_keep random gives each row (or the id in column `of`); else unchanged."""
    from pyspark.sql.pandas.functions import pandas_udf

    if config.ranking != "random":
        return df
    seed = config.pairwise.random_state

    def rank(ids: pd.Series) -> pd.Series:
        hashes = hash_ids(ids.tolist(), seed)
        return pd.Series((hashes ^ np.uint64(2**63)).view(np.int64))  # signed numbers in the order of the unsigned

    return df.withColumn(RANDOM, pandas_udf(rank, "bigint")(quoted(of or config.id_column)))  # type: ignore[call-overload]


def rank_struct(df: DataFrame, order: Order) -> Column:
    """The columns of the order as one struct `rank`, NaN as null."""
    from pyspark.sql import functions as F

    kinds = dict(df.dtypes)

    def key(name: str) -> Column:
        column = F.col(quoted(name))
        is_float = kinds[name] in ("float", "double")
        return (F.when(~F.isnan(column), column) if is_float else column).alias(name)

    return F.struct(*(key(name) for name, _ in order)).alias("rank")


def sort_keys(order: Order, struct: str = "rank") -> list[Column]:
    """What to sort by, for a struct of the order's columns."""
    from pyspark.sql import functions as F

    fields = ((F.col(struct).getField(name), up) for name, up in order)
    return [field.asc_nulls_last() if up else field.desc_nulls_last() for field, up in fields]


def first_of(df: DataFrame, by: tuple[str, ...], order: Order) -> DataFrame:
    """The row of `df` whose struct `rank` comes first, for each value of the columns `by`."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    place = F.row_number().over(Window.partitionBy(*by).orderBy(*sort_keys(order)))
    return df.withColumn("_place", place).where("_place = 1").drop("_place")


def precedes(first: str, second: str, order: Order) -> Column:
    """Whether the struct `first` is preferred to the struct `second`."""
    from pyspark.sql import functions as F

    result = F.lit(False)
    for name, up in reversed(order):
        x, y = F.col(first).getField(name), F.col(second).getField(name)
        before = F.coalesce(x < y if up else x > y, x.isNotNull() & y.isNull())
        result = before | (x.eqNullSafe(y) & result)
    return result
