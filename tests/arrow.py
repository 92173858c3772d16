"""Rows of a DataFrame as Arrow has them, on every Spark that is tested: 3.5 has neither of the methods of Spark 4."""

from __future__ import annotations

import pyarrow as pa
from pyspark.sql.pandas.types import from_arrow_schema


def to_arrow(df):
    return df.toArrow() if hasattr(df, "toArrow") else pa.Table.from_batches(df._collect_as_arrow())


def from_arrow(spark, table):
    if hasattr(spark, "dataSource"):
        return spark.createDataFrame(table)
    return spark.createDataFrame(table.to_pylist(), from_arrow_schema(table.schema))


def computed(df):
    """The same rows and types, computed once and not again for each use."""
    return from_arrow(df.sparkSession, to_arrow(df))
