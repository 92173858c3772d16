"""The tables between the steps, and what each step recorded when it was done.

A step's record is written after its tables and taken away before the first of them is touched again: a table whose
record is missing was not finished. It holds the fingerprint of the settings and inputs that made them, by which an
unchanged step is skipped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from spark_imgdedup.config import Config
from spark_imgdedup.config.steps import RECORDED, STEP
from spark_imgdedup.counts import StepCounts
from spark_imgdedup.errors import SchemaError, ShardError
from spark_imgdedup.files import artifacts, storage, writing
from spark_imgdedup.files.owning import lease, work_dir
from spark_imgdedup.files.owning.places import PARTS, require_apart
from spark_imgdedup.files.parquet_files import read_footers
from spark_imgdedup.runs import catalog
from spark_imgdedup.runs.classic import name_jobs
from spark_imgdedup.runs.codegen import compile_for, is_interpreted
from spark_imgdedup.runs.session import get_session
from spark_imgdedup.runs.whole import require_whole
from spark_imgdedup.stages.columns import quoted
from spark_imgdedup.stages.object_stores import jvm_path, read_path

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession
    from pyspark.sql.types import StructType

# The step whose record says that a table is finished.
WRITTEN_BY = {table: step.name for step in RECORDED for table in (*step.tables, *step.artefacts, *step.on_the_way)}
# Stored for every worker to open, never a table with a name.
ARTEFACTS = {name for step in RECORDED for name in step.artefacts}

# The driver reads the footers of so many, 16 at a time: on an object store about as long as Spark takes to ask workers.
FEW_FILES = 64


@dataclass(frozen=True)
class StepRecord:
    """What a finished step says about itself."""

    step: str
    fingerprint: str
    seconds: float
    counts: StepCounts
    built_on: Mapping[str, str] = field(default_factory=dict)  # fingerprints of the steps whose tables it read
    version: str = ""
    models: Mapping[str, str] = field(default_factory=dict)  # what told them from others of their specs
    schemas: Mapping[str, Any] = field(default_factory=dict)  # of its tables, as Spark's JSON


class Tables:
    """Reads and writes the tables as Parquet or Delta: folders of `work_dir`, or names in a catalog.

    Args:
        spark: A session; None gets one when a table is first touched, so that a run with nothing to do needs no Spark.
        config: `work_dir`, `table` and `tables` count, and `spark` for a new session.
        is_forced: By --force: nothing that an earlier run has left is used.
    """

    def __init__(self, spark: SparkSession | None, config: Config, *, is_forced: bool = False) -> None:
        self._spark = spark
        self.config = config
        self._options = config.storage_options
        self.is_forced = is_forced
        self._written: dict[str, StructType] = {}  # tables of a step that is not finished

    @property
    def spark(self) -> SparkSession:
        """The session.

        Raises:
            ConfigError: PySpark or Java is missing.
        """
        if self._spark is None:
            self._spark = get_session(self.config)
            if is_interpreted(self._spark):
                records = (self.record(step.name) for step in RECORDED)
                self.expect_rows(max((each.counts.table_rows for each in records if each is not None), default=0))
        name_jobs(self._spark)
        return self._spark

    @property
    def session(self) -> SparkSession | None:
        """The session, where there is one already."""
        return self._spark

    def expect_rows(self, n_rows: int) -> None:
        """Let the session, where there is one, suit tables of so many rows."""
        if self._spark is not None:
            compile_for(self._spark, n_rows)

    def path(self, name: str) -> str:
        """Where something of the run lies below `work_dir`, in full: a worker's current folder is another one."""
        return storage.join(storage.canonical(self.config.work_dir), name)

    def is_folder(self, name: str) -> bool:
        """True where the files of a folder are all there is of it: neither Delta's log nor a catalog tells of it."""
        return name in ARTEFACTS or (self.config.table.format == "parquet" and not self._has_name(name))

    def place(self, name: str) -> str:
        """What users look for a table by: its name in the catalog, or its folder."""
        return catalog.table_name(self.config, name) if self._has_name(name) else self.path(name)

    def read(self, name: str) -> DataFrame:
        """A finished table.

        Raises:
            SchemaError: the step that writes it has not run, or a file of it is cut off.
        """
        step = STEP[WRITTEN_BY[name]]
        record = self.record(step.name)
        if record is None or not self.exists(name):
            raise SchemaError(
                f"{self.place(name)}: no such table. Run step '{step.made_by or step.name}' first: "
                f"{step.command} --config …"
            )
        require_whole(name, self, step.command)
        return self._load(name, _schema_in(record, name))

    def has(self, name: str) -> bool:
        """True where the table and the record of its step are there."""
        return self.record(WRITTEN_BY[name]) is not None and self.exists(name)

    def exists(self, name: str) -> bool:
        """True where the table is there, finished or not."""
        if self._has_name(name):
            return catalog.is_ours(self.spark, self.config, name)
        return storage.exists(self.path(name), self._options)

    def require_writable(self, steps: Sequence[str]) -> None:
        """Look, before any work and before Spark, whether these steps may write their tables.

        Raises:
            ConfigError: work_dir meets what the run reads or its output, holds something of a table's name that no run
                wrote, or the schema is not there, or holds a table of that name which is not this run's.
        """
        if set(steps) <= {"report"}:
            return
        require_apart(self.config, steps)
        work_dir.require_ours(self.config, steps)
        writers = {step.name for step in RECORDED if (step.made_by or step.name) in steps}
        named = [name for name, step in WRITTEN_BY.items() if step in writers and self._has_name(name)]
        if named:
            catalog.require_writable(self.spark, self.config, named)

    def write(self, name: str, df: DataFrame) -> DataFrame:
        """Store `df` in place of an older table, and give it back as it is read from there."""
        self._forget(WRITTEN_BY[name])
        writer = df.write.format(self.config.table.format).mode("overwrite")
        if self.config.table.format == "delta":
            writer = writer.option("overwriteSchema", "true")
        if self._has_name(name):
            catalog.save(writer, self.spark, self.config, name)
        else:
            writer.save(jvm_path(self.spark, self.path(name), self._options))
        self._written[name] = df.schema
        return self._load(name, df.schema)

    def count(self, name: str) -> int:
        """Rows of a table that is finished, or that its step has just written.

        The footers of few files are read here, which saves Spark two jobs.
        """
        rows = self._load(name, self._written[name]) if name in self._written else self.read(name)
        if self.is_folder(name):
            files = storage.list_files(self.path(name), ".parquet", self._options)
            if 0 < len(files) <= FEW_FILES:
                return sum(footer.n_rows for footer in read_footers(files, self._options))
        return rows.count()

    def write_parts(self, name: str, make: Callable[[str], DataFrame]) -> DataFrame:
        """Store a table whose parts outlast a crash, and a change of its sources.

        Args:
            name: Of the table.
            make: Leaves the parts in a folder, as Parquet and with nothing else beside them, and gives a DataFrame of
                their schema. Of what it finds there it may leave what is still right.
        """
        self._forget(WRITTEN_BY[name])
        is_table = self.is_folder(name)
        folder = self.path(name if is_table else storage.join(PARTS, name))
        if self.is_forced:
            storage.delete(folder, self._options)
        schema = make(folder).schema
        if is_table:
            self._written[name] = schema
            return self._load(name, schema)
        return self.write(name, self.spark.read.schema(schema).parquet(read_path(self.spark, folder, self._options)))

    def write_array(self, name: str, array: Any, about: Mapping[str, Any]) -> artifacts.Artifact:
        """Store an array that every worker will need."""
        self._forget(WRITTEN_BY[name])
        return artifacts.save(self.path(name), array, about, options=self._options)

    def record(self, step: str) -> StepRecord | None:
        """What a step said when it was done; None if it was not, or if another version of the package said it."""
        try:
            found = json.loads(storage.read_text(self._record_path(step), self._options))
            counts = STEP[step].counts
            return None if counts is None else StepRecord(**found | {"counts": counts.from_json(found["counts"])})
        except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None

    def finish(self, record: StepRecord) -> None:
        """Say that the tables of a step are complete, once they are on the disk: a record never outlasts them."""
        step = STEP[record.step]
        for name in (*step.tables, *step.artefacts):
            writing.sync_below(self.path(name), self._options)
        done = self._written.keys() & {*step.tables, *step.on_the_way}
        schemas = {name: self._written.pop(name).jsonValue() for name in sorted(done)}
        text = json.dumps(asdict(replace(record, schemas=schemas)), indent=1) + "\n"
        writing.write_bytes(self._record_path(record.step), text.encode(), self._options)
        self.expect_rows(record.counts.table_rows)

    def _load(self, name: str, schema: StructType | None = None) -> DataFrame:
        if self._has_name(name):
            return catalog.load(self.spark, self.config, name)
        reader = self.spark.read.format(self.config.table.format)
        if schema is not None and self.config.table.format == "parquet":
            reader = reader.schema(schema)  # else Spark runs a job to find it in the files
        spell = read_path if self.config.table.format == "parquet" else jvm_path  # Delta takes no wildcards
        return reader.load(spell(self.spark, self.path(name), self._options))

    def _has_name(self, name: str) -> bool:
        return self.config.tables.schema_name is not None and name not in ARTEFACTS

    def _forget(self, step: str) -> None:
        lease.require_held(self.config.work_dir)
        writing.forget(self._record_path(step), self._options)

    def _record_path(self, step: str) -> str:
        return storage.join(self.config.work_dir, "_steps", f"{step}.json")


def _schema_in(record: StepRecord, table: str) -> StructType | None:
    from pyspark.sql.types import StructType

    return StructType.fromJson(record.schemas[table]) if table in record.schemas else None


# What to do where ids of samples repeat.
RENAME = "Rename a shard or key, or set input.id_field to a field that is unique."


def _first(rows: DataFrame, place: Column, n: int = 4) -> list[str]:
    return [str(row["place"]) for row in rows.select(place.alias("place")).orderBy("place").limit(n).collect()]


def require_unique_ids(df: DataFrame, id_column: str, remedy: str = RENAME) -> None:
    """Stop the run where two rows have one id (removing one would remove the other), or a row has none.

    Args:
        df: The rows.
        id_column: Of `df`.
        remedy: What to do about it, by what the rows are.

    Raises:
        ShardError: with the first few of them and where they come from.
    """
    from pyspark.sql import functions as F

    id_ = F.col(quoted(id_column))
    found = df.select(id_.alias("id")).groupBy("id").agg(F.count(F.lit(1)).alias("n"))
    found = found.where((F.col("n") > 1) | F.col("id").isNull())
    ids = [row["id"] for row in found.orderBy("id").limit(3).collect()]
    if not ids:
        return
    if ids[0] is None:
        n_null = df.where(id_.isNull()).count()
        raise ShardError(f"Every row needs an id, but {n_null:,} rows have none in column '{id_column}'. {remedy}")
    place = F.concat_ws(" : ", "shard", "key") if {"shard", "key"} <= set(df.columns) else id_.cast("string")
    # A wrong column may hold a hundred million rows of one value: of each, the first four are brought here.
    named = "; ".join(f"'{one}' from {', '.join(_first(df.where(id_ == one), place))}" for one in ids)
    raise ShardError(f"Ids must be unique, but at least {len(ids)} occur more than once: {named}. {remedy}")
