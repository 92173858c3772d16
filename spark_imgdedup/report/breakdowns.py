"""The parts of report.json that say where the removed samples were, computed from the tables of a run.

Each part keeps the fingerprints of the steps it was computed from. While they are unchanged it is taken from the
earlier report, so that a run with nothing to do needs no Spark.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from spark_imgdedup import schemas
from spark_imgdedup.config import Config
from spark_imgdedup.counts import IdentifyCounts
from spark_imgdedup.files import storage
from spark_imgdedup.files.block_index import INDEX, load_index
from spark_imgdedup.report.sizes import SizeBreakdown, break_down_sizes, with_source
from spark_imgdedup.report.spread import (
    ClusterBreakdown,
    SimilarityBreakdown,
    break_down_similarity,
    spread,
)
from spark_imgdedup.report.value_pairs import ValuePairs, break_down_pairs
from spark_imgdedup.runs.side_by_side import side_by_side
from spark_imgdedup.runs.tables import WRITTEN_BY
from spark_imgdedup.runs.vectors import BLOCKS
from spark_imgdedup.stages.columns import quoted

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from spark_imgdedup.runs.tables import StepRecord, Tables

# Raised when a part changes for the same tables: those in reports of an older version are then computed again.
LAYOUT = 3

Records = Mapping[str, "StepRecord"]
Marks = dict[str, str]


class Breakdowns(TypedDict):
    """What could be computed from the tables that are there. `computed_from`: per part, the steps' fingerprints."""

    sizes: NotRequired[SizeBreakdown]
    found_by: NotRequired[dict[str, int]]
    clusters: NotRequired[ClusterBreakdown]
    similarity: NotRequired[SimilarityBreakdown]
    value_pairs: NotRequired[dict[str, ValuePairs]]
    computed_from: dict[str, Marks]


def break_down(tables: Tables, config: Config, records: Records, *, compute: bool = True) -> Breakdowns:
    """The parts whose tables are there: those of the earlier report that still hold, and the others anew.

    Args:
        tables: Spark is started only where a part has to be computed.
        config: Names the id column and the json fields.
        records: The steps whose tables belong together, see `records_together`.
        compute: False leaves out what the earlier report does not have.
    """
    earlier = _earlier(tables)
    known = earlier.get("computed_from", {})
    sources = {name: source(tables, config, records) for name, (source, _) in _PARTS.items()}
    marks = {name: mark for name, mark in sources.items() if mark is not None}
    parts: dict[str, Any] = {name: earlier[name] for name, mark in marks.items() if known.get(name) == mark}
    due = [name for name in marks if name not in parts] if compute else []
    if due:
        with side_by_side(tables.spark) as start:
            made = {name: start(partial(_PARTS[name][1], tables, config, records)) for name in due}
        parts |= {name: each.result() for name, each in made.items()}
    found = {"computed_from": {name: mark for name, mark in marks.items() if name in parts}}
    return found | {name: parts[name] for name in marks if name in parts}  # type: ignore[return-value]  # keys of _PARTS


def _earlier(tables: Tables) -> Mapping[str, Any]:
    try:
        report = json.loads(storage.read_text(tables.path("report/report.json"), tables.config.storage_options))
        return dict(report["breakdowns"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return {}


# --- sizes


def _size_sources(tables: Tables, config: Config, records: Records) -> Marks | None:
    """The steps whose tables say what there is and what leaves."""
    samples, leaving = _size_tables(tables, records)
    if samples is None:
        return None
    steps = {WRITTEN_BY[table] for table in (samples, leaving) if table is not None}
    fields = json.dumps(list(config.input.json_fields))
    return _marks(records, steps) | {"json_fields": fields}


def _size_tables(tables: Tables, records: Records) -> tuple[str | None, str | None]:
    """The table of the samples and that of what leaves.

    `removed` belongs to the embeddings (or hashes) only if `remove` read them; else it has listed the input itself, in
    `index`. Before `remove` has run, `duplicates` says what would leave.
    """
    described = _described(tables, records)
    if "remove" in records and tables.has("removed"):
        read = [name for name in described if WRITTEN_BY[name] in records["remove"].built_on]
        read += ["index"] if tables.has("index") else []
        return (read[0], "removed") if read else (None, None)
    has_duplicates = WRITTEN_BY["duplicates"] in records and tables.has("duplicates")
    return (described[0], "duplicates" if has_duplicates else None) if described else (None, None)


def _described(tables: Tables, records: Records) -> list[str]:
    """The tables that say what the images are like."""
    return [name for name in ("embeddings", "hashes") if WRITTEN_BY[name] in records and tables.has(name)]


def _sizes(tables: Tables, config: Config, records: Records) -> SizeBreakdown:
    from pyspark.sql import functions as F

    name, leaving = _size_tables(tables, records)
    samples = tables.read(name or "embeddings").where(schemas.IS_SAMPLE)
    own = {"image_id", "shard", "image_format", "width", "height", "image_bytes"}
    fields = tuple(field for field in config.input.json_fields if field in samples.columns)
    kept = [quoted(column) for column in samples.columns if column in own or column in fields]
    samples = with_source(samples.select(*kept), is_loose=config.input.format == "images")
    if leaving is None:
        marked = samples.withColumn("_reason", F.lit(None).cast("string"))
    else:
        marked = samples.join(_leaving(tables, leaving), F.col("image_id") == F.col("_left"), "left")
    return break_down_sizes(marked, fields, leaving)


def _leaving(tables: Tables, name: str) -> DataFrame:
    from pyspark.sql import functions as F

    reason = F.col("reason") if name == "removed" else F.lit("duplicate")
    return tables.read(name).select(F.col("image_id").alias("_left"), reason.alias("_reason"))


# --- duplicates, clusters, similarities


def _marks(records: Records, steps: set[str]) -> Marks:
    return {"layout": str(LAYOUT)} | {step: records[step].fingerprint for step in sorted(steps)}


def _source(table: str) -> Callable[[Tables, Config, Records], Marks | None]:
    """The step that writes a table, where it is there and belongs to the others."""

    def source(tables: Tables, _: Config, records: Records) -> Marks | None:
        step = WRITTEN_BY[table]
        return _marks(records, {step}) if step in records and tables.has(table) else None

    return source


def _found_by(_: Tables, __: Config, records: Records) -> dict[str, int]:
    """Duplicates by what found them, as `identify` has counted them."""
    counts = records["identify"].counts
    return dict(counts.found_by) if isinstance(counts, IdentifyCounts) else {}


def _block_source(tables: Tables, _: Config, records: Records) -> Marks | None:
    """The step that writes the blocks, where their index is there: it tells how many rows each cluster has."""
    step, index = WRITTEN_BY[BLOCKS], tables.path(storage.join(BLOCKS, INDEX))
    is_there = step in records and storage.exists(index, tables.config.storage_options)
    return _marks(records, {step}) if is_there else None


def _clusters(tables: Tables, config: Config, _: Records) -> ClusterBreakdown:
    sizes = load_index(tables.path(BLOCKS), config.storage_options).sizes
    return spread({cluster: n for cluster, n in enumerate(sizes.tolist()) if n})


def _similarity(tables: Tables, config: Config, _: Records) -> SimilarityBreakdown:
    return break_down_similarity(tables.read("similarities"), config)


def _pair_sources(tables: Tables, config: Config, records: Records) -> Marks | None:
    """The steps that say which images go for which, and what these are."""
    described = _described(tables, records)
    if not described or WRITTEN_BY["duplicates"] not in records or not tables.has("duplicates"):
        return None
    fields = json.dumps(list(config.input.json_fields))
    return _marks(records, {WRITTEN_BY[described[0]], WRITTEN_BY["duplicates"]}) | {"json_fields": fields}


def _value_pairs(tables: Tables, config: Config, records: Records) -> dict[str, ValuePairs]:
    samples = tables.read(_described(tables, records)[0]).where(schemas.IS_SAMPLE)
    samples = with_source(samples, is_loose=config.input.format == "images")
    fields = tuple(field for field in config.input.json_fields if field in samples.columns)
    return break_down_pairs(tables.read("duplicates"), samples, config.id_column, fields)


# Name in report.json: what it is computed from, and how.
_PARTS: dict[
    str, tuple[Callable[[Tables, Config, Records], Marks | None], Callable[[Tables, Config, Records], Any]]
] = {
    "sizes": (_size_sources, _sizes),
    "found_by": (_source("duplicates"), _found_by),
    "clusters": (_block_source, _clusters),
    "similarity": (_source("similarities"), _similarity),
    "value_pairs": (_pair_sources, _value_pairs),
}
