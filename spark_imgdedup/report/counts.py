"""What a step counts in the tables it wrote, and how that reads in a line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml

from spark_imgdedup import schemas
from spark_imgdedup.config import Config
from spark_imgdedup.errors import SchemaError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from spark_imgdedup.runs.tables import StepRecord

Counts = dict[str, Any]


def count_images(embeddings: DataFrame, config: Config) -> Counts:
    """samples, embedded, rejected by reason, image_bytes, damaged_shards (with what was wrong).

    Raises:
        SchemaError: input.id_field was found in no sample at all.
    """
    from pyspark.sql import functions as F

    reason = F.coalesce(F.col("rejected_because"), F.lit(""))
    rows = (
        embeddings.groupBy(reason.alias("reason"))
        .agg(F.count(F.lit(1)).alias("n"), F.sum("image_bytes").alias("bytes"))
        .collect()
    )
    by_reason = {row["reason"]: int(row["n"]) for row in rows}
    damaged = embeddings.where(F.col("rejected_because") == schemas.DAMAGED_SHARD).select("error").collect()
    n_damaged = by_reason.pop(schemas.DAMAGED_SHARD, 0)
    embedded = by_reason.pop("", 0)
    n_samples = embedded + sum(by_reason.values())
    if n_samples and by_reason.get("no_id", 0) == n_samples:
        raise SchemaError(
            f"input.id_field: no sample has a json with a field '{config.input.id_field}'. Correct it or leave it out."
        )
    return {
        "samples": n_samples,
        "embedded": embedded,
        "rejected": dict(sorted(by_reason.items())),
        "image_bytes": sum(int(row["bytes"] or 0) for row in rows),
        "damaged_shards": sorted(row["error"] for row in damaged)[:100],
        "n_damaged_shards": n_damaged,
    }


def count_clusters(clusters: DataFrame) -> Counts:
    """rows, clusters, largest (rows of the largest), rejected by reason."""
    from pyspark.sql import functions as F

    sizes = clusters.groupBy("cluster_id").count()
    whole = sizes.where(F.col("cluster_id").isNotNull()).agg(F.count(F.lit(1)), F.max("count"), F.sum("count")).first()
    rejected = clusters.where(F.col("cluster_id").isNull()).groupBy("rejected_because").count().collect()
    n_clusters, largest, rows = (int(value or 0) for value in whole) if whole else (0, 0, 0)
    return {
        "rows": rows,
        "clusters": n_clusters,
        "largest": largest,
        "rejected": {row["rejected_because"]: int(row["count"]) for row in rejected},
    }


def count_removals(samples: DataFrame, ids: DataFrame, removed: DataFrame) -> Counts:
    """read, removed by reason, ids_given, ids_matched.

    Raises:
        SchemaError: ids were given and none of them is in the dataset, so a wrong list or column was named.
    """
    by_reason = {row["reason"]: int(row["count"]) for row in removed.groupBy("reason").count().collect()}
    given = ids.count()
    matched = samples.join(ids, "image_id", "left_semi").count()
    if given and not matched:
        own, theirs = samples.first(), ids.first()
        raise SchemaError(
            f"remove: none of the {given} ids is in the dataset: they look like '{theirs[0] if theirs else ''}', the "
            f"dataset's like '{own['image_id'] if own else ''}'. Correct remove.ids_path, remove.id_field or "
            "input.root; nothing was removed."
        )
    return {
        "read": samples.count(),
        "removed": dict(sorted(by_reason.items())),
        "ids_given": given,
        "ids_matched": matched,
    }


def in_words(record: StepRecord) -> str:
    """The counts of a step as one line."""
    found, took = record.counts, f"in {record.seconds:.1f} s"
    if record.step == "embed":
        rate = found["samples"] / record.seconds if record.seconds else 0
        rejected = sum(found["rejected"].values())
        return f"{found['samples']:,} images {took} ({rate:.1f} images/s), {rejected:,} of them without a usable image"
    if record.step == "cluster":
        return f"{found['rows']:,} rows in {found['clusters']:,} clusters, the largest {found['largest']:,}, {took}"
    if record.step == "pairwise":
        return f"{found['rows']:,} rows compared {took}"
    if record.step == "identify":
        return f"{found['duplicates']:,} duplicates at eps {found['eps']}, {took}"
    n_removed = sum(found["removed"].values())
    return f"{found['read']:,} samples read, {n_removed:,} removed, {found['written']:,} written {took}"


def to_yaml(config: Config) -> str:
    """The resolved settings, secrets hidden, as they are written beside the tables."""
    return yaml.safe_dump(json.loads(config.model_dump_json()), sort_keys=False)
