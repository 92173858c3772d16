"""Tables with names, `catalog.schema.table`: whose they are, and writing them.

A table carries the work_dir of the run that wrote it. What carries another one, or none, is never overwritten, so two
runs in one schema cannot take each other's tables for their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spark_imgdedup.config import Config
from spark_imgdedup.errors import ConfigError, without_credentials
from spark_imgdedup.files import storage

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, DataFrameWriter, SparkSession

WORK_DIR = "spark_imgdedup.work_dir"


def table_name(config: Config, name: str) -> str:
    """The full name of a table of this run, as users write it."""
    return ".".join(part for part in (config.tables.catalog, config.tables.schema_name, name) if part is not None)


def quoted(name: str) -> str:
    """A dotted name as SQL takes it whatever its letters: no part holds a dot or a backtick."""
    return ".".join(f"`{part}`" for part in name.split("."))


def is_ours(spark: SparkSession, config: Config, name: str) -> bool:
    """True where the table is there and this work_dir's."""
    table = table_name(config, name)
    return spark.catalog.tableExists(quoted(table)) and _work_dir_of(spark, table) == _mark(config)


def require_writable(spark: SparkSession, config: Config, names: Sequence[str]) -> None:
    """Look, before any work, whether the schema is there and holds nothing of others under these names.

    Raises:
        ConfigError: with the name of the schema or table.
    """
    schema = table_name(config, "").removesuffix(".")
    if not spark.catalog.databaseExists(quoted(schema)):
        raise ConfigError(
            f"tables.schema: there is no schema {schema}. Create it (CREATE SCHEMA {schema}), or correct the name."
        )
    for name in names:
        table = table_name(config, name)
        if not spark.catalog.tableExists(quoted(table)):
            continue
        owner = _work_dir_of(spark, table)
        if owner != _mark(config):
            raise ConfigError(
                f"{table} is there already and {f'belongs to work_dir {owner}' if owner else 'is not from a run'}, so "
                "it is not overwritten. Set tables.schema to a schema of this work_dir's own, or drop the table."
            )


def save(writer: DataFrameWriter, spark: SparkSession, config: Config, name: str) -> None:
    """Let the writer of a table write it under its name, and mark it as this work_dir's."""
    table = quoted(table_name(config, name))
    writer.saveAsTable(table)
    mark = _mark(config).replace("\\", "\\\\").replace("'", "\\'")
    spark.sql(f"ALTER TABLE {table} SET TBLPROPERTIES ('{WORK_DIR}' = '{mark}')")


def load(spark: SparkSession, config: Config, name: str) -> DataFrame:
    """A table of this run."""
    return spark.read.table(quoted(table_name(config, name)))


def _mark(config: Config) -> str:
    return without_credentials(storage.canonical(config.work_dir))


def _work_dir_of(spark: SparkSession, table: str) -> str | None:
    properties = spark.sql(f"SHOW TBLPROPERTIES {quoted(table)}").collect()
    return next((row["value"] for row in properties if row["key"] == WORK_DIR), None)
