"""A Spark session: the one there is, or a local one with settings that suit one machine."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from spark_imgdedup.config import Config
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.runs.java import java_problem

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def get_session(config: Config) -> SparkSession:
    """The active session, that of spark-submit, or a new local one with `config.spark` on top of our defaults.

    Raises:
        ConfigError: PySpark or Java is missing or too old; says what to install.
    """
    try:
        from pyspark.sql import SparkSession
    except ModuleNotFoundError:
        raise ConfigError(
            "PySpark is not installed. Run `pip install 'spark-imgdedup[local]'`, or use spark-submit."
        ) from None

    active = SparkSession.getActiveSession()
    if active is not None:
        return active
    builder = SparkSession.builder.appName("spark-imgdedup")
    # spark-submit opened a gateway, and Connect has a server: both bring settings of their own.
    if "PYSPARK_GATEWAY_PORT" not in os.environ and "SPARK_REMOTE" not in os.environ:
        if "spark.remote" not in config.spark and (problem := java_problem()):
            raise ConfigError(problem)
        os.environ.setdefault(
            "PYSPARK_PYTHON", sys.executable
        )  # else workers take whichever python3 comes first on PATH
        for key, value in _local_settings(config).items():
            builder = builder.config(key, value)
    for key, value in config.spark.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def _local_settings(config: Config) -> dict[str, str]:
    cores = os.cpu_count() or 1
    settings = {
        "spark.master": f"local[{cores}]",
        "spark.driver.memory": "2g",
        "spark.sql.shuffle.partitions": str(2 * cores),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",  # it would write over our own lines
        "spark.log.level": "ERROR",
        # Spark's own start-up chatter would bury the lines that say what a run does.
        "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={Path(__file__).with_name('log4j2.properties')}",
    }
    if "delta" in (config.table.format, config.output.format):
        settings |= delta_settings()
    return {key: value for key, value in settings.items() if "spark.remote" not in config.spark}


def delta_settings() -> dict[str, str]:
    """What Spark needs to read and write Delta: the jar that matches the installed delta-spark.

    Raises:
        ConfigError: delta-spark is not installed.
    """
    try:
        version = importlib.metadata.version("delta-spark")
    except importlib.metadata.PackageNotFoundError:
        raise ConfigError(
            "Delta tables need `pip install 'spark-imgdedup[delta]'`, or a cluster that has Delta."
        ) from None
    return {
        "spark.jars.packages": f"io.delta:delta-spark_4.1_2.13:{version}",
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    }
