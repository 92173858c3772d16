"""images -> embeddings: one unit vector for each image, and why some images have none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa

from spark_imgdedup import schemas
from spark_imgdedup.config import Config
from spark_imgdedup.config.values import JsonType
from spark_imgdedup.errors import ModelError
from spark_imgdedup.gpu import task_cpus, task_device
from spark_imgdedup.kernels.vectors import l2_normalize
from spark_imgdedup.models import EncoderSettings, cached_encoder
from spark_imgdedup.models.base import DecodingEncoder
from spark_imgdedup.models.scorers import cached_pixel_scorer, pixel_scorer_name
from spark_imgdedup.models.stream import EmbeddedImage, ImageRecord, PixelWork, StreamSettings, embed_stream
from spark_imgdedup.stages.columns import field_arrays, field_columns, free_name, quoted, without_clashes
from spark_imgdedup.stages.gpu_tasks import gpu_profile
from spark_imgdedup.stages.read import map_records
from spark_imgdedup.stages.tasks import map_batches
from spark_imgdedup.stages.user_input.image_column import find_image_column
from spark_imgdedup.stages.vectors.vector_column import VectorColumn, mark_vectors, vector_column

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# The columns of a row of `EmbeddedImage` that are no vectors and no scores.
ARROW_TYPES = {
    **dict.fromkeys(("image_id", "shard", "key", "image_format", "sha256", "pixel_sha256"), pa.string()),
    **dict.fromkeys(("rejected_because", "error"), pa.string()),
    **dict.fromkeys(("width", "height"), pa.int32()),
    **dict.fromkeys(("pixels", "image_bytes"), pa.int64()),
    **dict.fromkeys(("phash", "phash_views", "plain_pixels"), pa.binary()),
    "trimmed": pa.list_(pa.int32()),
    "detail": pa.float64(),
    "is_grey": pa.bool_(),
}
SAMPLE_COLUMNS = ("image_id", "shard", "key")

# Rows of small fields leave the worker in Arrow batches of about this many; a batch may end on a model batch only.
ROWS_PER_BATCH = 512

Tell = Callable[[list[EmbeddedImage]], None]


class EmbedWork(Protocol):
    """The rows of images as batches."""

    def __call__(self, records: Iterator[ImageRecord], tell: Tell = ...) -> Iterator[pa.RecordBatch]:
        """Read, decode and embed them; `tell` is called with each batch of the model."""


def embed_shards(spark: SparkSession, config: Config, *, with_model: bool = True) -> DataFrame:
    """The embeddings of every sample in the tars of the input, or of its loose images: open, decode, embed in one pass.

    Image bytes never cross into the JVM (measured: twice to three times the throughput of reading and embedding apart).
    `detect` and `embed.pixel_scorers` say what is taken from the pixels beside the vector.

    Args:
        spark: The session.
        config: All of `input` and `embed` counts.
        with_model: False takes the hashes alone: no column `embedding`, no scores, and no model is loaded.
    """
    made = MadeRows.of(config, with_model=with_model, fields=config.input.json_fields)
    profile = gpu_profile(spark, config) if with_model else None
    return made.marked(map_records(spark, config.input, made.work(config), made.columns, profile))


def embed_images(df: DataFrame, config: Config, *, with_model: bool = True) -> DataFrame:
    """`df` with the embedding of its image column beside it.

    Takes what `read_images` gives or any DataFrame with encoded images in a column `image`, else in
    `input.image_column`: binary, or a struct with `bytes`. A row that has `rejected_because` set keeps its reason. The
    image column itself is left out.

    Args:
        df: The images.
        config: All of `embed` counts.
        with_model: As for `embed_shards`.

    Raises:
        SchemaError: there is no such column.
    """
    from pyspark.sql import functions as F

    # What read_images gives has another name there than the table it is of.
    image = find_image_column(df.schema, "image" if "image" in df.columns else config.input.image_column)
    result = MadeRows.of(config, with_model=with_model)
    given = {
        name: F.col(name) if name in df.columns else F.lit(None).cast("string")
        for name in ("rejected_because", "error")
    }
    made = _embed_udf(config, result)(image.column, given["rejected_because"], given["error"])
    others = (name for name in df.columns if name != image.name)
    kept = [*map(quoted, without_clashes(others, result.names, silent=("rejected_because", "error")))]
    new = free_name("_embedded", df.columns)
    embedded = df.select(*kept, made.alias(new)).select(*kept, *(F.col(f"{new}.{name}") for name in result.names))
    return result.marked(embedded)


@dataclass(frozen=True)
class MadeRows:
    """The columns that are made from an image, and rows of them as Arrow batches.

    Attributes:
        vectors: How vectors are stored; None: no model, no column.
        scores: The names of the pixel scorers.
        schema: The columns that the image gives, as Spark's schema.
        fields: The columns that the sample's json gives.
    """

    vectors: VectorColumn | None
    scores: tuple[str, ...]
    schema: str
    fields: Mapping[str, JsonType] = field(default_factory=dict)

    @classmethod
    def of(cls, config: Config, *, with_model: bool, fields: Mapping[str, JsonType] | None = None) -> MadeRows:
        """What the settings ask for, beside these columns of json."""
        if not with_model:
            return cls(None, (), schemas.HASHED, fields or {})
        vectors = VectorColumn(config.table.embedding_type)
        scores = tuple(map(pixel_scorer_name, config.embed.pixel_scorers))
        columns = [schemas.EMBEDDED.format(embedding=vectors.spark_type), *(f"{name}_score double" for name in scores)]
        return cls(vectors, scores, ", ".join(columns), fields or {})

    @property
    def names(self) -> list[str]:
        """The columns that the image gives."""
        return [part.split()[0] for part in self.schema.split(", ")]

    @property
    def columns(self) -> str:
        """The columns of a batch, as Spark's schema."""
        return f"{schemas.SAMPLE}, {self.schema}{field_columns(self.fields)}"

    @property
    def arrow_schema(self) -> pa.Schema:
        """The columns of a batch."""
        return self._batch([]).schema

    def marked(self, df: DataFrame) -> DataFrame:
        """A DataFrame of these rows, whose column of vectors says how they are stored."""
        return df if self.vectors is None else mark_vectors(df, "embedding", self.vectors)

    def work(self, config: Config) -> EmbedWork:
        """What a task does with the records of its images; it may tell of those that are done."""
        with_model = self.vectors is not None

        def embed(records: Iterator[ImageRecord], tell: Tell = lambda _: None) -> Iterator[pa.RecordBatch]:
            return self.batches(_telling(embed_records(records, config, with_model=with_model), tell))

        return embed

    def batches(self, model_batches: Iterator[list[EmbeddedImage]]) -> Iterator[pa.RecordBatch]:
        """The rows, once there are enough of them for a batch."""
        rows: list[EmbeddedImage] = []
        for batch in model_batches:
            rows += batch
            if len(rows) >= ROWS_PER_BATCH:
                yield self._batch(rows)
                rows = []
        if rows:
            yield self._batch(rows)

    def _batch(self, rows: list[EmbeddedImage]) -> pa.RecordBatch:
        columns = {name: pa.array([getattr(row, name) for row in rows], kind) for name, kind in ARROW_TYPES.items()}
        if self.vectors is not None:
            vectors = [row.vector for row in rows if row.vector is not None]
            present = np.array([row.vector is not None for row in rows])
            matrix = np.stack(vectors) if vectors else np.zeros((0, 1), np.float32)
            columns["embedding"] = self.vectors.encode(matrix, present)
        for name in self.scores:
            columns[f"{name}_score"] = pa.array([row.scores.get(name) for row in rows], pa.float64())
        columns |= field_arrays([row.fields for row in rows], self.fields)
        order = (*SAMPLE_COLUMNS, *self.names, *self.fields)
        return pa.RecordBatch.from_pydict({name: columns[name] for name in order})


def _telling(batches: Iterator[list[EmbeddedImage]], tell: Tell) -> Iterator[list[EmbeddedImage]]:
    for batch in batches:
        tell(batch)
        yield batch


def _embed_udf(config: Config, result: MadeRows):  # type: ignore[no-untyped-def]  # noqa: ANN202  # pyspark has no name for it
    from pyspark.sql.pandas.functions import pandas_udf

    with_model = result.vectors is not None

    # Spark picks the iterator form from these hints, so their names must be the module's own, not TYPE_CHECKING's.
    def embed(batches: Iterator[tuple[pd.Series, pd.Series, pd.Series]]) -> Iterator[pd.DataFrame]:
        records = (
            ImageRecord("", None, None, data, reason, error)
            for images, reasons, errors in batches
            for data, reason, error in zip(images, reasons, errors, strict=True)
        )
        for batch in result.batches(embed_records(_mark_missing(records), config, with_model=with_model)):
            yield batch.to_pandas()[result.names]

    return pandas_udf(embed, result.schema)  # type: ignore[call-overload]


def _mark_missing(records: Iterable[ImageRecord]) -> Iterator[ImageRecord]:
    for record in records:
        if record.data is None and record.rejected_because is None:
            yield ImageRecord(record.image_id, record.shard, record.key, None, "no_image", "the image column is null")
        else:
            yield record


def embed_records(
    records: Iterable[ImageRecord], config: Config, *, with_model: bool, n_threads: int | None = None
) -> Iterator[list[EmbeddedImage]]:
    """What a task does: one model per process, on the device and the cores that Spark gave it.

    Args:
        records: As they were read.
        config: All of `embed` counts.
        with_model: As for `embed_shards`.
        n_threads: In place of the cores.
    """
    cores = n_threads or task_cpus()
    hashes = config.detect.hashes
    work = PixelWork(
        pixel_digest="exact" in hashes,
        phash_bits=config.detect.phash_bits if "phash" in hashes else None,
        phash_views=config.detect.phash_views,
        trim_borders=config.input.trim_borders,
    )
    if with_model:
        device = task_device(config.embed.device)
        encoder = cached_encoder(
            EncoderSettings(
                model=config.embed.model,
                model_dir=config.embed.model_dir,
                device=device,
                precision=config.embed.precision,
                n_threads=cores,
                preprocess=config.embed.preprocess,
                storage_options=config.storage_options,
            )
        )
        decodes_later = config.embed.decode == "gpu"
        if decodes_later and not isinstance(encoder, DecodingEncoder):
            raise ModelError(
                f"embed.decode is gpu, but the transform of '{config.embed.model}' is not one that is done on a GPU "
                "here. Set embed.decode to cpu."
            )
        scorers = tuple(cached_pixel_scorer(spec, cores, device) for spec in config.embed.pixel_scorers)
        work = replace(work, encoder=encoder, scorers=scorers, decodes_later=decodes_later)
    threads = cores if config.embed.decode_threads == "auto" else config.embed.decode_threads
    return embed_stream(records, work, StreamSettings(config.embed.batch_size, threads, config.input.max_image_pixels))


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

    return map_batches(rows, convert, "image_id string, embedding array<float>")
