"""output.mode replace_where: the rows that a condition names are replaced, in a Delta table of many writers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_imgdedup.config import Config
from spark_imgdedup.counts import OutputCounts
from spark_imgdedup.errors import SchemaError
from spark_imgdedup.files import delta_log
from spark_imgdedup.files.owning.lease import require_held
from spark_imgdedup.files.owning.publishing import output_path
from spark_imgdedup.runs.current import built_on
from spark_imgdedup.runs.delta import errors_in_one_line, find_commit
from spark_imgdedup.runs.fingerprints import fingerprint
from spark_imgdedup.runs.tables import Tables
from spark_imgdedup.stages.object_stores import jvm_path

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import StructType


def replace_part(tables: Tables, rows: DataFrame, config: Config) -> OutputCounts:
    """Put rows in place of those of output.path that output.replace_where names; the table's schema stays as it is.

    Returns:
        written, bytes_after, files: of this part; version_before, version_after of the table.

    Raises:
        SchemaError: the rows have a column that the table lacks, or of another type.
        TableError: a row is not one that output.replace_where names, or Delta refuses for another reason.
    """
    path, options = output_path(config), config.output.storage_options
    where, target = str(config.output.replace_where), jvm_path(tables.spark, path, options)
    mark = fingerprint("remove", config, built_on("remove", tables, config))
    with errors_in_one_line(path):
        if not delta_log.is_delta(path, options):
            # Delta holds no row against the condition while it makes a table.
            rows.limit(0).write.format("delta").save(target)
        _require_columns(rows.schema, tables.spark.read.format("delta").load(target).schema, path)
        before = delta_log.trace(path, options).version
        require_held(config.work_dir)
        writer = rows.write.format("delta").mode("overwrite").option("replaceWhere", where)
        # Said here, or a session in which schemas grow by themselves would change the table's.
        writer = writer.option("mergeSchema", "false")
        writer.option("userMetadata", delta_log.mark_for(config.work_dir, mark)).save(target)
    commit = find_commit(config, path, before, mark)
    return OutputCounts(
        written=commit.metrics["numOutputRows"],
        bytes_after=commit.metrics["numOutputBytes"],
        files=commit.metrics["numFiles"],
        version_before=commit.read_version,
        version_after=commit.version,
    )


def _require_columns(given: StructType, there: StructType, path: str) -> None:
    kinds = {field.name.lower(): field.dataType.simpleString() for field in there}  # as Spark compares names
    wrong = [
        f"{field.name} {field.dataType.simpleString()} ({kinds.get(field.name.lower(), 'not there')})"
        for field in given
        if kinds.get(field.name.lower()) != field.dataType.simpleString()
    ]
    if wrong:
        raise SchemaError(
            f"{path}: the rows to write have columns that the table has not: {', '.join(wrong)}. Its schema is never "
            "changed: add or change them with ALTER TABLE, or name another table. Nothing was changed."
        )
