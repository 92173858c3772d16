"""How far apart two images of one group are: a group hangs on the one that stays, and says nothing of two others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from spark_imgdedup.kernels.cosines import rounded_cosines
from spark_imgdedup.kernels.vectors import UnitRows
from spark_imgdedup.runs.tables import Tables
from spark_imgdedup.stages.vectors.vector_column import vector_column, vector_values

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

# Of each group, the one that stays and so many others: in 20 groups of 1,280 numbers 5 MB.
MOST_COMPARED = 50


def lowest_of_two(tables: Tables, members: Mapping[str, list[str]]) -> dict[str, float]:
    """The lowest cosine of any two images of each group, to 6 decimals; one Spark job.

    Args:
        tables: Of the run; without `embeddings` of images nothing is known.
        members: The ids of each group, MOST_COMPARED at most.
    """
    from pyspark.sql import functions as F

    if not members or not tables.has("embeddings"):
        return {}
    embeddings = tables.read("embeddings")
    stored = vector_column(embeddings, "embedding", stage="report")
    wanted = sorted({image_id for ids in members.values() for image_id in ids})
    vectors = vector_values(embeddings, "embedding", stored).alias("embedding")
    rows = embeddings.where(F.col("image_id").isin(wanted) & F.col("embedding").isNotNull()).select("image_id", vectors)
    table = _as_arrow(rows)
    matrix = stored.decode(table["embedding"])
    places = {image_id: place for place, image_id in enumerate(table["image_id"].to_pylist())}
    found: dict[str, float] = {}
    for group, ids in members.items():
        mine = [places[image_id] for image_id in ids if image_id in places]
        if len(mine) > 1:
            unit = UnitRows.normalized(matrix[mine])
            found[group] = float(np.min(rounded_cosines(unit, unit)))
    return found


def _as_arrow(rows: DataFrame) -> pa.Table:
    # Spark 3.5 has no toArrow.
    return rows.toArrow() if hasattr(rows, "toArrow") else pa.Table.from_pandas(rows.toPandas())
