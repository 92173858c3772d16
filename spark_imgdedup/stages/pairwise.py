"""clusters -> similarities: how much does each image resemble a better-ranked one of its cluster?

The plain engine, for a DataFrame in a notebook: one Spark group per cluster. A run compares tiles of blocks instead
(`stages.searching.search`), across clusters too; where it compares home clusters, the rows are these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from spark_imgdedup import schemas
from spark_imgdedup.config import Config
from spark_imgdedup.gpu import task_device, to_device, to_host
from spark_imgdedup.kernels.pairwise import max_similarity_to_earlier
from spark_imgdedup.kernels.ranking import rank_order
from spark_imgdedup.kernels.vectors import l2_normalize
from spark_imgdedup.stages.columns import quoted
from spark_imgdedup.stages.grouping.groups import map_groups
from spark_imgdedup.stages.kept_columns import in_utc, kept_fields, plain_names, rank_keys, with_fields
from spark_imgdedup.stages.partitions import shuffle_partitions
from spark_imgdedup.stages.vectors.vector_column import VectorColumn, vector_column

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def score_pairs(clusters: DataFrame, config: Config) -> DataFrame:
    """One row per image: the better-ranked image of its cluster that it resembles most.

    A cluster is one Spark group, held by one worker as float32; `pairwise.probes` is not looked at. The columns of
    `config.kept_columns` follow ours.

    `pairwise.distance_metric` l2 ranks as cosine does: between unit vectors the distance is sqrt(2 * cosine distance),
    which has the same order.

    Raises:
        SchemaError: `clusters` is not what `assign_clusters` gives, or has no order in a column to rank by.
    """
    from pyspark.sql import functions as F

    config = config.fitting(clusters.columns)
    needed = {config.id_column: None, "cluster_id": "int", "cosine_dist_to_cent": "double", "embedding": None}
    schemas.require(clusters, needed, stage="pairwise")
    column = vector_column(clusters, "embedding", stage="pairwise")
    others = kept_fields(clusters, config.kept_columns, config, stage="pairwise")
    id_type = clusters.schema[config.id_column].dataType.simpleString()

    def score_cluster(cluster: pa.Table) -> pa.Table:
        return _score_cluster(cluster, column, config)

    kept = (F.col(quoted(name)).alias(plain) for name, plain in plain_names(config.kept_columns).items())
    rows = clusters.where(F.col("cluster_id").isNotNull()).select(*needed, *kept)
    columns = schemas.SIMILARITIES.format(id=f"{quoted(config.id_column)} {id_type}", id_type=id_type)
    schema = with_fields(clusters, columns, others)
    # A number of our own: adaptive execution merges small partitions by their bytes, and here cost is their square.
    return map_groups(rows, "cluster_id", score_cluster, schema, shuffle_partitions(clusters))


def _score_cluster(cluster: pa.Table, column: VectorColumn, config: Config) -> pa.Table:
    ids = cluster[config.id_column].combine_chunks()
    distances = cluster["cosine_dist_to_cent"].to_numpy()
    rank = rank_order(
        ids.to_numpy(zero_copy_only=False),
        distances,
        which_to_keep=config.ranking,
        random_state=config.pairwise.random_state,
        keys=rank_keys(cluster, distances, config),
    )
    ranked = l2_normalize(column.decode(cluster["embedding"]))[rank]
    device = task_device("auto")
    scores, indices = max_similarity_to_earlier(to_device(ranked, device), batch_size=config.pairwise.batch_size)
    places = pa.array(rank)
    ids = ids.take(places)
    return pa.table(
        {
            config.id_column: ids,
            "cluster_id": cluster["cluster_id"],
            "max_id": ids.take(pa.array(np.asarray(to_host(indices)))),
            "cosine_sim_score": np.asarray(to_host(scores), np.float64),
            "cosine_dist_to_cent": distances[rank],
            **{name: in_utc(cluster[plain].take(places)) for name, plain in plain_names(config.kept_columns).items()},
        }
    )
