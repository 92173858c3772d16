"""blocks -> similarities: tasks compare tiles of what they read from the blocks themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_imgdedup.config import Config
from spark_imgdedup.files.blocks import BlockIndex, BlockReader
from spark_imgdedup.gpu import task_device, to_device, to_host
from spark_imgdedup.kernels.packing import Span, Task, Tile
from spark_imgdedup.kernels.pairwise import best_across, best_earlier
from spark_imgdedup.kernels.ranking import rank_order
from spark_imgdedup.kernels.vectors import UnitRows
from spark_imgdedup.stages.blocks import Blocks
from spark_imgdedup.stages.gpu_tasks import gpu_profile
from spark_imgdedup.stages.kept_columns import in_utc, plain_names, rank_keys
from spark_imgdedup.stages.tasks import map_tasks

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import StructType

Positions = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]

_DISTANCE = "cosine_dist_to_cent"
# The partner's columns, by which equal scores are put in order.
_PARTNER = "_partner_"
# Whether a row names itself, having met no earlier one: any other candidate is better.
_IS_FIRST = "_is_first"


@dataclass(frozen=True)
class Found:
    """What a tile hands on: rows and the earlier-ranked ones that they resemble most."""

    rows: Positions  # places in the tile's table
    partners: Positions
    scores: Scores


def score_tiles(blocks: Blocks, copies: BlockIndex | None, tasks: Sequence[Task], *, merges: bool) -> DataFrame:
    """One row per image, as `stages.pairwise.score_pairs` gives, from the tiles of `tasks`.

    Args:
        blocks: What is compared.
        copies: Rows that are compared in other clusters than their home.
        tasks: Every row is in at least one tile that compares it with its own side.
        merges: Whether a row may be in several tiles: of what they find the best counts.
    """
    index, config = blocks.index, blocks.config
    schema = _schema(blocks, with_partner=merges)
    names, lists = schema.names, [task.tiles for task in tasks]

    def compare(numbers: Iterator[int]) -> Iterator[pa.RecordBatch]:
        with Spans(index, copies, config) as spans:
            for number in numbers:
                for tile in lists[number]:
                    for table in _compare(tile, spans, config, with_partner=merges):
                        yield from table.select(names).combine_chunks().to_batches()

    found = map_tasks(blocks.spark, len(lists), compare, schema, gpu_profile(blocks.spark, config))
    return _under_names(_best_of(found, blocks) if merges else found, blocks)


class Spans:
    """Reads the sides of tiles; the last one of either side is kept, since neighbouring tiles share it."""

    def __init__(self, index: BlockIndex, copies: BlockIndex | None, config: Config) -> None:
        self._readers = {False: BlockReader(index, config.storage_options)}
        if copies is not None:
            self._readers[True] = BlockReader(copies, config.storage_options)
        self._config = config
        self._kept: dict[str, tuple[tuple[Span, bool], Loaded]] = {}

    def sides(self, tile: Tile) -> tuple[Loaded, Loaded | None]:
        """Both sides of a tile; None where its rows are compared among themselves."""
        others = tile.others
        return self._load("rows", tile.rows, tile), None if others is None else self._load("others", others, tile)

    def _load(self, side: str, span: Span, tile: Tile) -> Loaded:
        known = self._kept.get(side)
        if known is None or known[0] != (span, tile.within):
            self._kept.pop(side, None)  # before the next one takes its memory
            loaded = Loaded.of(self._readers[span.copies], span, self._config, within=tile.within)
            self._kept[side] = ((span, tile.within), loaded)
        return self._kept[side][1]

    def __enter__(self) -> Spans:
        return self

    def __exit__(self, *_: object) -> None:
        for reader in self._readers.values():
            reader.close()


@dataclass(frozen=True)
class Loaded:
    """The rows of a span by rank, or by cluster and then by rank.

    Attributes:
        thin: Their columns.
        rows: Their vectors, on the device of the task.
        clusters: (N,) where they are compared.
    """

    thin: pa.Table
    rows: UnitRows
    clusters: Positions

    @classmethod
    def of(cls, reader: BlockReader, span: Span, config: Config, *, within: bool) -> Loaded:
        """Read a span and put it in order; the vectors are copied once, to their places."""
        parts = reader.read(reader.index.slices(span.first, span.last, span.start, span.stop))
        thin = pa.concat_tables([part for part, _ in parts]).combine_chunks()
        thin = thin.rename_columns([config.id_column if name == "id" else name for name in thin.column_names])
        clusters = thin["searched_in" if span.copies else "cluster_id"].to_numpy().astype(np.int64)
        ranks = _ranks([thin], config)
        order = np.lexsort((ranks, clusters)) if within else np.argsort(ranks)
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        raw = np.empty((len(order), reader.index.dim), reader.index.dtype)
        start = 0
        for _, vectors in parts:
            raw[place[start : start + len(vectors)]] = vectors
            start += len(vectors)
        vectors = to_device(raw, task_device(config.pairwise.device))
        in_place = vectors if vectors.dtype == np.float32 else None
        return cls(thin.take(pa.array(order)), UnitRows.normalized(vectors, out=in_place), clusters[order])

    def of_cluster(self, number: int) -> slice:
        """Its rows, where they are by cluster."""
        start, end = np.searchsorted(self.clusters, [number, number + 1])
        return slice(int(start), int(end))


def _compare(tile: Tile, spans: Spans, config: Config, *, with_partner: bool) -> Iterator[pa.Table]:
    rows, others = spans.sides(tile)
    if others is None:
        yield _candidates(_among(rows, tile, config), rows, rows, config, with_partner=with_partner)
        return
    for found, side, partners in _between(rows, others, tile, config):
        if len(found.rows):
            yield _candidates(found, side, partners, config, with_partner=with_partner)


def _among(loaded: Loaded, tile: Tile, config: Config) -> Found:
    """Every row with the best of the earlier ones; the first of its cluster with itself and a score of 0."""
    starts = np.searchsorted(loaded.clusters, loaded.clusters) if tile.within else None
    scores, partners = best_earlier(loaded.rows, starts, batch_size=config.pairwise.batch_size)
    return Found(np.arange(len(loaded.clusters)), to_host(partners), to_host(scores))


def _between(one: Loaded, other: Loaded, tile: Tile, config: Config) -> Iterator[tuple[Found, Loaded, Loaded]]:
    """The rows of both sides that the other side has an earlier one for."""
    ranks = _ranks([one.thin, other.thin], config)
    one_ranks, other_ranks = ranks[: len(one.clusters)], ranks[len(one.clusters) :]
    for mine, theirs in shared_parts(one, other, tile):
        found = best_across(
            *(one.rows[mine], other.rows[theirs], one_ranks[mine], other_ranks[theirs]),
            batch_size=config.pairwise.batch_size,
        )
        yield _found(found.a_scores, found.a_partners, mine.start, theirs.start), one, other
        yield _found(found.b_scores, found.b_partners, theirs.start, mine.start), other, one


def shared_parts(one: Loaded, other: Loaded, tile: Tile) -> Iterator[tuple[slice, slice]]:
    """The rows of both sides that are compared with each other: all of them, or cluster by cluster."""
    if not tile.within:
        yield slice(0, len(one.clusters)), slice(0, len(other.clusters))
        return
    for cluster in np.intersect1d(one.clusters, other.clusters).tolist():
        yield one.of_cluster(cluster), other.of_cluster(cluster)


def _found(scores: Any, partners: Any, first_row: int, first_partner: int) -> Found:
    scores, partners = to_host(scores), to_host(partners)
    rows = np.flatnonzero(partners >= 0)
    return Found(rows + first_row, partners[rows] + first_partner, scores[rows])


def _ranks(tables: Sequence[pa.Table], config: Config) -> Positions:
    """The place of each row in the order in which rows are preferred, over several tables."""
    names = [config.id_column, _DISTANCE, *plain_names(config).values()]
    rows = pa.concat_tables([table.select(names) for table in tables])
    distances = rows[_DISTANCE].to_numpy()
    order = rank_order(
        rows[config.id_column].to_numpy(),
        distances,
        which_to_keep=config.pairwise.which_to_keep,
        random_state=config.pairwise.random_state,
        keys=rank_keys(rows, distances, config),
    )
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    return ranks


def _candidates(found: Found, rows: Loaded, partners: Loaded, config: Config, *, with_partner: bool) -> pa.Table:
    """What was found as rows of `similarities`, under plain names."""
    mine, theirs = rows.thin.take(pa.array(found.rows)), partners.thin.take(pa.array(found.partners))
    plain = tuple(plain_names(config).values())
    columns: dict[str, Any] = {
        "id": mine[config.id_column],
        "cluster_id": mine["cluster_id"],
        "max_id": theirs[config.id_column],
        "cosine_sim_score": pa.array(found.scores),
        **{name: in_utc(mine[name]) for name in (_DISTANCE, *plain)},
    }
    if with_partner:
        is_first = (found.rows == found.partners) & (rows is partners)
        columns |= {
            _IS_FIRST: pa.array(is_first),
            **{_PARTNER + name: in_utc(theirs[name]) for name in (_DISTANCE, *plain)},
        }
    return pa.table(columns)


def _schema(blocks: Blocks, *, with_partner: bool) -> StructType:
    from pyspark.sql import types as T

    plain = plain_names(blocks.config)
    kept = [T.StructField(name, each.dataType) for name, each in zip(plain.values(), blocks.fields, strict=True)]
    ours = [
        T.StructField("id", blocks.id_type),
        T.StructField("cluster_id", T.IntegerType()),
        T.StructField("max_id", blocks.id_type),
        T.StructField("cosine_sim_score", T.DoubleType()),
        T.StructField(_DISTANCE, T.DoubleType()),
    ]
    partner = [T.StructField(_IS_FIRST, T.BooleanType()), T.StructField(_PARTNER + _DISTANCE, T.DoubleType())]
    partner += [T.StructField(_PARTNER + each.name, each.dataType) for each in kept]
    return T.StructType([*ours, *kept, *(partner if with_partner else ())])


def _best_of(found: DataFrame, blocks: Blocks) -> DataFrame:
    """Of several rows with one id the one with the highest score, and of those the earliest-ranked partner."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    # Here, and not at the head: it brings pandas, which the tasks would import for nothing (0.2 s each).
    from spark_imgdedup.stages.preference import RANDOM, add_random_rank, preference

    config = blocks.config
    order = preference(config, with_distances=True)
    partner = {config.id_column: "max_id", _DISTANCE: _PARTNER + _DISTANCE, RANDOM: RANDOM}
    partner |= {name: _PARTNER + plain for name, plain in plain_names(config).items()}
    ranked = add_random_rank(found, config, of="max_id")
    kinds = dict(ranked.dtypes)
    keys = [F.col(_IS_FIRST).asc(), F.col("cosine_sim_score").desc()]
    for name, up in order:
        key = F.col(partner[name])
        key = F.when(~F.isnan(key), key) if kinds[partner[name]] in ("float", "double") else key
        keys.append(key.asc_nulls_last() if up else key.desc_nulls_last())
    place = F.row_number().over(Window.partitionBy("id").orderBy(*keys))
    names = [name for name in found.columns if name != _IS_FIRST and not name.startswith(_PARTNER)]
    return ranked.withColumn("_place", place).where("_place = 1").select(*names)


def _under_names(found: DataFrame, blocks: Blocks) -> DataFrame:
    names = [blocks.config.id_column if name == "id" else name for name in found.columns]
    given = {plain: name for name, plain in plain_names(blocks.config).items()}
    return found.toDF(*(given.get(name, name) for name in names))
