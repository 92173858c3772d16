"""`spark.read.format("webdataset")` and `df.write.format("webdataset")`, for Spark 4 and newer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_imgdedup.errors import ConfigError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PUSHDOWN = "spark.sql.python.filterPushdown.enabled"


def register(spark: SparkSession) -> None:
    """Let this session read and write the format "webdataset"; see docs/guide-spark-formats.md for its options.

    Filters reach the reader only if `spark.sql.python.filterPushdown.enabled` is true when this is called: where it is
    off, Spark refuses a reader that takes filters, and a reader cannot see it. Call it again after a change.

    Raises:
        ConfigError: this Spark has no data sources in Python.
    """
    if not hasattr(spark, "dataSource"):
        raise ConfigError(
            f'Spark {spark.version} has no data sources in Python, so no format("webdataset"); it takes Spark 4. '
            "Use read_images(spark, config) to read tars, and run(config) to write them."
        )
    from spark_imgdedup.datasource.source import FilteringWebDatasetSource, WebDatasetSource

    takes_filters = (spark.conf.get(PUSHDOWN, "false") or "").lower() == "true"
    spark.dataSource.register(FilteringWebDatasetSource if takes_filters else WebDatasetSource)
