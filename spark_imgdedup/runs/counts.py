"""What a step counts in the tables it wrote, and how that reads in a line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import yaml

from spark_imgdedup import schemas
from spark_imgdedup.config import Config
from spark_imgdedup.errors import SchemaError
from spark_imgdedup.runs.fingerprints import hash_names
from spark_imgdedup.stages.remove import match_column
from spark_imgdedup.stages.score import ScoreFilter

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
        "hashes": hash_names(config),
    }


def count_scored(scored: DataFrame, filters: Sequence[ScoreFilter]) -> Counts:
    """rows, rejected (by the reasons of these filters), scores (least, median and greatest of each score)."""
    from pyspark.sql import functions as F

    by_reason = {
        row["rejected_because"]: int(row["count"]) for row in scored.groupBy("rejected_because").count().collect()
    }
    reasons = {reason for each in filters for reason in (each.name, f"{each.name}_nan")} | set(schemas.VECTOR_REASONS)
    spread = scored.agg(
        *(
            F.percentile_approx(F.when(~F.isnan(each.column), F.col(each.column)), [0.0, 0.5, 1.0]).alias(each.column)
            for each in filters
        )
    ).first()
    return {
        "rows": sum(by_reason.values()),
        "rejected": {reason: by_reason[reason] for reason in sorted(reasons & by_reason.keys())},
        "scores": {name: values and list(values) for name, values in (spread.asDict() if spread else {}).items()},
    }


def count_duplicates(duplicates: DataFrame, config: Config) -> Counts:
    """Eps (null where hashes alone decide), duplicates, found_by (how many by which search)."""
    rows = duplicates.groupBy("found_by").count().orderBy("found_by").collect()
    found_by = {row["found_by"]: int(row["count"]) for row in rows}
    return {"eps": config.identify.eps, "duplicates": sum(found_by.values()), "found_by": found_by}


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


def count_samples(
    index: DataFrame, ids: DataFrame, match_field: str | None = None, *, may_be_gone: bool = False
) -> Counts:
    """What there is and what the ids name, before anything is removed.

    Args:
        index: image_id (and match_id, if that is what ids are), key of every sample; damaged shards have no key.
        ids: Ids as text, in a column image_id; they may repeat.
        match_field: Where match_id comes from, for the error.
        may_be_gone: Whether an earlier removal may have taken all of them already, which is no error then.

    Returns:
        read (samples), n_damaged_shards; of distinct ids ids_given, ids_matched, ids_unmatched; ids_null (rows of the
        list that hold none); samples_matched, samples_without_field (which no id can match).

    Raises:
        SchemaError: ids were given and none of them is in the dataset, so a wrong list or column was named.
    """
    from pyspark.sql import functions as F

    is_sample = F.col("key").isNotNull()
    samples = index.select(F.when(is_sample, F.col(match_column(index))).alias("id"), is_sample.alias("is_sample"))
    sizes = samples.groupBy("id").agg(
        F.sum(F.col("is_sample").cast("bigint")).alias("n_samples"),
        F.sum((~F.col("is_sample")).cast("bigint")).alias("n_damaged"),
    )
    listed = ids.groupBy(F.col("image_id").alias("id")).agg(F.count(F.lit(1)).alias("n_rows"))
    has_id, is_listed, is_there = F.col("id").isNotNull(), F.col("n_rows").isNotNull(), F.col("n_samples").isNotNull()
    row = sizes.join(listed, "id", "full_outer").agg(  # a row for each id that either side has, nulls apart
        F.sum("n_samples").alias("read"),
        F.sum("n_damaged").alias("n_damaged_shards"),
        F.count(F.when(has_id & is_listed, True)).alias("ids_given"),
        F.count(F.when(is_listed & is_there, True)).alias("ids_matched"),
        F.sum(F.when(~has_id, F.col("n_rows"))).alias("ids_null"),
        F.sum(F.when(is_listed, F.col("n_samples"))).alias("samples_matched"),
        F.sum(F.when(~has_id, F.col("n_samples"))).alias("samples_without_field"),
    )
    found = {name: int(n or 0) for name, n in row.collect()[0].asDict().items()}
    found["ids_unmatched"] = found["ids_given"] - found["ids_matched"]
    if not may_be_gone:
        _require_a_match(found, index, ids, match_field)
    return found


def _require_a_match(found: Counts, index: DataFrame, ids: DataFrame, match_field: str | None) -> None:
    if found["ids_matched"]:
        return
    if found["ids_null"] and not found["ids_given"]:
        raise SchemaError(
            f"remove.id_field: the list of ids has {found['ids_null']} rows and an id in none of them. Name the column "
            "that holds the ids; nothing was removed."
        )
    if not found["ids_given"]:
        return
    if match_field is not None and found["samples_without_field"] == found["read"]:
        raise SchemaError(
            f"remove.match_field: none of the {found['read']} samples has a field '{match_field}' that is text or a "
            "number. Correct remove.match_field; nothing was removed."
        )
    by = match_column(index)
    own = index.where(f"{schemas.IS_SAMPLE} and {by} is not null").select(by).first()
    theirs = ids.where("image_id is not null").first()
    place, remedy = (
        ("in the dataset", "input.root")
        if match_field is None
        else (f"a value of '{match_field}' in the dataset", "remove.match_field")
    )
    raise SchemaError(
        f"remove: none of the {found['ids_given']} ids is {place}: they look like '{theirs[0] if theirs else ''}', the "
        f"dataset's like '{own[0] if own else ''}'. Correct remove.ids_path, remove.id_field or {remedy}; nothing was "
        "removed."
    )


def require_images(found: Counts) -> None:
    """Stop where `remove.unreadable: drop` would leave nothing, as for video clips, which have no image.

    Raises:
        SchemaError: with the reasons.
    """
    n_unreadable = sum(found["removed"].get(reason, 0) for reason in schemas.UNREADABLE_REASONS)
    if found["read"] and n_unreadable == found["read"]:
        raise SchemaError(
            f"remove.unreadable: drop would leave out all {found['read']} samples, since none has a usable image "
            f"({', '.join(f'{reason} {n}' for reason, n in found['removed'].items())}). Set it to keep, the default, "
            "for a dataset that is not of images; nothing was written."
        )


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
    if record.step == "score":
        reasons = ", ".join(f"{reason} {n:,}" for reason, n in found["rejected"].items()) or "none rejected"
        return f"{found['rows']:,} rows scored {took}: {reasons}"
    if record.step == "detect":
        names = {"copies": "exact copies", "near_hashes": "pairs of near hashes"}
        parts = ", ".join(f"{found[name]:,} {words}" for name, words in names.items() if name in found)
        beyond = list(found.get("expected_recall", {}).items())
        lost = f"; of pairs {beyond[-1][0]} bits apart about {beyond[-1][1]:.1%} are found" if beyond else ""
        return f"{parts} among {found['images']:,} images {took}{lost}"
    if record.step == "cluster":
        return f"{found['rows']:,} rows in {found['clusters']:,} clusters, the largest {found['largest']:,}, {took}"
    if record.step == "pairwise":
        return f"{found['rows']:,} rows compared {took}"
    if record.step == "identify":
        by = ", ".join(f"{n:,} by {name}" for name, n in found["found_by"].items())
        at = "" if found["eps"] is None else f" at eps {found['eps']}"
        return f"{found['duplicates']:,} duplicates{at}{f' ({by})' if len(found['found_by']) > 1 else ''}, {took}"
    n_removed = sum(found["removed"].values())
    return f"{found['read']:,} samples read, {n_removed:,} removed, {found['written']:,} written {took}" + (
        f"; {ids_in_words(found)}" if "samples_matched" in found else ""
    )


def ids_in_words(found: Mapping[str, Any]) -> str:
    """What became of the ids to remove, from the counts of `remove`."""
    words = f"{found['ids_given']:,} ids given, {found['ids_matched']:,} matched"
    if found["samples_matched"] != found["ids_matched"]:
        words += f" ({found['samples_matched']:,} samples)"
    if found["ids_unmatched"]:
        words += f", {found['ids_unmatched']:,} not in the dataset"
    if found["ids_null"]:
        words += f", {found['ids_null']:,} rows without an id"
    if found["samples_without_field"]:
        words += f"; {found['samples_without_field']:,} samples without the field were kept"
    return words


def to_yaml(config: Config) -> str:
    """The resolved settings, secrets hidden, as they are written beside the tables."""
    return yaml.safe_dump(json.loads(config.model_dump_json(by_alias=True)), sort_keys=False)
