"""groups -> what goes, and for which image that stays: the rules `greedy` and `components` on all pairs of a group."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_imgdedup import schemas
from spark_imgdedup.config import Config
from spark_imgdedup.files import artifacts
from spark_imgdedup.files.blocks import BlockIndex
from spark_imgdedup.kernels.evidence import NO_DISTANCE, Evidence, Reach
from spark_imgdedup.kernels.selection import keep_greedily
from spark_imgdedup.stages.columns import quoted
from spark_imgdedup.stages.grouping.group_files import GROUP
from spark_imgdedup.stages.grouping.groups import map_groups
from spark_imgdedup.stages.grouping.members import Members, map_members, reach_at
from spark_imgdedup.stages.grouping.survivors import ranked_names
from spark_imgdedup.stages.identify import applied_eps
from spark_imgdedup.stages.kept_columns import in_utc, kept_fields, plain_names
from spark_imgdedup.stages.partitions import shuffle_partitions
from spark_imgdedup.stages.searching.blocks import Blocks
from spark_imgdedup.stages.searching.spans import DISTANCE
from spark_imgdedup.stages.vectors.vector_column import vector_column

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import DataType, StructField, StructType

_KEPT = "_kept_by_"


def select_duplicates(
    blocks: Blocks, groups: BlockIndex, reach: Reach, rule: str, said: artifacts.Artifact | None = None
) -> DataFrame:
    """The images that go: id, max_id and kept_id (the one that stays for them), how near, found_by, rule, group_id.

    The kept columns follow, and those that the ranking looks at once more, of the one that stays.

    Args:
        blocks: What was searched; names the columns.
        groups: What `write_groups` wrote.
        reach: What counts as one image.
        rule: greedy or components.
        said: What people have said of the images, as `stages.grouping.said` has it.
    """
    config, columns = blocks.config, Columns(blocks.id_type, blocks.fields, blocks.config)
    schema = columns.schema()

    def select(members: Members) -> Iterator[pa.Table]:
        (kept_by,) = members.kept_by(rule, [reach])
        yield duplicates_of(members, kept_by, reach, rule, config).select(schema.names)

    return columns.under_names(map_members(blocks, groups, select, schema, said))


def duplicates_of(
    members: Members, kept_by: npt.NDArray[np.int64], reach: Reach, rule: str, config: Config
) -> pa.Table:
    """The images that go as rows of `duplicates`, under plain names; for `Columns.schema`."""
    gone = np.flatnonzero(kept_by >= 0)
    kept = kept_by[gone]
    mine, theirs = members.thin.take(pa.array(gone)), members.thin.take(pa.array(kept))
    heads = members.thin[config.id_column].take(pa.array(members.starts[gone]))
    evidence = members.evidence
    cosines, distances = evidence.cosines(gone, evidence, kept), evidence.distances(gone, evidence, kept)
    plain = plain_names(config.kept_columns)
    ranked = [plain[name] for name in ranked_names(config)]
    return pa.table(
        {
            "id": mine[config.id_column],
            "max_id": theirs[config.id_column],
            "cosine_sim_score": pa.array(cosines, from_pandas=True),
            "cluster_id": mine["cluster_id"],
            "found_by": _found_by(evidence, (gone, kept), (cosines, distances), reach),
            "kept_id": theirs[config.id_column],
            "hamming": pa.array(distances.astype(np.int32), mask=distances == NO_DISTANCE),
            "rule": pa.array([rule] * len(gone), pa.string()),
            "group_id": heads,
            **{name: in_utc(mine[name]) for name in plain.values()},
            **{_KEPT + name: in_utc(theirs[name]) for name in ranked},
        }
    )


def _found_by(evidence: Evidence, pairs: Any, how_near: Any, reach: Reach) -> pa.Array:
    """What speaks for each pair: pixels, embedding, phash, or, where nothing does directly, the chain between them."""
    (gone, kept), (cosines, distances) = pairs, how_near
    by = np.full(len(gone), "chain", dtype=object)
    if reach.agreeing_radius is not None:
        by[(distances <= reach.agreeing_radius) & (cosines >= reach.agreeing_cosine)] = "phash+embedding"
    if reach.radius is not None:
        by[distances <= reach.radius] = "phash"
    if reach.min_cosine is not None:
        by[cosines >= reach.min_cosine] = "embedding"
    if evidence.plain is not None:
        by[evidence.plain.known[gone] & evidence.plain.known[kept]] = "pixels"
    return pa.array(by.tolist(), pa.string())


def count_that_stay(blocks: Blocks, groups: BlockIndex, reach: Reach, said: artifacts.Artifact) -> int:
    """Images that must stay, and are within reach of another one that must and ranks before them."""

    def count(members: Members) -> Iterator[pa.Table]:
        these = np.flatnonzero(members.never)
        _, starts = np.unique(members.starts[these], return_inverse=True)
        first = np.searchsorted(starts, starts).astype(np.int64)
        (kept_by,) = keep_greedily(members.evidence[these], first, [reach])
        yield pa.table({"n": pa.array([int((kept_by >= 0).sum())], pa.int64())})

    return sum(row["n"] for row in map_members(blocks, groups, count, "n bigint", said).collect())


@dataclass(frozen=True)
class Columns:
    """The columns of duplicates, under plain names on their way through Python.

    Attributes:
        id_type: Spark's type of the id.
        fields: The kept columns; more may follow.
        config: The settings.
    """

    id_type: DataType
    fields: tuple[StructField, ...]
    config: Config

    @property
    def _plain(self) -> dict[str, str]:
        return plain_names(self.config.kept_columns)

    def schema(self) -> StructType:
        """Of what `duplicates_of` gives."""
        from pyspark.sql import types as T

        plain = self._plain
        kinds = {plain[field.name]: field.dataType for field in self.fields if field.name in plain}
        ours = {
            "id": self.id_type,
            "max_id": self.id_type,
            "cosine_sim_score": T.DoubleType(),
            "cluster_id": T.IntegerType(),
            "found_by": T.StringType(),
            "kept_id": self.id_type,
            "hamming": T.IntegerType(),
            "rule": T.StringType(),
            "group_id": self.id_type,
        }
        theirs = {_KEPT + plain[name]: kinds[plain[name]] for name in ranked_names(self.config)}
        return T.StructType([T.StructField(name, kind) for name, kind in {**ours, **kinds, **theirs}.items()])

    def under_names(self, found: DataFrame) -> DataFrame:
        """The same under the names of the tables."""
        given = {plain: name for name, plain in self._plain.items()}
        given |= {_KEPT + plain: f"kept_{name}" for plain, name in list(given.items())}
        given["id"] = self.config.id_column
        return found.toDF(*(given.get(name, name) for name in found.columns))


def select_in_clusters(clusters: DataFrame, config: Config) -> DataFrame:
    """`select_duplicates` of DataFrames, each cluster being a group: `identify.rule` among its rows alone.

    Args:
        clusters: What `stages.cluster.assign_clusters` gives.
        config: The settings; identify.eps must be a number.
    """
    from pyspark.sql import functions as F

    config = config.fitting(clusters.columns)
    needed = (config.id_column, "cluster_id", DISTANCE, "embedding")
    schemas.require(clusters, dict.fromkeys(needed), stage="identify")
    column = vector_column(clusters, "embedding", stage="identify")
    fields = kept_fields(clusters, config.kept_columns, config, stage="identify")
    columns = Columns(clusters.schema[config.id_column].dataType, tuple(fields), config)
    schema, reach, rule = columns.schema(), reach_at(applied_eps(config), config), config.identify.rule
    kept = (F.col(quoted(name)).alias(plain) for name, plain in plain_names(config.searched_columns).items())

    def select(cluster: pa.Table) -> pa.Table:
        thin = cluster.drop_columns(["embedding"]).append_column(GROUP, cluster["cluster_id"])
        members = Members.of(thin, column.decode(cluster["embedding"]), config)
        (kept_by,) = members.kept_by(rule, [reach])
        return duplicates_of(members, kept_by, reach, rule, config).select(schema.names)

    rows = clusters.where(F.col("cluster_id").isNotNull()).select(*map(quoted, needed), *kept)
    return columns.under_names(map_groups(rows, "cluster_id", select, schema, shuffle_partitions(clusters)))
