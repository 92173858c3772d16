"""Counting in the tables that a step wrote; `counts.py` says what."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import yaml

from spark_imgdedup import schemas
from spark_imgdedup.config import Config
from spark_imgdedup.config.steps import hash_names
from spark_imgdedup.counts import (
    ClusterCounts,
    IdentifyCounts,
    ImageCounts,
    PairwiseCounts,
    SampleCounts,
    ScoreCounts,
)
from spark_imgdedup.errors import CountsError, SchemaError
from spark_imgdedup.files.not_read import count_not_read
from spark_imgdedup.models import measured_for
from spark_imgdedup.runs.score_spread import score_spread
from spark_imgdedup.stages.columns import quoted
from spark_imgdedup.stages.remove import match_column
from spark_imgdedup.stages.score import ScoreFilter

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from spark_imgdedup.runs.findings import Findings
    from spark_imgdedup.stages.searching.blocks import Written
    from spark_imgdedup.stages.searching.search import Search

# Of the damaged shards no more are named; all are counted.
MOST_SHARDS_NAMED = 100


def count_images(embeddings: DataFrame, config: Config, not_read: Mapping[str, int] | None = None) -> ImageCounts:
    """What became of the images.

    Args:
        embeddings: The table.
        config: Of the run.
        not_read: The files of the input that are not read, by reason; None looks for them.

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
    return ImageCounts(
        samples=n_samples,
        embedded=embedded,
        rejected=dict(sorted(by_reason.items())),
        image_bytes=sum(int(row["bytes"] or 0) for row in rows),
        damaged_shards=tuple(damaged),
        n_damaged_shards=n_damaged,
        hashes=tuple(hash_names(config)),
        not_read=count_not_read(config.input) if not_read is None else not_read,
    )


def count_scored(scored: DataFrame, filters: Sequence[ScoreFilter], id_column: str) -> ScoreCounts:
    """Rows, those rejected by the reasons of these filters, and how their scores are spread."""
    by_reason = {
        row["rejected_because"]: int(row["count"]) for row in scored.groupBy("rejected_because").count().collect()
    }
    reasons = {reason for each in filters for reason in (each.name, f"{each.name}_nan")} | set(schemas.VECTOR_REASONS)
    return ScoreCounts(
        rows=sum(by_reason.values()),
        rejected={reason: by_reason[reason] for reason in sorted(reasons & by_reason.keys())},
        scores=score_spread(scored, [each.column for each in filters], id_column),
    )


def count_duplicates(duplicates: DataFrame, found: Findings) -> IdentifyCounts:
    """Duplicates, how many of them which search has found, and whether what they stand for stays."""
    config = found.config
    rows = _roles(duplicates, config.id_column).collect()
    found_by = {row["found_by"]: int(row["goes"]) for row in rows if row["goes"]}
    eps = config.identify.eps
    assert eps != "auto"
    return IdentifyCounts(
        eps,
        sum(found_by.values()),
        dict(sorted(found_by.items())),
        rule=config.identify.rule,
        uncovered=sum(int(row["uncovered"]) for row in rows),
        groups=sum(int(row["groups"]) for row in rows),
        wiped_out=sum(int(row["wiped_out"]) for row in rows),
        both_stay=found.both_stay,
        different=found.people.n_different,
        decided_unknown=found.people.n_unknown,
        measured_for=None if eps is None or config.own_embeddings else measured_for(config.embed.model, eps),
    )


def _roles(duplicates: DataFrame, id_column: str) -> DataFrame:
    """What duplicates say of images, in a row for each search and one for images that only stay: one shuffle of ids.

    Returns:
        found_by, goes (images that do), uncovered (duplicates that name one of these as what they resemble), groups
        (images that stay for others), wiped_out (of these, such as go).
    """
    from pyspark.sql import functions as F

    def said(of: str, role: str, found_by: Column) -> Column:
        return F.struct(F.col(quoted(of)).alias("image"), F.lit(role).alias("role"), found_by.alias("found_by"))

    unsaid = F.lit(None).cast("string")
    each = [said(id_column, "goes", F.col("found_by")), said("max_id", "resembled", unsaid)]
    each.append(said("kept_id", "stays", unsaid))
    role, goes = F.col("role"), F.col("goes")
    told = duplicates.select(F.explode(F.array(*each)).alias("said")).select("said.*").groupBy("image")
    images = told.agg(
        F.max("found_by").alias("found_by"),
        F.count_if(role == "goes").alias("goes"),
        F.count_if(role == "resembled").alias("resembled"),
        F.max(role == "stays").alias("stays"),
    )
    return images.groupBy("found_by").agg(
        F.sum("goes").alias("goes"),
        F.sum(F.when(goes > 0, F.col("resembled")).otherwise(0)).alias("uncovered"),
        F.count_if("stays").alias("groups"),
        F.count_if(F.col("stays") & (goes > 0)).alias("wiped_out"),
    )


def count_clusters(blocks: Written) -> ClusterCounts:
    """Rows in clusters, and those outside by reason."""
    sizes = blocks.index.sizes
    n_clusters = int((sizes > 0).sum())
    return ClusterCounts(int(sizes.sum()), n_clusters, int(sizes.max(initial=0)), dict(blocks.rejected))


def count_search(search: Search, n_rows: int) -> PairwiseCounts:
    """What was compared, and what that finds.

    Raises:
        CountsError: rows were lost or doubled.
    """
    if n_rows != search.n_rows:
        raise CountsError(f"pairwise: {search.n_rows} rows were searched, but similarities has {n_rows}.")
    return PairwiseCounts(
        rows=n_rows,
        probes=str(search.plan),
        why=search.why,
        eps=search.eps,
        for_any_eps=search.for_any_eps,
        comparisons=search.n_pairs,
        recall=asdict(search.recall),
    )


def count_samples(
    index: DataFrame, ids: DataFrame, match_field: str | None = None, *, may_be_gone: bool = False
) -> SampleCounts:
    """What there is and what the ids name, before anything is removed.

    Args:
        index: image_id (and match_id, if that is what ids are), key of every sample; damaged shards have no key.
        ids: Ids as text, in a column image_id; they may repeat.
        match_field: Where match_id comes from, for the error.
        may_be_gone: Whether an earlier removal may have taken all of them already, which is no error then.

    Raises:
        SchemaError: ids were given and none of them is in the dataset, so a wrong list or column was named.
    """
    from pyspark.sql import functions as F

    is_sample = F.col("key").isNotNull()
    samples = index.select(F.when(is_sample, F.col(match_column(index))).alias("id"), is_sample.alias("is_sample"))
    listed = ids.select(F.col("image_id").alias("id"), F.lit(None).cast("boolean").alias("is_sample"))
    by_id = samples.unionByName(listed).groupBy("id")  # a row for each id, and one for all that have none
    sizes = by_id.agg(
        F.count_if("is_sample").alias("n_samples"),
        F.count_if(~F.col("is_sample")).alias("n_damaged"),
        F.count_if(F.col("is_sample").isNull()).alias("n_rows"),
    )
    has_id, is_listed, is_there = F.col("id").isNotNull(), F.col("n_rows") > 0, F.col("n_samples") > 0
    row = sizes.agg(
        F.sum("n_samples").alias("read"),
        F.sum("n_damaged").alias("n_damaged_shards"),
        F.count_if(has_id & is_listed).alias("ids_given"),
        F.count_if(has_id & is_listed & is_there).alias("ids_matched"),
        F.sum(F.when(~has_id, F.col("n_rows"))).alias("ids_null"),
        F.sum(F.when(has_id & is_listed, F.col("n_samples"))).alias("samples_matched"),
        F.sum(F.when(~has_id, F.col("n_samples"))).alias("samples_without_field"),
    )
    n_of: dict[str, Any] = {name: int(n or 0) for name, n in row.collect()[0].asDict().items()}
    found = SampleCounts(**n_of, ids_unmatched=n_of["ids_given"] - n_of["ids_matched"])
    if not may_be_gone:
        _require_a_match(found, index, ids, match_field)
    return found


def _require_a_match(found: SampleCounts, index: DataFrame, ids: DataFrame, match_field: str | None) -> None:
    if found.ids_matched:
        return
    if found.ids_null and not found.ids_given:
        raise SchemaError(
            f"remove.id_field: the list of ids has {found.ids_null} rows and an id in none of them. Name the column "
            "that holds the ids; nothing was removed."
        )
    if not found.ids_given:
        return
    if match_field is not None and found.samples_without_field == found.read:
        raise SchemaError(
            f"remove.match_field: none of the {found.read} samples has a field '{match_field}' that is text or a "
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
        f"remove: none of the {found.ids_given} ids is {place}: they look like '{theirs[0] if theirs else ''}', the "
        f"dataset's like '{own[0] if own else ''}'. Correct remove.ids_path, remove.id_field or {remedy}; nothing was "
        "removed."
    )


def require_images(n_read: int, removed: Mapping[str, int]) -> None:
    """Stop where `remove.unreadable: drop` would leave nothing, as for video clips, which have no image.

    Raises:
        SchemaError: with the reasons.
    """
    n_unreadable = sum(removed.get(reason, 0) for reason in schemas.UNREADABLE_REASONS)
    if n_read and n_unreadable == n_read:
        raise SchemaError(
            f"remove.unreadable: drop would leave out all {n_read} samples, since none has a usable image "
            f"({', '.join(f'{reason} {n}' for reason, n in removed.items())}). Set it to keep, the default, "
            "for a dataset that is not of images; nothing was written."
        )


def count_removed(removed: DataFrame) -> dict[str, int]:
    """Samples that leave, by reason."""
    rows = removed.groupBy("reason").count().collect()  # sorting here saves Spark two jobs
    return {row["reason"]: int(row["count"]) for row in sorted(rows)}


def to_yaml(config: Config) -> str:
    """The resolved settings, secrets hidden, as they are written beside the tables."""
    return yaml.safe_dump(json.loads(config.model_dump_json(by_alias=True)), sort_keys=False)
