"""The tables between the steps, and what each step recorded when it was done.

A step's record is written after its tables and taken away before they are touched again: a table whose record is
missing was not finished. It holds the fingerprint of the settings and inputs that made them, by which an unchanged
step is skipped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from spark_imgdedup.config import Config
from spark_imgdedup.errors import SchemaError, ShardError
from spark_imgdedup.files import artifacts, storage

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# Which step writes which table.
WRITTEN_BY = {
    "embeddings": "embed",
    "centroids": "cluster",
    "clusters": "cluster",
    "similarities": "pairwise",
    "duplicates": "identify",
    "index": "remove",
    "removed": "remove",
    "kept": "remove",
}


@dataclass(frozen=True)
class StepRecord:
    """What a finished step says about itself."""

    step: str
    fingerprint: str
    seconds: float
    counts: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""


class Tables:
    """Reads and writes the tables below `work_dir` as Parquet or Delta."""

    def __init__(self, spark: SparkSession, config: Config) -> None:
        self.spark = spark
        self.config = config

    def path(self, name: str) -> str:
        """Where a table lies."""
        return storage.join(self.config.work_dir, name)

    def read(self, name: str) -> DataFrame:
        """A finished table.

        Raises:
            SchemaError: the step that writes it has not run.
        """
        if not self.has(name):
            step = WRITTEN_BY[name]
            raise SchemaError(
                f"{self.path(name)}: no such table. Run step '{step}' first: spark-imgdedup {step} --config …"
            )
        return self.spark.read.format(self.config.table.format).load(storage.spark_path(self.path(name)))

    def has(self, name: str) -> bool:
        """True where the table and the record of its step are there."""
        return self.record(WRITTEN_BY[name]) is not None and storage.exists(self.path(name))

    def write(self, name: str, df: DataFrame) -> DataFrame:
        """Store `df` in place of an older table, and give it back as it is read from there."""
        writer = df.write.format(self.config.table.format).mode("overwrite")
        if self.config.table.format == "delta":
            writer = writer.option("overwriteSchema", "true")
        writer.save(storage.spark_path(self.path(name)))
        return self.spark.read.format(self.config.table.format).load(storage.spark_path(self.path(name)))

    def write_array(self, name: str, array: Any, about: Mapping[str, Any]) -> artifacts.Artifact:
        """Store an array that every worker will need."""
        return artifacts.save(self.path(name), array, about)

    def record(self, step: str) -> StepRecord | None:
        """What a step said when it was done, or None."""
        try:
            return StepRecord(**json.loads(storage.read_text(self._record_path(step))))
        except FileNotFoundError:
            return None

    def begin(self, step: str) -> None:
        """Say that the tables of `step` are about to change."""
        storage.delete(self._record_path(step))

    def finish(self, record: StepRecord) -> None:
        """Say that the tables of a step are complete."""
        storage.write_bytes(self._record_path(record.step), (json.dumps(asdict(record), indent=1) + "\n").encode())

    def _record_path(self, step: str) -> str:
        return storage.join(self.config.work_dir, "_steps", f"{step}.json")


def require_unique_ids(df: DataFrame, id_column: str) -> None:
    """Stop the run where two rows have one id: removing one would remove the other.

    Raises:
        ShardError: with the first few of them and where they come from.
    """
    from pyspark.sql import functions as F

    has_place = {"shard", "key"} <= set(df.columns)
    place = F.concat_ws(" : ", "shard", "key") if has_place else F.col(id_column).cast("string")
    twice = df.groupBy(id_column).agg(F.count(F.lit(1)).alias("n"), F.collect_list(place).alias("places"))
    found = twice.where("n > 1").orderBy(id_column).limit(3).collect()
    if found:
        named = "; ".join(
            f"'{row[id_column]}' from {', '.join(str(place) for place in sorted(row['places'])[:4])}" for row in found
        )
        raise ShardError(
            f"Ids must be unique, but at least {len(found)} occur more than once: {named}. Rename a shard or key, "
            "or set input.id_field (cluster.id_field) to a field that is unique."
        )
