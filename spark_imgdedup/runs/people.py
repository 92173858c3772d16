"""What people have said of the images of a run: remove.never, and the pairs that identify.decisions calls different."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spark_imgdedup.config import Config
from spark_imgdedup.files import artifacts
from spark_imgdedup.files.decisions import read_decisions
from spark_imgdedup.runs.groups import store_said
from spark_imgdedup.runs.sources import searched_embeddings, searched_images
from spark_imgdedup.runs.tables import Tables
from spark_imgdedup.stages.columns import quoted
from spark_imgdedup.stages.grouping.survivors import stand_in
from spark_imgdedup.stages.local_rows import local_rows
from spark_imgdedup.stages.remove import select_ids
from spark_imgdedup.stages.user_input.id_lists import read_ids

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

IdPair = tuple[str, str]


@dataclass(frozen=True)
class People:
    """What they have said.

    Attributes:
        never: Distinct ids that must stay, as text, in a column image_id; None where there are none to mind.
        instead: `stand_in`: images that give way to a copy of theirs that must stay; None where none can.
        copies: Exact copies that may go; None where the run has none.
        apart: Pairs of different images. Where copies are collapsed, of those that they are collapsed to.
        n_different: Pairs that were called different.
        n_unknown: Ids in decisions that the dataset has not.
    """

    never: DataFrame | None
    instead: DataFrame | None
    copies: DataFrame | None
    apart: tuple[IdPair, ...]
    n_different: int = 0
    n_unknown: int = 0

    def store(self, tables: Tables) -> artifacts.Artifact | None:
        """It as tasks look it up; None where nobody has said anything."""
        if self.never is None and not self.apart:
            return None
        return store_said(tables, _with_survivors(self.never, self.instead), self.apart)


def ask_people(tables: Tables, config: Config, *, count: bool = False) -> People:
    """What people have said that concerns this run; `count` looks for the ids that the dataset has not, too."""
    never, instead = never_ids(tables, config), None
    decisions = read_decisions(config).decisions
    pairs = [each.pair for each in decisions if each.decision == "different"]
    has_copies = config.detect.method == "exact" or config.collapses_copies
    copies, apart = tables.read("copies") if has_copies else None, tuple(pairs)
    if copies is not None and pairs:
        copies, apart = _lifted(copies, pairs, config)
    if copies is not None and never is not None:
        instead = stand_in(copies, never, config)
    ids = sorted({name for each in decisions for name in each.pair}) if count else []
    return People(never, instead, copies, apart, len(pairs), _count_unknown(ids, tables, config))


def never_ids(tables: Tables, config: Config) -> DataFrame | None:
    """The ids of `remove.never` (image_id string); None where it is not set."""
    paths = config.remove.never_paths
    if not paths:
        return None
    return select_ids(read_ids(tables.spark, paths, config.remove.id_field, config.storage_options), "image_id")


def _with_survivors(never: DataFrame | None, instead: DataFrame | None) -> DataFrame | None:
    """The ids that must stay, and those that stay in the place of a copy of theirs."""
    if never is None or instead is None:
        return never
    return never.unionByName(instead.selectExpr("cast(survivor as string) image_id"))


def _lifted(copies: DataFrame, pairs: Sequence[IdPair], config: Config) -> tuple[DataFrame, tuple[IdPair, ...]]:
    """The copies that may go, and the pairs between images that copies are collapsed to.

    What is said of an image is said of all that have its bytes. Two copies of one image that were called different
    do not go for it, nor for each other.
    """
    from pyspark.sql import functions as F

    spark, id_ = copies.sparkSession, F.col(quoted(config.id_column)).cast("string")
    asked = local_rows(spark, pairs, "one string, other string")
    found = asked
    for side in ("one", "other"):
        theirs = copies.select(id_.alias(side), F.col("max_id").cast("string").alias(f"{side}_of"))
        found = found.join(theirs, side, "left")
    rows = found.collect()
    firsts = [(row["one_of"] or row["one"], row["other_of"] or row["other"]) for row in rows]
    alone = {name for row, (one, other) in zip(rows, firsts, strict=True) if one == other for name in row[:2]}
    apart = {(min(pair), max(pair)) for pair in firsts if pair[0] != pair[1]}
    if alone:
        stay = local_rows(spark, [(name,) for name in sorted(alone)], "_alone string")
        copies = copies.join(F.broadcast(stay), id_ == F.col("_alone"), "left_anti")
    return copies, tuple(sorted(apart))


def _count_unknown(ids: Sequence[str], tables: Tables, config: Config) -> int:
    """How many of these ids the dataset has not; one Spark job."""
    from pyspark.sql import functions as F

    if not ids:
        return 0
    by_vectors = config.detect.method == "embedding"
    rows = searched_embeddings(tables, config) if by_vectors else searched_images(tables, config)
    asked = local_rows(tables.spark, [(name,) for name in ids], "_asked string")
    known = rows.select(F.col(quoted(config.id_column)).cast("string").alias("_asked"))
    return len(ids) - known.join(F.broadcast(asked), "_asked", "left_semi").distinct().count()
