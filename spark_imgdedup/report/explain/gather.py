"""The tables of a run -> what they hold of a few images. Each table is read by id; no model runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from spark_imgdedup.config import Config
from spark_imgdedup.config.steps import RECORDED, STEP
from spark_imgdedup.counts import IdentifyCounts, PairwiseCounts
from spark_imgdedup.files import artifacts
from spark_imgdedup.kernels.vectors import UnitRows
from spark_imgdedup.report.explain.model import Gathered
from spark_imgdedup.runs.current import first_broken, stale_step
from spark_imgdedup.runs.plan import idle_steps, resolve_eps
from spark_imgdedup.runs.staying import brought_back
from spark_imgdedup.runs.tables import Tables
from spark_imgdedup.stages.columns import quoted
from spark_imgdedup.stages.searching.probes import Plan, copies_of
from spark_imgdedup.stages.user_input.id_lists import read_ids
from spark_imgdedup.stages.vectors.own_embeddings import open_embeddings
from spark_imgdedup.stages.vectors.vector_column import vector_column, vector_values

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from spark_imgdedup.runs.tables import StepRecord

# Tables, the step whose record tells of each, and whether their ids are those of images, not of the user's vectors.
_TABLES = {
    "embeddings": ("embed", True),
    "hashes": ("hashes", True),
    "copies": ("detect", False),
    "scored": ("score", False),
    "clusters": ("cluster", False),
    "similarities": ("pairwise", False),
    "duplicates": ("identify", False),
    "removed": ("remove", True),
}
# What a step that has not run would tell.
_TELLS = {
    "embed": "what the images and their embeddings are like",
    "score": "whether a filter refuses it",
    "detect": "whether it has exact copies, and images with hashes near its own",
    "cluster": "in which cluster it is",
    "pairwise": "which image it resembles most",
    "identify": "whether it is a duplicate, and of which image",
    "remove": "whether it has left the dataset",
}
_EMBEDDING = "embedding"


def gather(tables: Tables, config: Config, ids: Iterable[str]) -> Gathered:
    """What the tables hold of some images; a small Spark job for each table that is there, and its list.

    Args:
        tables: Of the run.
        config: Its settings, eps resolved.
        ids: As text.
    """
    wanted, records = sorted(set(ids)), _records(tables)
    rows: dict[str, dict[str, dict[str, Any]]] = {}
    for name, (step, of_images) in _TABLES.items():
        if step in records and tables.has(name):
            rows[name] = _rows(tables.read(name), "image_id" if of_images else config.id_column, wanted)
    vectors = _vectors(tables, config, wanted, rows)
    search = _counts(records, "pairwise", PairwiseCounts)
    return Gathered(
        rows=rows,
        eps=_eps(config, records),
        searched_eps=None if search is None else search.eps,
        probes="" if search is None else search.probes,
        compared={} if search is None else _compared(tables, search, wanted, rows, vectors),
        vectors=vectors,
        lists=dict(_lists(tables, config, wanted)),
        gone_for=_gone_for(tables, wanted) if "duplicates" in rows else {},
        not_known=tuple(_not_known(tables, config, records)),
    )


def _records(tables: Tables) -> dict[str, StepRecord]:
    """The steps whose tables were made from each other."""
    found = {step.name: tables.record(step.name) for step in RECORDED}
    return {
        name: record
        for name, record in found.items()
        if record is not None and first_broken(name, found.get, lambda _: True) is None
    }


def _counts(records: Mapping[str, StepRecord], step: str, kind: type[Any]) -> Any:
    counts = records[step].counts if step in records else None
    return counts if isinstance(counts, kind) else None


def _eps(config: Config, records: Mapping[str, StepRecord]) -> float | None:
    applied = _counts(records, "identify", IdentifyCounts)
    eps = resolve_eps(config).identify.eps if applied is None else applied.eps
    return eps if isinstance(eps, float) else None


def _rows(table: DataFrame, id_: str, wanted: list[str]) -> dict[str, dict[str, Any]]:
    """Rows by id, without their vectors."""
    from pyspark.sql import functions as F

    names = [name for name in table.columns if name != _EMBEDDING]
    chosen = table.where(_is_one_of(table, id_, wanted))
    rows = chosen.select(F.col(quoted(id_)).cast("string").alias("_id"), *map(quoted, names)).collect()
    return {row["_id"]: _plain(row.asDict()) for row in rows}


def _is_one_of(table: DataFrame, id_: str, wanted: list[str]) -> Column:
    """Without a cast where there is a way, so that Spark can pass over the parts of files that hold none of them."""
    from pyspark.sql import functions as F

    is_number = dict(table.dtypes)[id_] in ("tinyint", "smallint", "int", "bigint")
    if is_number and all(each.removeprefix("-").isdigit() for each in wanted):
        return F.col(quoted(id_)).isin([int(each) for each in wanted])
    return F.col(quoted(id_)).cast("string").isin(wanted)


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Bytes as Python's own."""
    return {name: bytes(value) if isinstance(value, bytearray) else value for name, value in row.items()}


def _vectors(
    tables: Tables, config: Config, wanted: list[str], rows: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    from pyspark.sql import functions as F

    if config.own_embeddings:
        table = open_embeddings(tables.spark, str(config.cluster.embeddings_path), config)[0]
        name, id_ = config.cluster.embedding_field, config.id_column
    elif "embeddings" in rows:
        table, name, id_ = tables.read("embeddings"), _EMBEDDING, "image_id"
    else:
        return {}
    stored = vector_column(table, name, stage="explain")
    chosen = table.where(_is_one_of(table, id_, wanted) & F.col(quoted(name)).isNotNull())
    chosen = chosen.select(F.col(quoted(id_)).cast("string").alias("id"), vector_values(table, name, stored).alias("v"))
    found = chosen.toArrow() if hasattr(chosen, "toArrow") else pa.Table.from_pandas(chosen.toPandas())
    # One by one: a vector of another length is a row of its own, and no error here.
    return {found["id"][at].as_py(): stored.decode(found["v"].slice(at, 1))[0] for at in range(len(found))}


def _compared(
    tables: Tables,
    search: PairwiseCounts,
    wanted: list[str],
    rows: Mapping[str, Mapping[str, Mapping[str, Any]]],
    vectors: Mapping[str, Any],
) -> dict[frozenset[str], bool]:
    """Of each two images with clusters, whether one was compared in the cluster of the other."""
    homes = {each: row["cluster_id"] for each, row in rows.get("clusters", {}).items() if row["cluster_id"] is not None}
    known = [each for each in wanted if each in homes and each in vectors]
    pairs = [(one, other) for place, one in enumerate(known) for other in known[place + 1 :]]
    if search.probes == "all":
        return {frozenset(pair): True for pair in pairs}
    found = {frozenset(pair): homes[pair[0]] == homes[pair[1]] for pair in pairs}
    plan = _plan(search.probes)
    if plan.copies and not all(found.values()):
        centroids = UnitRows.of(artifacts.load(artifacts.find(tables.path("centroids"), tables.config.storage_options)))
        matrix = UnitRows.normalized(np.stack([vectors[each] for each in known]))
        at, clusters = copies_of(plan, matrix, np.array([homes[each] for each in known]), centroids, search.eps)
        also = {(known[place], int(cluster)) for place, cluster in zip(at, clusters, strict=True)}
        for one, other in pairs:
            found[frozenset((one, other))] |= (one, homes[other]) in also or (other, homes[one]) in also
    return found


def _plan(probes: str) -> Plan:
    """A plan from its words."""
    words = probes.split()
    if words[-1] == "nearest":
        return Plan("nearest", n_nearest=int(words[0]))
    return Plan("margin", alpha=float(words[1])) if words[0] == "margin" else Plan("home")


def _lists(tables: Tables, config: Config, wanted: list[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """Of each list of ids that the settings name, and of that of `restore`, those of these images that are in it."""
    from pyspark.sql import functions as F

    remove, options = config.remove, config.storage_options
    given = {"remove.never": remove.never_paths, "remove.ids_path": () if remove.match_field else remove.paths}
    parts = {name: read_ids(tables.spark, paths, remove.id_field, options) for name, paths in given.items() if paths}
    back = brought_back(tables, config)
    if back is not None:
        parts["restored"] = back
    for name, ids in parts.items():
        found = ids.where(F.col("image_id").isin(wanted)).distinct().collect()
        yield name, frozenset(row["image_id"] for row in found)


def _gone_for(tables: Tables, wanted: list[str]) -> dict[str, int]:
    from pyspark.sql import functions as F

    duplicates = tables.read("duplicates")
    if "kept_id" not in duplicates.columns:
        return {}
    kept = F.col("kept_id").cast("string")
    rows = duplicates.where(kept.isin(wanted)).groupBy(kept.alias("kept")).count().collect()
    return {row["kept"]: int(row["count"]) for row in rows}


def _not_known(tables: Tables, config: Config, records: Mapping[str, StepRecord]) -> Iterator[str]:
    idle = idle_steps(config)
    for name in config.steps:
        if name in _TELLS and name not in idle and name not in records:
            yield f"{name} has not run: {_TELLS[name]} is not known. Run {STEP[name].command} --config …"
    if config.own_embeddings and config.remove.match_field and "remove" in records:
        yield "remove matches these ids by a field of the samples: what it has left out is in the table removed."
    last = next((step.name for step in reversed(RECORDED) if step.name in records), None)
    stale = None if last is None else stale_step(last, tables, config)
    if stale is not None:
        yield (
            f"The tables of {stale} are of other settings or inputs than there are now: this is what that run has "
            "found. Run spark-imgdedup run --config … for the settings of now."
        )
