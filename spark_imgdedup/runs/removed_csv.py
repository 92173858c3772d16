"""removed.csv beside files that stay: which are not there, why, and what stays in their place."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from spark_imgdedup.config import Config
from spark_imgdedup.files import writing

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from spark_imgdedup.runs.tables import Tables

REMOVED_CSV = "removed.csv"
COLUMNS = ("image_id", "reason", "kept_id")


def write_removed(tables: Tables, removed: DataFrame, config: Config, url: str) -> None:
    """Write the samples of `removed` to one file, by image_id: image_id, reason, and kept_id where it is known."""
    from pyspark.sql import functions as F

    found = removed.select("image_id", "reason")
    if config.uses_duplicates and not config.own_embeddings:
        kept = tables.read("duplicates").select("image_id", "kept_id")
        found = found.join(kept, "image_id", "left")
    else:
        found = found.withColumn("kept_id", F.lit(None).cast("string"))
    file = writing.open_write(url, config.output.storage_options)
    try:
        text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="", write_through=True)
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(COLUMNS)
        lines.writerows(tuple(row) for row in found.select(*COLUMNS).orderBy("image_id").toLocalIterator())
        text.detach()
        writing.finish(file)
    except BaseException:
        writing.discard(file)
        raise
