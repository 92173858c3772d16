"""What the tables of a run know of some images: their files, and what became of them. Each reads a few rows by id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spark_imgdedup import schemas
from spark_imgdedup.config import Config
from spark_imgdedup.files.decisions import different_pairs
from spark_imgdedup.report.page.model import Reason
from spark_imgdedup.report.page.undo import stored_settings
from spark_imgdedup.runs.tables import Tables
from spark_imgdedup.stages.columns import quoted

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

# Names shown for each reason, and reasons for each step.
_NAMES = 5
_REASONS = 25
_COLUMNS = ("shard", "key", "width", "height", "image_format", "image_bytes", "trimmed", "rejected_because")


@dataclass(frozen=True)
class Known:
    """What is known of the images of the page.

    Attributes:
        facts: Of each id, by the words of the page.
        decisions: Rows of `duplicates`, by id.
        removed: Why an image was removed, by id; None where `remove` has not run.
        rejected: Why a filter or the reader refused an image, by id.
        places: The keys of each shard that the images lie at.
        settings: Where the settings of the run are stored, for commands; None where these ids are not those of samples.
        different: Pairs that people have called different, where `identify` has minded them.
    """

    facts: Mapping[str, Mapping[str, str]]
    decisions: Mapping[str, Mapping[str, Any]] | None
    removed: Mapping[str, str] | None
    rejected: Mapping[str, str]
    places: Mapping[str, frozenset[str]]
    settings: str | None = None
    different: frozenset[tuple[str, str]] = frozenset()


def described_in(tables: Tables, steps: Sequence[str]) -> str | None:
    """The table that says what the images are like; None where there is none."""
    by_step = {"embed": "embeddings", "hashes": "hashes"}
    return next((name for step, name in by_step.items() if step in steps and tables.has(name)), None)


def look_up(tables: Tables, config: Config, ids: frozenset[str], steps: Sequence[str]) -> Known:
    """What is known of these images; at most four Spark jobs."""
    described = described_in(tables, steps)
    rows = [] if described is None else _rows(tables.read(described), "image_id", ids, _shown(config))
    decisions = removed = None
    rejected = {row["_id"]: row["rejected_because"] for row in rows if row.get("rejected_because")}
    if "identify" in steps:
        names = ("max_id", "kept_id", "found_by", "rule", "cosine_sim_score", "hamming")
        decisions = {row["_id"]: row for row in _rows(tables.read("duplicates"), config.id_column, ids, names)}
    if "score" in steps and tables.has("scored"):
        marked = tables.read("scored").where("rejected_because is not null")
        found = _rows(marked, config.id_column, ids, ("rejected_because",))
        rejected |= {row["_id"]: row["rejected_because"] for row in found}
    if "remove" in steps and tables.has("removed"):
        found = _rows(tables.read("removed"), "image_id", ids, ("reason",))
        removed = {row["_id"]: row["reason"] for row in found}
    places: dict[str, set[str]] = {}
    for row in rows:
        if row.get("shard") is not None and row.get("key") is not None:
            places.setdefault(row["shard"], set()).add(row["key"])
    keys = {shard: frozenset(names) for shard, names in places.items()}
    facts = {row["_id"]: _facts(row, config.input.json_fields) for row in rows}
    different = frozenset(different_pairs(config)) if "identify" in steps else frozenset()
    return Known(facts, decisions, removed, rejected, keys, stored_settings(config), different)


def _shown(config: Config) -> tuple[str, ...]:
    return (*_COLUMNS, *config.input.json_fields)


def _rows(df: DataFrame, id_: str, ids: frozenset[str], names: Sequence[str]) -> list[dict[str, Any]]:
    from pyspark.sql import functions as F

    image_id = F.col(quoted(id_)).cast("string").alias("_id")
    known = [F.col(quoted(name)) for name in names if name in df.columns]
    return [row.asDict() for row in df.select(image_id, *known).where(F.col("_id").isin(sorted(ids))).collect()]


def _facts(row: Mapping[str, Any], fields: Sequence[str] | Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    if row.get("width") is not None:
        found["size"] = f"{row['width']:,} \N{MULTIPLICATION SIGN} {row['height']:,}"
    if row.get("image_bytes") is not None:
        found["bytes"] = f"{row['image_bytes']:,}"
    if row.get("image_format") is not None:
        found["format"] = str(row["image_format"])
    if row.get("trimmed") is not None:
        found["borders"] = "trimmed"
    for name in ("shard", "key", *fields):
        if row.get(name) is not None:
            found[name] = str(row[name])
    return found


def trimmed_images(tables: Tables, described: str | None) -> int | None:
    """Images whose borders were trimmed; None where the table does not say. One Spark job."""
    from pyspark.sql import functions as F

    table = None if described is None else tables.read(described)
    if table is None or "trimmed" not in table.columns:
        return None
    return table.where(F.col("trimmed").isNotNull()).count()


def unusable_samples(tables: Tables, config: Config, steps: Sequence[str], described: str | None) -> list[Reason]:
    """Names of some samples that the reader or a filter refused, by reason; a Spark job for each table."""
    found: list[Reason] = []
    if described is not None:
        samples = tables.read(described).where(schemas.IS_SAMPLE)
        found += _reasons(samples, "read", "image_id", tables.place(described))
    if "score" in steps and tables.has("scored"):
        scored = tables.read("scored")
        own = [] if described is None else [reason.reason for reason in found]
        rows = _reasons(scored, "score", config.id_column, tables.place("scored"))
        found += [reason for reason in rows if reason.reason not in own]
    return found


def _reasons(df: DataFrame, step: str, id_: str, place: str) -> list[Reason]:
    from pyspark.sql import functions as F

    named = F.col(quoted(id_)).cast("string")
    name = F.coalesce(named, F.concat_ws("/", "shard", "key")) if {"shard", "key"} <= set(df.columns) else named
    marked = df.where("rejected_because is not null").select(F.col("rejected_because").alias("why"), name.alias("name"))
    # Of all names of a reason, an aggregate holds the first few by a hash.
    drawn = F.struct(F.xxhash64("name").alias("draw"), "name")
    rows = (
        marked.groupBy("why", F.pmod(F.xxhash64("name"), F.lit(64)).alias("part"))
        .agg(F.count(F.lit(1)).alias("n"), F.min(drawn).alias("first"))
        .collect()
    )
    reasons: dict[str, tuple[int, list[tuple[int, str]]]] = {}
    for row in rows:
        n, names = reasons.get(row["why"], (0, []))
        reasons[row["why"]] = (n + int(row["n"]), [*names, (row["first"]["draw"], row["first"]["name"] or "")])
    largest = sorted(reasons.items(), key=lambda item: (-item[1][0], item[0]))[:_REASONS]
    return [
        Reason(step, why, n, tuple(name for _, name in sorted(names)[:_NAMES]), place) for why, (n, names) in largest
    ]
