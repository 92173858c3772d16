"""embeddings -> scored: how each image fares by each filter, and which ones are rejected. Nothing is dropped."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_imgdedup import schemas
from spark_imgdedup.config import Config, ScoreConfig
from spark_imgdedup.errors import ConfigError, ModelError
from spark_imgdedup.kernels.vectors import invalid_rows, l2_normalize
from spark_imgdedup.models import embedding_dim
from spark_imgdedup.models.heads import Head
from spark_imgdedup.models.plugins import import_class
from spark_imgdedup.models.scorers import SCORE_NAME, Scorer, cached_scorer, pixel_scorer_name
from spark_imgdedup.stages.heads import open_head
from spark_imgdedup.stages.tasks import map_batches
from spark_imgdedup.stages.vectors.vector_column import VectorColumn, vector_column, vector_lengths, without_vector_type

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import StructType

Reasons = npt.NDArray[np.object_]  # None: nothing speaks against the row
Scores = npt.NDArray[np.float64]

REJECTED = "rejected_because"


@dataclass(frozen=True)
class ScoreFilter:
    """A score, and which images it rejects. Without a limit it rejects none.

    Attributes:
        name: aesthetic gives the column aesthetic_score and the reasons aesthetic and aesthetic_nan.
        scorer: A head, a class as my_package.my_module:MyScorer, or None for a score that the table has already.
        min_score: Images with score >= min_score stay.
        max_score: Images with score < max_score stay; a score equal to it is rejected.

    Raises:
        ConfigError: the name makes no column name, or a limit is NaN.
    """

    name: str
    scorer: Head | str | None
    min_score: float | None = None
    max_score: float | None = None

    def __post_init__(self) -> None:
        if not SCORE_NAME.fullmatch(self.name):
            raise ConfigError(f"A filter's name is lower case letters, digits and _, got '{self.name}'.")
        for limit in (self.min_score, self.max_score):
            if limit is not None and math.isnan(limit):
                raise ConfigError(f"filter {self.name}: a limit is NaN. Give a number, or null to reject nothing.")

    @property
    def column(self) -> str:
        """Name of the score's column."""
        return f"{self.name}_score"

    def reject(self, scores: Scores) -> Reasons:
        """A reason for each score that does not pass, None for those that do."""
        reasons: Reasons = np.full(len(scores), None, dtype=object)
        if self.min_score is None and self.max_score is None:
            return reasons
        if self.min_score is not None:
            reasons[~(scores >= self.min_score)] = self.name
        if self.max_score is not None:
            reasons[~(scores < self.max_score)] = self.name
        reasons[np.isnan(scores)] = f"{self.name}_nan"
        return reasons


def filters_of(config: ScoreConfig, options: Mapping[str, Any] | None = None) -> list[ScoreFilter]:
    """The filters that the settings name. Reads the weight files of heads with `options`, on this machine only.

    Raises:
        ConfigError: a limit of a scorer of your own is NaN.
        ModelError: a weight file cannot be read, or is no such head.
    """
    filters = []
    if config.aesthetic_head is not None:
        head = open_head("aesthetic", config.aesthetic_head, options)
        filters.append(ScoreFilter("aesthetic", head, min_score=config.min_aesthetic_score))
    if config.nsfw_head is not None:
        head = open_head("nsfw", config.nsfw_head, options)
        filters.append(ScoreFilter("nsfw", head, max_score=config.max_nsfw_score))
    own = (ScoreFilter(each.name, each.scorer, each.min_score, each.max_score) for each in config.scorers)
    return [*filters, *own]


def check_filters(config: Config) -> None:
    """Refuse, before any work, what `score_images` would refuse after the model has run.

    Raises:
        ConfigError: two filters have one name, or one without a scorer has no column.
        ModelError: a head cannot be read or takes other vectors than the encoder gives, or a scorer cannot be found.
    """
    filters = tuple(filters_of(config.score, config.storage_options))
    _require_distinct(filters)
    has_own_columns = config.own_embeddings or config.input.format == "table"
    scored = {pixel_scorer_name(spec) for spec in config.embed.pixel_scorers}
    dim = None if config.own_embeddings else embedding_dim(config.embed.model)
    for each in filters:
        if each.scorer is None and not has_own_columns and each.name not in scored:
            raise ConfigError(
                f"score.scorers: '{each.name}' has no scorer, and no step makes a column {each.column}. Name a scorer, "
                "or add one of that name to embed.pixel_scorers."
            )
        if isinstance(each.scorer, Head) and dim not in (None, each.scorer.dim):
            raise ModelError(each.scorer.misfit(dim or 0))


def score_images(
    df: DataFrame, filters: Sequence[ScoreFilter], *, embedding: str = "embedding", one_length: bool = False
) -> DataFrame:
    """`df` with a score column (double) for each filter, and `rejected_because` set where a filter rejects.

    Every row stays, in its order. A row that is rejected already keeps its reason and has null scores; all others get
    every score, and the reason of the first filter that rejects them. A vector that cannot be scored (null, zero, NaN,
    or of another length) is a reason of its own, by the names that `assign_clusters` uses.

    Heads travel to the workers with the task: those need neither the weight file nor torch. Runs a Spark job that reads
    the lengths of the embeddings, since the most common one is the right one; so give it a stored table.

    Args:
        df: A table with embeddings; one without `rejected_because` gets the column.
        filters: What to score and reject by; see `filters_of` for those of the settings.
        embedding: Name of the embedding column.
        one_length: Whether all embeddings are known to have one length, as those of one encoder: one is looked at then.

    Raises:
        ConfigError: two filters have one name.
        ModelError: a head takes vectors of another length, or a scorer cannot be found.
        SchemaError: there is no embedding column, or no column for a filter without a scorer.
    """
    from pyspark.sql import functions as F

    filters = tuple(filters)
    _require_distinct(filters)
    schemas.require(df, {f.column: None for f in filters if f.scorer is None}, stage="score")
    if not filters:
        return df
    df = without_vector_type(df.drop(*(f.column for f in filters if f.scorer is not None)), embedding)
    if REJECTED not in df.columns:
        df = df.withColumn(REJECTED, F.lit(None).cast("string"))
    column, width = None, 0
    if any(f.scorer is not None for f in filters):
        column = vector_column(df, embedding, stage="score")
        width = _common_width(df, embedding, column, one_length=one_length)
        _require_fitting(filters, column, width)
    worker, names = _Worker(filters, embedding, column, width), df.columns

    def score(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return (worker.score(batch.rename_columns(names)) for batch in batches if batch.num_rows)

    # Numbers for names on the way there: Spark's mapInArrow takes no dot in one.
    return map_batches(df.toDF(*map(str, range(len(names)))), score, _scored_schema(df, filters))


@dataclass(frozen=True)
class _Worker:
    """What a task needs; `column` is None where no filter looks at embeddings."""

    filters: tuple[ScoreFilter, ...]
    embedding: str
    column: VectorColumn | None
    width: int

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        reasons: Reasons = np.array([*batch.column(REJECTED).to_pylist(), None], dtype=object)[:-1]
        unit = np.zeros((len(reasons), 0), np.float32)
        if self.column is not None:
            unit = _unit_rows(batch.column(self.embedding), self.column, self.width, reasons)
        usable = _is_open(reasons)
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        for each in self.filters:
            if each.scorer is None:
                stored = columns[each.column].cast(pa.float64()).fill_null(np.nan)
                scores = stored.to_numpy(zero_copy_only=False)[usable]
            else:
                scores = _score(each.scorer, unit)
                columns[each.column] = _scatter(scores, usable)
            _add_reasons(reasons, usable, each.reject(scores))
        columns[REJECTED] = pa.array(reasons, pa.string())
        return pa.RecordBatch.from_pydict(columns)


def _unit_rows(vectors: pa.Array, column: VectorColumn, width: int, reasons: Reasons) -> npt.NDArray[np.float32]:
    """The vectors of the rows that can be scored; says in `reasons` why the others cannot."""
    is_open = _is_open(reasons)
    lengths = vector_lengths(vectors)
    fits = np.asarray(lengths.fill_null(0)) == (width or -1)  # where no row has numbers, none fits
    reasons[is_open & ~fits] = "wrong_length"
    reasons[is_open & np.asarray(lengths.is_null())] = "no_embedding"
    raw = column.decode(vectors.filter(pa.array(is_open & fits)))
    if not len(raw):
        return np.zeros((0, column.dim(width)), np.float32)
    invalid = invalid_rows(raw)
    reasons[is_open & fits] = invalid
    return np.asarray(l2_normalize(raw[_is_open(invalid)]))


def _score(scorer: Head | str, unit: npt.NDArray[np.float32]) -> Scores:
    if not len(unit):
        return np.zeros(0)
    loaded: Scorer = cached_scorer(scorer) if isinstance(scorer, str) else scorer
    scores = np.asarray(loaded.score(unit), np.float64)
    if scores.shape != (len(unit),):
        raise ModelError(
            f"Scorer '{loaded.name}' gave an array of shape {scores.shape} for {len(unit)} vectors. Return one number "
            "for each."
        )
    return scores


def _scatter(scores: Scores, usable: npt.NDArray[np.bool_]) -> pa.Array:
    values = np.zeros(len(usable))
    values[usable] = scores
    return pa.array(values, pa.float64(), mask=~usable)  # a NaN score stays NaN, not null


def _add_reasons(reasons: Reasons, usable: npt.NDArray[np.bool_], found: Reasons) -> None:
    """The first filter that rejects a row gives the reason."""
    now = reasons[usable]
    reasons[usable] = np.where(_is_open(now), found, now)


def _is_open(reasons: Reasons) -> npt.NDArray[np.bool_]:
    return np.array([reason is None for reason in reasons], bool)


def _require_distinct(filters: tuple[ScoreFilter, ...]) -> None:
    twice = [name for name, count in Counter(f.name for f in filters).items() if count > 1]
    if twice:
        raise ConfigError(f"Two filters are named {', '.join(twice)}. Give each its own name.")
    for each in filters:
        if isinstance(each.scorer, str):
            import_class(each.scorer, "scorer")


def _common_width(df: DataFrame, embedding: str, column: VectorColumn, *, one_length: bool) -> int:
    """The most common length of the stored vectors, as `VectorColumn.width` counts; 0 where there are none.

    Of equally common ones the longer, as `measure` decides for clusters.
    """
    from pyspark.sql import functions as F

    lengths = df.where(F.col(REJECTED).isNull()).select(column.lengths(embedding).alias("width"))
    lengths = lengths.where(F.col("width") > 0)
    if not one_length:
        lengths = lengths.groupBy("width").count().orderBy(F.desc("count"), F.desc("width"))
    found = lengths.first()
    return 0 if found is None else int(found["width"])


def _require_fitting(filters: tuple[ScoreFilter, ...], column: VectorColumn, width: int) -> None:
    for each in filters:
        if width and isinstance(each.scorer, Head) and column.width(each.scorer.dim) != width:
            raise ModelError(each.scorer.misfit(column.dim(width)))


def _scored_schema(df: DataFrame, filters: tuple[ScoreFilter, ...]) -> StructType:
    from pyspark.sql.types import DoubleType, StringType, StructField, StructType

    given = [StructField(REJECTED, StringType()) if field.name == REJECTED else field for field in df.schema.fields]
    scores = [StructField(each.column, DoubleType()) for each in filters if each.scorer is not None]
    return StructType([*given, *scores])
