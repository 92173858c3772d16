"""The sides of tiles: rows of blocks that a task reads by itself, in the order in which they are preferred."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_imgdedup.config import Config
from spark_imgdedup.files.block_reader import BlockReader
from spark_imgdedup.files.blocks import POSITION, BlockIndex
from spark_imgdedup.gpu import task_device, to_device
from spark_imgdedup.kernels.packing import Span, Tile
from spark_imgdedup.kernels.ranking import rank_order
from spark_imgdedup.kernels.vectors import UnitRows
from spark_imgdedup.stages.kept_columns import plain_names, rank_keys

Positions = npt.NDArray[np.int64]

DISTANCE = "cosine_dist_to_cent"


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
        thin = named(pa.concat_tables([part for part, _ in parts]).combine_chunks(), config)
        clusters = thin["searched_in" if span.copies else "cluster_id"].to_numpy().astype(np.int64)
        ranks = ranks_of([thin], config)
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

    @property
    def positions(self) -> Positions:
        """(N,) of the rows in all blocks."""
        positions: Positions = self.thin[POSITION].to_numpy()
        return positions

    def of_cluster(self, number: int) -> slice:
        """Its rows, where they are by cluster."""
        start, end = np.searchsorted(self.clusters, [number, number + 1])
        return slice(int(start), int(end))


def shared_parts(one: Loaded, other: Loaded, tile: Tile) -> Iterator[tuple[slice, slice]]:
    """The rows of both sides that are compared with each other: all of them, or cluster by cluster."""
    if not tile.within:
        yield slice(0, len(one.clusters)), slice(0, len(other.clusters))
        return
    for cluster in np.intersect1d(one.clusters, other.clusters).tolist():
        yield one.of_cluster(cluster), other.of_cluster(cluster)


def named(thin: pa.Table, config: Config) -> pa.Table:
    """Columns of blocks with the id under its name."""
    return thin.rename_columns([config.id_column if name == "id" else name for name in thin.column_names])


def ranks_of(tables: Sequence[pa.Table], config: Config) -> Positions:
    """The place of each row in the order in which rows are preferred, over several tables."""
    names = [config.id_column, DISTANCE, *plain_names(config.kept_columns).values()]
    rows = pa.concat_tables([table.select(names) for table in tables])
    distances = rows[DISTANCE].to_numpy()
    order = rank_order(
        rows[config.id_column].to_numpy(),
        distances,
        which_to_keep=config.ranking,
        random_state=config.pairwise.random_state,
        keys=rank_keys(rows, distances, config),
    )
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    return ranks
