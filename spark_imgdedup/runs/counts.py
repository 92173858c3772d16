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

# Of the damaged shards no more are named; all are counted.
MOST_SHARDS_NAMED = 100


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
    n_damaged = by_reason.pop(schemas.DAMAGED_SHARD, 0)
    errors = embeddings.where(F.col("rejected_because") == schemas.DAMAGED_SHARD).select("error").orderBy("error")
    damaged = [row["error"] for row in errors.limit(MOST_SHARDS_NAMED).collect()] if n_damaged else []
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
        "damaged_shards": damaged,
        "n_damaged_shards": n_damaged,
    }


def count_clusters(clusters: DataFrame) -> Counts:
    """rows, clusters, largest (rows of the largest), rejected by reason."""
    from pyspark.sql import functions as F

    sizes = clusters.groupBy("rejected_because", "cluster_id").agg(F.count(F.lit(1)).alias("size"))
    found = sizes.groupBy("rejected_because").agg(
        F.count(F.lit(1)).alias("clusters"), F.max("size").alias("largest"), F.sum("size").alias("rows")
    )
    by_reason = {row["rejected_because"]: row for row in found.collect()}
    whole = by_reason.pop(None, None)
    counts = {name: int(whole[name]) if whole else 0 for name in ("rows", "clusters", "largest")}
    return counts | {"rejected": {reason: int(row["rows"]) for reason, row in sorted(by_reason.items())}}


def count_samples(index: DataFrame, ids: DataFrame) -> Counts:
    """read, n_damaged_shards, ids_given, ids_matched, before anything is removed.

    Args:
        index: image_id, key of every sample, and a row without a key for each damaged shard.
        ids: Distinct ids, in a column image_id.

    Raises:
        SchemaError: ids were given and none of them is in the dataset, so a wrong list or column was named.
    """
    from pyspark.sql import functions as F

    samples = index.select("image_id", F.col("key").isNotNull().alias("is_sample"))
    both = samples.join(ids.withColumn("is_listed", F.lit(True)), "image_id", "full_outer")
    rows = both.groupBy("is_sample", "is_listed").count().collect()
    n = {(row["is_sample"], row["is_listed"]): int(row["count"]) for row in rows}
    matched = n.get((True, True), 0)
    given = sum(count for (_, is_listed), count in n.items() if is_listed)
    if given and not matched:
        own, theirs = index.where(schemas.IS_SAMPLE).first(), ids.first()
        raise SchemaError(
            f"remove: none of the {given} ids is in the dataset: they look like '{theirs[0] if theirs else ''}', the "
            f"dataset's like '{own['image_id'] if own else ''}'. Correct remove.ids_path, remove.id_field or "
            "input.root; nothing was removed."
        )
    return {
        "read": matched + n.get((True, None), 0),
        "n_damaged_shards": n.get((False, None), 0) + n.get((False, True), 0),
        "ids_given": given,
        "ids_matched": matched,
    }


def count_removed(removed: DataFrame) -> dict[str, int]:
    """Samples that leave, by reason."""
    rows = removed.groupBy("reason").count().orderBy("reason").collect()
    return {row["reason"]: int(row["count"]) for row in rows}


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
