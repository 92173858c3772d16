"""The groups of a run: images that may count as one with another, gathered where the rules need all of their pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spark_imgdedup.config import Config
from spark_imgdedup.counts import GroupCounts, PairwiseCounts
from spark_imgdedup.errors import SchemaError
from spark_imgdedup.files import artifacts, storage
from spark_imgdedup.files.block_index import load_index, save_index
from spark_imgdedup.files.blocks import BlockIndex
from spark_imgdedup.runs.tables import Tables
from spark_imgdedup.runs.vectors import LINKS, open_blocks
from spark_imgdedup.stages.grouping.components import label_components
from spark_imgdedup.stages.grouping.glue import hash_edges, link_edges
from spark_imgdedup.stages.grouping.group_files import extent_of, write_groups
from spark_imgdedup.stages.grouping.large_groups import ROUNDS
from spark_imgdedup.stages.grouping.said import said_of
from spark_imgdedup.stages.object_stores import jvm_path
from spark_imgdedup.stages.searching.blocks import Blocks

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

GROUPS = "groups"
# What the step makes on its way, and takes away again.
_STORED = "stored"
_SAID = "said"


def gather_groups(tables: Tables, config: Config) -> GroupCounts:
    """Write the images that hang together with others by links of the search, or by hashes, group by group."""
    blocks, _ = open_blocks(tables, config)
    edges = link_edges(blocks, tables.path(LINKS))
    if config.uses_hashes:
        edges = edges.unionByName(hash_edges(blocks, tables.read("near_hashes")))
    stored = Stored(tables)
    labels = stored.store(label_components(edges, int(blocks.index.sizes.sum()), stored.store))
    storage.delete(tables.path(GROUPS), config.storage_options)
    extent = extent_of(labels)
    index = write_groups(blocks, labels, extent, tables.path(GROUPS))
    save_index(index, config.storage_options)
    stored.forget()
    return GroupCounts(extent.n_rows, extent.n_groups, extent.largest, eps=linked_eps(tables))


def open_groups(tables: Tables, config: Config) -> tuple[Blocks, BlockIndex]:
    """The blocks of the run, whose columns they have, and its groups.

    Raises:
        SchemaError: there are none.
    """
    blocks, _ = open_blocks(tables, config)
    try:
        return blocks, load_index(tables.path(GROUPS), config.storage_options)
    except FileNotFoundError:
        raise SchemaError(
            f"{tables.path(GROUPS)}: no groups there. Run step 'identify' first: spark-imgdedup identify --config …"
        ) from None


def store_said(tables: Tables, never: DataFrame | None, apart: Sequence[tuple[str, str]]) -> artifacts.Artifact:
    """What people have said of the images, as hashes that every task of the rules looks its own up in.

    Args:
        tables: Of the run.
        never: Ids that must stay, as text, in a column image_id.
        apart: Pairs of ids that are different.
    """
    ids: list[str] = []
    if never is not None:
        rows = never.toArrow() if hasattr(never, "toArrow") else never.toPandas()  # Spark 3.5 has no toArrow
        ids = rows["image_id"].to_pylist() if hasattr(rows["image_id"], "to_pylist") else rows["image_id"].tolist()
    return artifacts.save(tables.path(_SAID), said_of(ids, apart), options=tables.config.storage_options)


def linked_eps(tables: Tables) -> float:
    """The eps that the search told links for."""
    record = tables.record("pairwise")
    return record.counts.eps if record is not None and isinstance(record.counts, PairwiseCounts) else 0.0


class Stored:
    """DataFrames stored one after the other, each in a folder of its own, until all of them are forgotten."""

    def __init__(self, tables: Tables) -> None:
        self._tables, self._n = tables, 0
        self.forget()

    def store(self, df: DataFrame) -> DataFrame:
        """Store it, and give it back as it is read from there."""
        options = self._tables.config.storage_options
        path = jvm_path(df.sparkSession, storage.join(self._tables.path(_STORED), str(self._n)), options)
        self._n += 1
        df.write.mode("overwrite").parquet(path)
        return df.sparkSession.read.schema(df.schema).parquet(path)

    def forget(self) -> None:
        """Take all of them away, and what rounds have left beside the groups."""
        for folder in (_STORED, storage.join(GROUPS, ROUNDS)):
            storage.delete(self._tables.path(folder), self._tables.config.storage_options)
