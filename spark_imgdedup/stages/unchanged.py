"""Whether the loose images, or the images of a table, that leave are those that were compared, by their digests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from spark_imgdedup.config import Config
from spark_imgdedup.files import delta_log, storage
from spark_imgdedup.files.copying.removal_check import changed
from spark_imgdedup.files.owning.names import below
from spark_imgdedup.files.tars.compressed import COPY_BYTES
from spark_imgdedup.files.tars.shards import input_root
from spark_imgdedup.stages.columns import id_as_text
from spark_imgdedup.stages.tasks import map_batches
from spark_imgdedup.stages.user_input.image_column import find_image_column
from spark_imgdedup.stages.user_input.user_tables import open_table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def require_unchanged(removed: DataFrame, config: Config) -> None:
    """Read the images of `removed` whose digest is known once more. Those in tars are looked at as they are copied.

    Of a Delta table the log says whether it is as it was.

    Raises:
        ShardError: one of them is another image by now, or gone.
    """
    if config.input.format == "table" and delta_log.is_delta(config.input.paths[0], config.input.storage_options):
        return
    known = removed.where("sha256 is not null").select("image_id", "sha256")
    other = _other_rows(known, config) if config.input.format == "table" else _other_files(known, config)
    found = other.first()
    if found is not None:
        raise changed(", ".join(config.input.paths), found["image_id"])


def _other_files(known: DataFrame, config: Config) -> DataFrame:
    root, options = input_root(config.input), config.input.storage_options

    def look(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            pairs = zip(*(column.to_pylist() for column in batch.columns), strict=True)
            other = [name for name, digest in pairs if _digest(below(root, name, "removed"), options) != digest]
            yield pa.RecordBatch.from_pydict({"image_id": pa.array(other, pa.string())})

    return map_batches(known, look, "image_id string")


def _digest(url: str, options: storage.Options) -> str | None:
    digest = hashlib.sha256()
    try:
        with storage.open_read(url, options) as file:
            while data := file.read(COPY_BYTES):
                digest.update(data)
    except FileNotFoundError:
        return None
    return digest.hexdigest()


def _other_rows(known: DataFrame, config: Config) -> DataFrame:
    from pyspark.sql import functions as F

    rows = open_table(known.sparkSession, config.input.paths, config.input.storage_options)
    by = id_as_text(rows, config.input.id_field or "image_id", "input.id_field")
    image = find_image_column(rows.schema, config.input.image_column).column
    now = rows.select(by.alias("image_id"), F.sha2(image, 256).alias("now"))
    together = known.join(now, "image_id", "left")
    return together.where(F.col("now").isNull() | (F.col("now") != F.col("sha256"))).select("image_id")
