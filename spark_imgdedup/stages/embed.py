"""images -> embeddings: one unit vector for each image, and why some images have none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

from spark_imgdedup import schemas
from spark_imgdedup.config import Config
from spark_imgdedup.files.shards import Shard, list_shards
from spark_imgdedup.gpu import task_cpus, task_device
from spark_imgdedup.kernels.vectors import l2_normalize
from spark_imgdedup.models import EncoderSettings, cached_encoder
from spark_imgdedup.models.stream import EmbeddedImage, ImageRecord, StreamSettings, embed_stream
from spark_imgdedup.stages._vectors import VectorColumn, mark_vectors, vector_column
from spark_imgdedup.stages.read import iter_images, map_shards

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# Rows of small fields leave the worker in Arrow batches of about this many; a batch may end on a model batch only.
ROWS_PER_BATCH = 512


def embed_shards(spark: SparkSession, config: Config) -> DataFrame:
    """The embeddings of every sample in the tars of the input: open, decode and embed in one pass.

    Image bytes never cross into the JVM (measured: twice to three times the throughput of reading and embedding apart).
    """
    column = VectorColumn(config.table.embedding_type)

    def work(shards: Iterator[Shard]) -> Iterator[pa.RecordBatch]:
        records = (record for shard in shards for record in iter_images(shard, config.input))
        return _to_batches(_embed(records, config), column)

    embedded = map_shards(
        spark, list_shards(config.input), work, schemas.EMBEDDINGS.format(embedding=column.spark_type)
    )
    return mark_vectors(embedded, "embedding", column)


def embed_images(df: DataFrame, config: Config) -> DataFrame:
    """`df` with the embedding of its image column beside it.

    Takes what `read_images` gives or any DataFrame with a binary column of encoded images (`image`, else
    `input.image_column`). A row that has `rejected_because` set keeps its reason. The image column itself is left out.

    Raises:
        SchemaError: there is no binary image column.
    """
    from pyspark.sql import functions as F

    image = "image" if "image" in df.columns else config.input.image_column
    schemas.require(df, {image: "binary"}, stage="embed")
    column = VectorColumn(config.table.embedding_type)
    given = {
        name: F.col(name) if name in df.columns else F.lit(None).cast("string")
        for name in ("rejected_because", "error")
    }
    added = [part.split()[0] for part in schemas.EMBEDDED.split(", ")]
    result = _embed_udf(config, column)(F.col(image), given["rejected_because"], given["error"])
    kept = [name for name in df.columns if name not in (image, *added)]
    embedded = df.select(*kept, result.alias("_embedded")).select(
        *kept, *(F.col(f"_embedded.{name}") for name in added)
    )
    return mark_vectors(embedded, "embedding", column)


def _embed_udf(config: Config, column: VectorColumn):  # type: ignore[no-untyped-def]  # noqa: ANN202  # pyspark has no name for it
    from pyspark.sql.pandas.functions import pandas_udf

    # Spark picks the iterator form from these hints, so their names must be the module's own, not TYPE_CHECKING's.
    def embed(batches: Iterator[tuple[pd.Series, pd.Series, pd.Series]]) -> Iterator[pd.DataFrame]:
        records = (
            ImageRecord("", None, None, data, reason, error)
            for images, reasons, errors in batches
            for data, reason, error in zip(images, reasons, errors, strict=True)
        )
        for batch in _to_batches(_embed(_mark_missing(records), config), column):
            yield batch.to_pandas()[[part.split()[0] for part in schemas.EMBEDDED.split(", ")]]

    return pandas_udf(embed, schemas.EMBEDDED.format(embedding=column.spark_type))  # type: ignore[call-overload]


def _mark_missing(records: Iterable[ImageRecord]) -> Iterator[ImageRecord]:
    for record in records:
        if record.data is None and record.rejected_because is None:
            yield ImageRecord(record.image_id, record.shard, record.key, None, "no_image", "the image column is null")
        else:
            yield record


def _embed(records: Iterable[ImageRecord], config: Config) -> Iterator[list[EmbeddedImage]]:
    """Runs in the worker: one model per process, on the device and the cores that Spark gave this task."""
    cores = task_cpus()
    encoder = cached_encoder(
        EncoderSettings(
            model=config.embed.model,
            model_dir=config.embed.model_dir,
            device=task_device(config.embed.device),
            precision=config.embed.precision,
            n_threads=cores,
            preprocess=config.embed.preprocess,
        )
    )
    threads = cores if config.embed.decode_threads == "auto" else config.embed.decode_threads
    sizes = StreamSettings(config.embed.batch_size, threads, config.input.max_image_pixels)
    return embed_stream(records, encoder, sizes)


def _to_batches(model_batches: Iterator[list[EmbeddedImage]], column: VectorColumn) -> Iterator[pa.RecordBatch]:
    rows: list[EmbeddedImage] = []
    for batch in model_batches:
        rows += batch
        if len(rows) >= ROWS_PER_BATCH:
            yield _to_batch(rows, column)
            rows = []
    if rows:
        yield _to_batch(rows, column)


def _to_batch(rows: list[EmbeddedImage], column: VectorColumn) -> pa.RecordBatch:
    strings = ("image_id", "shard", "key", "image_format", "sha256", "rejected_because", "error")
    columns = {name: pa.array([getattr(row, name) for row in rows], pa.string()) for name in strings}
    columns["width"] = pa.array([row.width for row in rows], pa.int32())
    columns["height"] = pa.array([row.height for row in rows], pa.int32())
    columns["image_bytes"] = pa.array([row.image_bytes for row in rows], pa.int64())
    vectors = [row.vector for row in rows if row.vector is not None]
    present = np.array([row.vector is not None for row in rows])
    columns["embedding"] = column.encode(np.stack(vectors) if vectors else np.zeros((0, 1), np.float32), present)
    order = [part.split()[0] for part in schemas.EMBEDDINGS.split(", ")]
    return pa.RecordBatch.from_pydict({name: columns[name] for name in order})


def export_embeddings(embeddings: DataFrame) -> DataFrame:
    """(image_id string, embedding array<float>), unit vectors of the images that have one: what the field exchanges."""
    stored, plain = vector_column(embeddings, "embedding", stage="export"), VectorColumn("array")
    rows = embeddings.where("embedding is not null").select("image_id", "embedding")
    if stored.kind == "array":
        return rows

    def convert(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if batch.num_rows:
                vectors = plain.encode(l2_normalize(stored.decode(batch.column(1))))
                yield pa.RecordBatch.from_arrays([batch.column(0), vectors], names=["image_id", "embedding"])

    return rows.mapInArrow(convert, "image_id string, embedding array<float>")
