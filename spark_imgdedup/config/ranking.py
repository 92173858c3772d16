"""Whether the columns to keep and to rank by agree with each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spark_imgdedup.config.settings import Config

DISTANCE = "cosine_dist_to_cent"
# What the tables after embeddings call their own columns; the id column is one more.
RESERVED = (
    *("cluster_id", "embedding", DISTANCE, "max_id", "cosine_sim_score", "found_by", "rejected_because"),
    *("kept_id", "hamming", "rule", "group_id"),
)


def problems(config: Config) -> Iterator[str]:
    """What is wrong with cluster.metadata_columns, pairwise.metadata_columns and pairwise.ascending, one line each."""
    yield from _misnamed(config)
    yield from _misranked(config)


def _misnamed(config: Config) -> Iterator[str]:
    ours = (config.id_column, *RESERVED)
    lower = {name.lower() for name in ours}  # as Spark compares names
    taken = [name for name in config.cluster.metadata_columns if name.lower() in lower]
    if taken:
        yield (
            f"cluster.metadata_columns: {', '.join(taken)} would take the place of a column of the tables, which have "
            f"{', '.join(ours)} of their own. Leave it out to rank by ours, or rename yours."
        )


def _misranked(config: Config) -> Iterator[str]:
    pairwise, columns = config.pairwise, config.pairwise.metadata_columns
    if pairwise.keep is not None:
        yield from _misworded(config)
        return
    if pairwise.which_to_keep != "metadata":
        if columns:
            yield (
                f"pairwise.metadata_columns: [{', '.join(columns)}] is not ranked by while which_to_keep is "
                f"{pairwise.which_to_keep}. Set pairwise.which_to_keep to metadata, or leave the columns out."
            )
        return
    if not columns:
        yield (
            "pairwise.metadata_columns: empty, but which_to_keep is metadata. Name the columns to rank by, the most "
            f"important first, e.g. [width, {DISTANCE}]."
        )
    if len(set(columns)) < len(columns):
        yield f"pairwise.metadata_columns: [{', '.join(columns)}] names a column twice. Name each once."
    if not isinstance(pairwise.ascending, bool) and len(pairwise.ascending) != len(columns):
        yield (
            f"pairwise.ascending: {len(pairwise.ascending)} directions for {len(columns)} metadata_columns. Give one "
            "for each, or true or false for all."
        )
    if config.detect.method == "embedding":
        yield from _unreachable(config)
    elif DISTANCE in columns:
        yield (
            f"pairwise.metadata_columns: {DISTANCE} is not known with detect.method {config.detect.method}, which has "
            "no clusters. Leave it out, or set detect.method to embedding."
        )


def _misworded(config: Config) -> Iterator[str]:
    pairwise = config.pairwise
    if pairwise.which_to_keep != "metadata" or pairwise.metadata_columns:
        yield (
            f"pairwise.keep: '{pairwise.keep}' stands in place of which_to_keep ({pairwise.which_to_keep}) and "
            "metadata_columns. Give one of them."
        )
    names = [name for name, _ in pairwise.keys]
    if len(set(names)) < len(names):
        yield f"pairwise.keep: '{pairwise.keep}' names a column twice. Name each once."


def _unreachable(config: Config) -> Iterator[str]:
    known = (*config.kept_columns, DISTANCE, config.id_column)
    lost = [name for name in config.pairwise.metadata_columns if name not in known]
    if lost:
        yield (
            f"pairwise.metadata_columns: {', '.join(lost)} does not reach the clusters, where the columns are "
            f"{', '.join(known)}. Add it to cluster.metadata_columns, or correct the name."
        )
