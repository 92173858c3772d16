"""similarities, copies, near_hashes -> duplicates: the images that repeat a better-ranked one, and how it was found."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

from spark_imgdedup import schemas
from spark_imgdedup.config import Config
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.stages.columns import quoted
from spark_imgdedup.stages.detect import match_hashes
from spark_imgdedup.stages.preference import add_random_rank, preference

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


def similarity_threshold(eps: float) -> float:
    """The lowest cosine_sim_score of a duplicate: 1 - eps to 6 decimals (1 - 0.18 is 0.8200000000000001 in binary)."""
    return round(1 - eps, 6)


def applied_eps(config: Config) -> float:
    """The eps of the settings, a number.

    Raises:
        ConfigError: it is not a number; `pipeline.run` resolves auto before it comes here.
    """
    eps = config.identify.eps
    if not isinstance(eps, float):
        raise ConfigError(
            f"identify.eps must be a number here, got {eps!r}. `spark-imgdedup eps` prints what each eps would remove."
        )
    return eps


def identify_duplicates(similarities: DataFrame, config: Config) -> DataFrame:
    """Rule `semdedup`, the rows whose cosine_sim_score reaches 1 - eps: id, max_id, cosine_sim_score, cluster_id.

    max_id is the image that it repeats. Then found_by, which is embedding, and the columns of cluster.metadata_columns.

    Raises:
        ConfigError: identify.eps is not a number.
        SchemaError: `similarities` is not what `score_pairs` gives.
    """
    from pyspark.sql import functions as F

    config, eps = config.fitting(similarities.columns), applied_eps(config)
    columns = {config.id_column: None, "max_id": None, "cosine_sim_score": "double", "cluster_id": "int"}
    schemas.require(similarities, {**columns, **dict.fromkeys(config.kept_columns)}, stage="identify")
    # The best-ranked row names itself and scores 0: it is never a duplicate, not even for eps just below 1.
    repeats_another = F.col(quoted(config.id_column)) != F.col("max_id")
    score = F.col("cosine_sim_score")
    reaches = (score >= similarity_threshold(eps)) & ~F.isnan(score)  # Spark ranks NaN above all numbers
    return _as_duplicates(similarities.where(repeats_another & reaches), "embedding", config)


def identify_by_hash(images: DataFrame, near: DataFrame, config: Config) -> DataFrame:
    """The images with a better-ranked one at most detect.phash_radius bits away, in the form of `identify_duplicates`.

    cosine_sim_score is 1 - distance / bits, and found_by is phash.

    Args:
        images: image_id, phash, the metadata columns, and, where the images were clustered, cluster_id and
            cosine_dist_to_cent: then they are ranked as within a cluster.
        near: What `near_hashes` gives.
        config: `pairwise` ranks.
    """
    from pyspark.sql import functions as F

    is_clustered = "cosine_dist_to_cent" in images.columns
    order = preference(config, with_distances=is_clustered)
    ranked = add_random_rank(images, config) if is_clustered else images
    matches = match_hashes(ranked, near, order=order)
    score = F.round(1 - F.col("hamming") / config.detect.phash_bits, 6).alias("cosine_sim_score")
    found = matches.select(quoted(config.id_column), "max_id", score)
    known = [name for name in ("cluster_id", *config.kept_columns) if name in images.columns]
    if known:
        found = found.join(images.select(quoted(config.id_column), *map(quoted, known)), config.id_column)
    return _as_duplicates(found if is_clustered else found.withColumn("cluster_id", _no_cluster()), "phash", config)


def unite(*found: DataFrame, id_column: str) -> DataFrame:
    """The rows of several tables of duplicates, each id once: an earlier table goes first."""

    def add(one: DataFrame, other: DataFrame) -> DataFrame:
        return one.unionByName(other.join(one.select(quoted(id_column)), id_column, "left_anti"))

    return reduce(add, found)


def _as_duplicates(found: DataFrame, found_by: str, config: Config) -> DataFrame:
    from pyspark.sql import functions as F

    kept = (
        F.col(quoted(name)) if name in found.columns else F.lit(0).cast("bigint").alias(name)  # dup_count of a copy
        for name in config.kept_columns
    )
    ours = (quoted(config.id_column), "max_id", "cosine_sim_score", "cluster_id")
    return found.select(*ours, F.lit(found_by).alias("found_by"), *kept)


def _no_cluster() -> Column:
    from pyspark.sql import functions as F

    return F.lit(None).cast("int").alias("cluster_id")
