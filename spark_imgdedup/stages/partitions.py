"""How many tasks a shuffle of ours goes to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

DEFAULT_PARTITIONS = 200  # Spark's own


def shuffle_partitions(df: DataFrame) -> int:
    """`spark.sql.shuffle.partitions` of the session that `df` belongs to."""
    return number_of(df.sparkSession.conf.get("spark.sql.shuffle.partitions"))


def number_of(setting: str | None) -> int:
    """The setting as a number: Spark's default where there is none, or where it is auto, which Databricks has."""
    return int(setting) if setting and setting.isdigit() else DEFAULT_PARTITIONS
