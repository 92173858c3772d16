"""A Spark session: the one there is, or a local one with settings that suit one machine."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from spark_imgdedup.config import Config
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.files.delta_log import is_delta
from spark_imgdedup.runs.classic import quiet_accumulators
from spark_imgdedup.runs.codegen import interpreted
from spark_imgdedup.runs.java import java_problem
from spark_imgdedup.runs.object_stores import places, s3a_packages

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


log = logging.getLogger(__name__)

# With one of these set somebody else starts Spark: spark-submit (which opened a gateway), a Connect server, Databricks.
STARTED_ELSEWHERE = ("PYSPARK_GATEWAY_PORT", "SPARK_REMOTE", "DATABRICKS_RUNTIME_VERSION")
# What Spark hides in its event log and on its pages: its own words, and those of Azure's and Google's keys.
REDACTED = "(?i)secret|password|token|access[.]?key|account[.]key|private[.]key|encryption[.]key|[.]sas[.]|credential"
# The oldest that the stages are tested on; format("webdataset") takes 4.
OLDEST_SPARK = (3, 5)


def get_session(config: Config) -> SparkSession:
    """The active session, that of spark-submit, or a new local one with `config.spark` on top of our defaults.

    Raises:
        ConfigError: PySpark or Java is missing or too old; says what to install.
    """
    try:
        import pyspark
        from pyspark.sql import SparkSession
    except ModuleNotFoundError:
        raise ConfigError(
            "PySpark is not installed. Run `pip install 'spark-imgdedup[local]'`, or use spark-submit."
        ) from None
    if tuple(map(int, pyspark.__version__.split(".")[:2])) < OLDEST_SPARK:
        oldest = ".".join(map(str, OLDEST_SPARK))
        raise ConfigError(f"Spark {oldest} or newer is needed, found {pyspark.__version__}. Use a newer cluster.")

    active = SparkSession.getActiveSession()
    if active is not None:
        _warn_of_ignored(active, config)
        return active
    if any(name in os.environ for name in STARTED_ELSEWHERE):
        session = SparkSession.builder.getOrCreate()  # a name given here would replace that of spark-submit --name
        quiet_accumulators(session)
        _warn_of_ignored(session, config)
        return session
    builder = SparkSession.builder.appName("spark-imgdedup")
    settings = config.spark if "spark.remote" in config.spark else {**_local_settings(config), **config.spark}
    for key, value in settings.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    quiet_accumulators(session)
    return session


def active_session() -> SparkSession | None:
    """The session that there is already; PySpark is not imported to look for one."""
    module = sys.modules.get("pyspark.sql")
    return None if module is None else module.SparkSession.getActiveSession()


def _warn_of_ignored(session: SparkSession, config: Config) -> None:
    ignored = [key for key, value in config.spark.items() if session.conf.get(key, None) != value]
    if ignored:
        log.warning("the Spark session was started elsewhere, so these settings are not used: %s", ", ".join(ignored))


def _local_settings(config: Config) -> dict[str, str]:
    if problem := java_problem():
        raise ConfigError(problem)
    # Else workers take whichever python3 comes first on PATH.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    cores = os.cpu_count() or 1
    is_verbose = log.isEnabledFor(logging.DEBUG)
    stacks = " -Dspark_imgdedup.stack=full -Dspark_imgdedup.repeated=error" if is_verbose else ""
    settings = {
        # Where a task fails, its worker taken away by the system for instance, it is tried once more, and not three
        # times as on a cluster: a fault of the settings takes its time again with each.
        "spark.master": f"local[{cores},2]",
        "spark.driver.memory": "2g",
        "spark.sql.shuffle.partitions": str(2 * cores),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",  # it would write over our own lines
        "spark.log.level": "ERROR",
        "spark.redaction.regex": REDACTED,
        # Spark's own start-up chatter would bury the lines that say what a run does.
        "spark.driver.extraJavaOptions": f"{_quick_java(cores)} -Dlog4j2.configurationFile={_log4j_file()}{stacks}",
    }
    brought = [delta_settings() if needs_delta(config) else {}, s3a_packages(config)]
    packages = [each["spark.jars.packages"] for each in brought if each]
    joined = {"spark.jars.packages": ",".join(packages)} if packages else {}
    return settings | interpreted(config.spark) | brought[0] | joined


def _quick_java(cores: int) -> str:
    """How a JVM compiles and collects that plans many small jobs, while the work is done in Python's processes.

    The quick compiler alone, and with few cores the collector that has no threads: a run of 290 images takes 31 s in
    place of 36, the dedup half of 500,000 vectors 28.6 in place of 33.6 (two cores). With it a JVM has 48 MB for what
    it has compiled in place of 240, and compiles nothing any more once they are full: after 40 commands in a session.
    """
    return "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m" + (" -XX:+UseSerialGC" if cores <= 4 else "")


def _log4j_file() -> str:
    """What Java reads our log settings from: a file, or a member of the zip that this package is imported from."""
    file = Path(__file__).with_name("log4j2.properties")
    if file.is_file():
        return str(file)
    archive = Path(__file__).parents[2]
    return f"jar:{archive.as_uri()}!/{file.relative_to(archive).as_posix()}"


def needs_delta(config: Config) -> bool:
    """True where a place of the run is a Delta table, or becomes one."""
    if "delta" in (config.table.format, config.output.format):
        return True
    brought = ("cluster.embeddings_path", "remove.ids_path", "input.path")
    return any(is_delta(place.url, place.options) for place in places(config) if place.setting in brought)


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
    # Delta 3 is for Spark 3.5 and its Scala.
    artifact = "delta-spark_2.12" if version.startswith("3.") else "delta-spark_4.1_2.13"
    return {
        "spark.jars.packages": f"io.delta:{artifact}:{version}",
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        # Delta reads its log in 50 tasks, which for a local log of ten lines take longer than the work.
        "spark.databricks.delta.snapshotPartitions": "2",
    }
