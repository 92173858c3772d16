"""Where vectors come from: rows of a DataFrame here, Parquet files that tasks read by themselves in `vector_files`.

Either hands batches (id, embedding, _kept_0, …) to a function in Spark's tasks, so that a stage need not know which.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import pyarrow as pa

from spark_imgdedup import schemas
from spark_imgdedup.config import Config
from spark_imgdedup.stages.columns import quoted
from spark_imgdedup.stages.gpu_tasks import gpu_profile
from spark_imgdedup.stages.kept_columns import kept_fields, plain_names
from spark_imgdedup.stages.tasks import map_batches
from spark_imgdedup.stages.vectors.vector_column import (
    VectorColumn,
    mark_vectors,
    require_id_type,
    vector_column,
    vector_values,
)

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import DataType, StructField, StructType

Work = Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]
Widths: TypeAlias = "Counter[int]"


@dataclass(frozen=True)
class VectorSource:
    """Ids, vectors and kept columns, of the rows that take part in the search.

    Attributes:
        rows: (id, embedding, _kept_0, …), each row once, whatever reads them in the end.
        column: How the vectors are stored.
        id_type: Spark's type of the id.
        fields: The kept columns, under their own names.
        config: The settings.
    """

    rows: DataFrame
    column: VectorColumn
    id_type: DataType
    fields: tuple[StructField, ...]
    config: Config

    @property
    def spark(self) -> SparkSession:
        """The session."""
        return self.rows.sparkSession

    def widths(self) -> Widths:
        """How many rows have a vector of each length, as `VectorColumn.width` counts it; one pass over the vectors."""
        from pyspark.sql import functions as F

        widths = self.rows.select(self.column.lengths("embedding").alias("width")).where(F.col("width") > 0)
        return Counter({row["width"]: row["count"] for row in widths.groupBy("width").count().collect()})

    def map(self, work: Work, schema: StructType | str) -> DataFrame:
        """`work` on the batches of each task."""
        return map_batches(self.rows, work, schema, gpu_profile(self.spark, self.config))


def vector_source(df: DataFrame, config: Config) -> VectorSource:
    """The rows of `df` that have an embedding.

    Raises:
        SchemaError: a column is missing, or does not hold ids or vectors, or is to be ranked by and has no order.
    """
    from pyspark.sql import functions as F

    config = config.fitting(df.columns)
    embedding = config.cluster.embedding_field if config.own_embeddings else "embedding"
    schemas.require(df, {config.id_column: None, embedding: None}, stage="cluster")
    fields = kept_fields(df, config.searched_columns, config, stage="cluster")
    require_id_type(df, config.id_column)
    if "rejected_because" in df.columns:
        df = df.where(F.col("rejected_because").isNull())
    column = vector_column(df, embedding, stage="cluster")
    values = vector_values(df, embedding, column)
    others = map(quoted, config.searched_columns)
    rows = df.select(F.col(quoted(config.id_column)), values.alias("embedding"), *others)
    plain = mark_vectors(
        rows.toDF("id", "embedding", *plain_names(config.searched_columns).values()), "embedding", column
    )
    return VectorSource(plain, column, df.schema[config.id_column].dataType, tuple(fields), config)
