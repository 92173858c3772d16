"""The tables of a run -> a bounded number of pairs and groups, drawn by a hash of ids: the same ones every time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spark_imgdedup.config import Config
from spark_imgdedup.report.page.bands import bit_bands, score_bands
from spark_imgdedup.report.page.closeness import MOST_COMPARED, lowest_of_two
from spark_imgdedup.report.page.model import KINDS
from spark_imgdedup.runs.tables import Tables
from spark_imgdedup.stages.columns import quoted

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, WindowSpec

# Of each band, and groups with so many of their images.
PAIRS = 20
GROUPS = 20
MEMBERS = 5
_SEED = 0


@dataclass(frozen=True)
class DrawnPair:
    """The ids of two images, and what was measured: a cosine, or bits."""

    better: str
    other: str
    cosine: float | None = None
    hamming: int | None = None


@dataclass(frozen=True)
class DrawnBand:
    """Some pairs of a band, and how many there are: see `model.Band`."""

    kind: str
    title: str
    inside: bool | None
    n_all: int
    pairs: tuple[DrawnPair, ...]
    table: str


@dataclass(frozen=True)
class DrawnGroup:
    """An image that stays, how many go for it, and some of these: see `model.Group`."""

    kept: str
    n_all: int
    lowest: float | None
    lowest_of_two: float | None
    n_compared: int
    found_by: Mapping[str, int]
    members: tuple[tuple[DrawnPair, str], ...]  # and what found each


def band_draws(
    tables: Tables, config: Config, eps: float | None, steps: Sequence[str]
) -> list[Callable[[], list[DrawnBand]]]:
    """What draws pairs by how near they are, for each kind; two Spark jobs for each table that has some.

    Args:
        tables: Of the run.
        config: Names the id column.
        eps: The run's.
        steps: Those whose tables belong together.
    """
    draws: list[Callable[[], list[DrawnBand]]] = []
    if "detect" in steps and tables.has("copies"):
        draws.append(lambda: list(_exact_pairs(tables, config)))
    if "identify" in steps:
        draws.append(lambda: list(_hash_pairs(tables, config)))
    if "pairwise" in steps:
        draws.append(lambda: list(_scored_pairs(tables, config, eps)))
    return draws


def _exact_pairs(tables: Tables, config: Config) -> Iterator[DrawnBand]:
    name = config.id_column
    pairs = tables.read("copies").select(_text(name), _text("max_id"))
    rows = pairs.orderBy(_draw(name), name).limit(PAIRS).collect()
    found = tuple(DrawnPair(row["max_id"], row[name]) for row in rows)
    if found:
        title = "the same file, or the same pixels"
        yield DrawnBand("exact", title, None, tables.count("copies"), found, tables.place("copies"))


def _hash_pairs(tables: Tables, config: Config) -> Iterator[DrawnBand]:
    from pyspark.sql import functions as F

    duplicates = tables.read("duplicates")
    if not {"hamming", "kept_id", "found_by"} <= set(duplicates.columns):
        return
    bands, bits = bit_bands(config.detect.searched_radius), F.col("hamming")
    inside = (F.when(bits.between(band.low, band.high), place) for place, band in enumerate(bands))
    by_hash = duplicates.where(F.col("found_by").isin("phash", "phash+embedding"))
    titles = (*(band.title for band in bands), "perceptual hashes near each other")  # semdedup does not tell bits
    for place, n, rows in _in_bands(by_hash, F.coalesce(*inside, F.lit(len(bands))), config, "max_id"):
        pairs = tuple(DrawnPair(row["better"], row["other"], hamming=row["hamming"]) for row in rows)
        yield DrawnBand("phash", titles[place], None, n, pairs, tables.place("duplicates"))


def _scored_pairs(tables: Tables, config: Config, eps: float | None) -> Iterator[DrawnBand]:
    from pyspark.sql import functions as F

    bands, score = score_bands(eps), F.col("cosine_sim_score")
    place = F.lit(len(bands) - 1)
    for number, band in reversed(list(enumerate(bands[:-1]))):
        place = F.when(score >= F.lit(band.low), number).otherwise(place)  # the last band alone has no lower end
    scored = tables.read("similarities").where((F.col(quoted(config.id_column)) != F.col("max_id")) & ~F.isnan(score))
    for number, n, rows in _in_bands(scored, place, config, "max_id"):
        pairs = tuple(DrawnPair(row["better"], row["other"], cosine=row["cosine_sim_score"]) for row in rows)
        band = bands[number]
        yield DrawnBand("embedding", band.title, band.inside, n, pairs, tables.place("similarities"))


def _in_bands(rows: DataFrame, place: Column, config: Config, better: str) -> Iterator[tuple[int, int, list[Any]]]:
    """For each band that has rows: its place, how many, and some of them, the nearest first."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    id_ = F.col(quoted(config.id_column))
    known = [name for name in ("cosine_sim_score", "hamming") if name in rows.columns]
    placed = rows.select(
        id_.cast("string").alias("other"), F.col(better).cast("string").alias("better"), place.alias("place"), *known
    ).where("place is not null")
    counts = {int(row["place"]): int(row["count"]) for row in placed.groupBy("place").count().collect()}
    # Spark takes the first rows of each group before it moves any (InferWindowGroupLimit), so a large one is no burden.
    order = Window.partitionBy("place").orderBy(_draw("other"), "other")
    drawn = placed.withColumn("number", F.row_number().over(order)).where(F.col("number") <= PAIRS).collect()
    for number in sorted(counts):
        mine = (row for row in drawn if row["place"] == number)
        yield number, counts[number], sorted(mine, key=lambda row: (-(row["cosine_sim_score"] or 0), row["other"]))


def draw_groups(tables: Tables, config: Config) -> Iterator[DrawnGroup]:
    """The images that most others go for, and those of these that resemble them least; four Spark jobs."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    duplicates = tables.read("duplicates")
    if not {"kept_id", "found_by", "hamming"} <= set(duplicates.columns):
        return
    # Without vectors, and of a hash under semdedup, the score is none of vectors.
    is_cosine = ~F.isnan("cosine_sim_score") & F.lit(config.detect.method == "embedding")
    if config.identify.rule == "semdedup":
        is_cosine &= F.col("found_by") != "phash"
    rows = duplicates.select(
        *(_text(config.id_column, "other"), _text("kept_id", "kept"), "found_by", "hamming"),
        F.when(is_cosine, F.col("cosine_sim_score")).alias("cosine"),
    )
    by = [F.count_if(F.col("found_by") == kind).alias(kind) for kind in KINDS]
    sizes = rows.groupBy("kept").agg(F.count(F.lit(1)).alias("n"), F.min("cosine").alias("lowest"), *by)
    top = sizes.orderBy(F.desc("n"), "kept").limit(GROUPS).collect()
    chosen = rows.where(F.col("kept").isin([row["kept"] for row in top]))
    by_group = Window.partitionBy("kept")
    farthest = by_group.orderBy(F.asc_nulls_last("cosine"), F.desc("hamming"), "other")
    shown = _first(chosen, farthest, MEMBERS)
    compared = {
        kept: [kept, *(each["other"] for each in found)]
        for kept, found in _first(chosen, by_group.orderBy(_draw("other"), "other"), MOST_COMPARED - 1).items()
    }
    lowest = lowest_of_two(tables, compared)
    for row in top:
        kept = row["kept"]
        yield _group(row, shown[kept], lowest.get(kept), len(compared[kept]))


def _first(rows: DataFrame, order: WindowSpec, n: int) -> dict[str, list[Any]]:
    """The first n rows of each group; Spark takes them before it moves any (InferWindowGroupLimit)."""
    from pyspark.sql import functions as F

    found: dict[str, list[Any]] = {}
    placed = rows.withColumn("place", F.row_number().over(order)).where(F.col("place") <= n).collect()
    for row in sorted(placed, key=lambda row: row["place"]):
        found.setdefault(row["kept"], []).append(row)
    return found


def _group(row: Any, members: Sequence[Any], lowest_of_two: float | None, n_compared: int) -> DrawnGroup:
    shown = tuple(
        (DrawnPair(row["kept"], each["other"], each["cosine"], each["hamming"]), each["found_by"]) for each in members
    )
    found_by = {kind: int(row[kind]) for kind in KINDS if row[kind]}
    return DrawnGroup(row["kept"], int(row["n"]), row["lowest"], lowest_of_two, n_compared, found_by, shown)


def _draw(name: str) -> Column:
    from pyspark.sql import functions as F

    return F.xxhash64(F.lit(_SEED), F.col(quoted(name)).cast("string"))


def _text(name: str, alias: str | None = None) -> Column:
    from pyspark.sql import functions as F

    return F.col(quoted(name)).cast("string").alias(alias or name)
