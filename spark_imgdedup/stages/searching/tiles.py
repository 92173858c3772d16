"""blocks -> similarities: tasks compare tiles of what they read from the blocks themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from spark_imgdedup.config import Config
from spark_imgdedup.files import storage, writing
from spark_imgdedup.files.blocks import BlockIndex
from spark_imgdedup.gpu import to_host
from spark_imgdedup.kernels.links import Links
from spark_imgdedup.kernels.packing import Task, Tile
from spark_imgdedup.kernels.pairwise import best_across, best_earlier
from spark_imgdedup.stages.gpu_tasks import gpu_profile
from spark_imgdedup.stages.kept_columns import in_utc, plain_names
from spark_imgdedup.stages.searching.blocks import Blocks
from spark_imgdedup.stages.searching.spans import DISTANCE, Loaded, Positions, Spans, ranks_of, shared_parts
from spark_imgdedup.stages.tasks import map_tasks

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import StructType

Scores = npt.NDArray[np.float64]

# The columns of a link.
LINK = ("one", "other")
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


@dataclass(frozen=True)
class LinkFiles:
    """Where tasks write which rows hang together by pairs that are near enough: Parquet of one, other bigint.

    A file has the number of its task for a name, so that a task which Spark runs twice counts once. Rows are told by
    their positions in the blocks.

    Attributes:
        folder: A URL that every worker reaches.
        min_cosine: Of a pair, rounded.
        options: Of the storage.
    """

    folder: str
    min_cosine: float
    options: storage.Options

    def write(self, number: int, edges: list[tuple[Positions, Positions]]) -> None:
        """Write the edges that a task has found."""
        none = np.empty(0, np.int64)
        columns = {
            name: pa.array(np.concatenate([none, *side]))
            for name, side in zip(LINK, [*zip(*edges, strict=True)] or ((), ()), strict=True)
        }
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table(columns), sink)
        writing.write_bytes(
            storage.join(self.folder, f"{number:06}.parquet"), sink.getvalue().to_pybytes(), self.options
        )


def score_tiles(
    blocks: Blocks, copies: BlockIndex | None, tasks: Sequence[Task], links: LinkFiles, *, merges: bool
) -> DataFrame:
    """One row per image, as `stages.pairwise.score_pairs` gives, from the tiles of `tasks`.

    Args:
        blocks: What is compared.
        copies: Rows that are compared in other clusters than their home.
        tasks: Every row is in at least one tile that compares it with its own side.
        links: Where what hangs together is told.
        merges: Whether a row may be in several tiles: of what they find the best counts.
    """
    index, config = blocks.index, blocks.config
    schema = _schema(blocks, with_partner=merges)
    names, lists = schema.names, [task.tiles for task in tasks]

    def compare(numbers: Iterator[int]) -> Iterator[pa.RecordBatch]:
        with Spans(index, copies, config) as spans:
            for number in numbers:
                edges: list[tuple[Positions, Positions]] = []
                for tile in lists[number]:
                    for table in _compare(tile, spans, config, _Output(links.min_cosine, edges, with_partner=merges)):
                        yield from table.select(names).combine_chunks().to_batches()
                links.write(number, edges)

    found = map_tasks(blocks.spark, len(lists), compare, schema, gpu_profile(blocks.spark, config))
    return _under_names(_best_of(found, blocks) if merges else found, blocks)


@dataclass(frozen=True)
class _Output:
    """What is wanted of a tile, and the edges that were found so far."""

    min_cosine: float
    edges: list[tuple[Positions, Positions]]
    with_partner: bool

    def take(self, links: Links, one: Positions, other: Positions) -> None:
        left, right = links.trees.edges()
        self.edges.append((one[left], other[right]))


def _compare(tile: Tile, spans: Spans, config: Config, output: _Output) -> Iterator[pa.Table]:
    rows, others = spans.sides(tile)
    if others is None:
        found = _among(rows, tile, config, output)
        yield _candidates(found, rows, rows, config, with_partner=output.with_partner)
        return
    for found, side, partners in _between(rows, others, tile, config, output):
        if len(found.rows):
            yield _candidates(found, side, partners, config, with_partner=output.with_partner)


def _among(loaded: Loaded, tile: Tile, config: Config, output: _Output) -> Found:
    """Every row with the best of the earlier ones; the first of its cluster with itself and a score of 0."""
    starts = np.searchsorted(loaded.clusters, loaded.clusters) if tile.within else None
    links = Links(loaded.rows, output.min_cosine)
    scores, partners = best_earlier(loaded.rows, starts, batch_size=config.pairwise.batch_size, links=links)
    output.take(links, loaded.positions, loaded.positions)
    return Found(np.arange(len(loaded.clusters)), to_host(partners), to_host(scores))


def _between(
    one: Loaded, other: Loaded, tile: Tile, config: Config, output: _Output
) -> Iterator[tuple[Found, Loaded, Loaded]]:
    """The rows of both sides that the other side has an earlier one for."""
    ranks = ranks_of([one.thin, other.thin], config)
    one_ranks, other_ranks = ranks[: len(one.clusters)], ranks[len(one.clusters) :]
    for mine, theirs in shared_parts(one, other, tile):
        links = Links(one.rows[mine], output.min_cosine, other.rows[theirs])
        found = best_across(
            *(links.rows, other.rows[theirs], one_ranks[mine], other_ranks[theirs]),
            batch_size=config.pairwise.batch_size,
            links=links,
        )
        positions = np.concatenate([one.positions[mine], other.positions[theirs]])
        output.take(links, positions, positions)
        yield _found(found.a_scores, found.a_partners, mine.start, theirs.start), one, other
        yield _found(found.b_scores, found.b_partners, theirs.start, mine.start), other, one


def _found(scores: Any, partners: Any, first_row: int, first_partner: int) -> Found:
    scores, partners = to_host(scores), to_host(partners)
    rows = np.flatnonzero(partners >= 0)
    return Found(rows + first_row, partners[rows] + first_partner, scores[rows])


def _candidates(found: Found, rows: Loaded, partners: Loaded, config: Config, *, with_partner: bool) -> pa.Table:
    """What was found as rows of `similarities`, under plain names."""
    mine, theirs = rows.thin.take(pa.array(found.rows)), partners.thin.take(pa.array(found.partners))
    plain = tuple(plain_names(config.kept_columns).values())
    columns: dict[str, Any] = {
        "id": mine[config.id_column],
        "cluster_id": mine["cluster_id"],
        "max_id": theirs[config.id_column],
        "cosine_sim_score": pa.array(found.scores),
        **{name: in_utc(mine[name]) for name in (DISTANCE, *plain)},
    }
    if with_partner:
        is_first = (found.rows == found.partners) & (rows is partners)
        columns |= {
            _IS_FIRST: pa.array(is_first),
            **{_PARTNER + name: in_utc(theirs[name]) for name in (DISTANCE, *plain)},
        }
    return pa.table(columns)


def _schema(blocks: Blocks, *, with_partner: bool) -> StructType:
    from pyspark.sql import types as T

    plain = plain_names(blocks.config.kept_columns)
    kept = [T.StructField(name, each.dataType) for name, each in zip(plain.values(), blocks.fields, strict=True)]
    ours = [
        T.StructField("id", blocks.id_type),
        T.StructField("cluster_id", T.IntegerType()),
        T.StructField("max_id", blocks.id_type),
        T.StructField("cosine_sim_score", T.DoubleType()),
        T.StructField(DISTANCE, T.DoubleType()),
    ]
    partner = [T.StructField(_IS_FIRST, T.BooleanType()), T.StructField(_PARTNER + DISTANCE, T.DoubleType())]
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
    partner = {config.id_column: "max_id", DISTANCE: _PARTNER + DISTANCE, RANDOM: RANDOM}
    partner |= {name: _PARTNER + plain for name, plain in plain_names(config.kept_columns).items()}
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
    given = {plain: name for name, plain in plain_names(blocks.config.kept_columns).items()}
    return found.toDF(*(given.get(name, name) for name in names))
