"""The tables of a run -> pairs to judge: some of each band, drawn by a hash of their ids, none that was decided."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from spark_imgdedup.config import Config
from spark_imgdedup.errors import SchemaError
from spark_imgdedup.files.decisions import Decision, read_decisions
from spark_imgdedup.kernels.ranking import hash_ids
from spark_imgdedup.kernels.strata import shared_out
from spark_imgdedup.report.page.bands import ScoreBand, score_bands
from spark_imgdedup.report.page.collect import run_eps
from spark_imgdedup.report.review.model import Asked, AskedBand, PageHeader, Question
from spark_imgdedup.runs.tables import Tables
from spark_imgdedup.stages.columns import quoted
from spark_imgdedup.stages.local_rows import local_rows

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from spark_imgdedup.runs.tables import StepRecord

# What hashes and pixels have found goes at any eps.
BY_HASH = ("phash", "phash+embedding", "pixels")
_HASH_BAND = "found by hashes or pixels"
# Of each band at least so many are asked; of those outside eps a third of all.
_LEAST = 5
_OUTSIDE = 1 / 3
# By place (null is beyond all bands) and decision.
_Counts = Mapping[tuple[int | None, str | None], int]


def draw_questions(tables: Tables, config: Config, records: Mapping[str, StepRecord], *, n: int, seed: int) -> Asked:
    """Pairs of the run to judge; two Spark jobs.

    A pair is an image and the better-ranked one that it resembles most, or for which it goes where hashes found it.
    Those farther apart than the widest band are left out: they say nothing of eps.

    Args:
        tables: Of the run.
        config: Its settings.
        records: The steps whose tables belong together.
        n: How many to draw.
        seed: Another seed draws others, in another order.

    Raises:
        SchemaError: the run has no pairs yet, or a decision cannot be read.
    """
    eps = run_eps(config, records)
    scores = score_bands(eps)[:-1] if "pairwise" in records else ()
    pairs = _with_decisions(_pairs(tables, config, scores, records), read_decisions(config).decisions)
    counts = _count(pairs)
    bands = _bands(scores, counts)
    n_asked = _shared(bands, counts, n)
    questions = _questions(pairs, n_asked, seed)
    run = records["identify" if "identify" in records else "pairwise"].fingerprint
    told = json.dumps([run, seed, [[each.one, each.other, each.band] for each in questions]])
    asked = tuple(replace(band, drawn=drawn) for band, drawn in zip(bands, n_asked, strict=True))
    return Asked(
        PageHeader(hashlib.sha256(told.encode()).hexdigest()[:16], run, eps, asked),
        questions,
        n_left_out=sum(n for (place, _), n in counts.items() if place is None),
        waits_for_hashes=config.compares_hashes and "identify" not in records,
    )


def _pairs(tables: Tables, config: Config, bands: Sequence[ScoreBand], records: Mapping[str, StepRecord]) -> DataFrame:
    """one, other, place of all pairs: that of hashes after all bands of scores, null beyond these."""
    from pyspark.sql import functions as F

    duplicates = tables.read("duplicates") if "identify" in records else None
    similarities = tables.read("similarities") if bands else None
    parts: list[DataFrame] = []
    if duplicates is not None and {"found_by", "kept_id"} <= set(duplicates.columns):
        by_hash = duplicates.where(F.col("found_by").isin(*BY_HASH))
        parts.append(_named(by_hash, "kept_id", F.lit(len(bands)), config))
    if similarities is not None:
        score, place = F.col("cosine_sim_score"), F.lit(None).cast("int")
        for number, band in reversed(list(enumerate(bands))):
            place = F.when(score >= F.lit(band.low), number).otherwise(place)
        found = _named(similarities.where(~F.isnan(score)), "max_id", place, config).where("id != better")
        parts.append(found.join(parts[0].select("id"), "id", "left_anti") if parts else found)
    if not parts:
        raise SchemaError(
            f"{config.work_dir}: there are no pairs to judge. Run spark-imgdedup pairwise first; with detect.method "
            "phash, identify; with detect.method exact all pairs are the same bytes or pixels."
        )
    both = parts[0] if len(parts) == 1 else parts[0].unionByName(parts[1])
    return both.select(F.least("id", "better").alias("one"), F.greatest("id", "better").alias("other"), "place")


def _named(rows: DataFrame, better: str, place: Column, config: Config) -> DataFrame:
    """id, better, place; the ids as text."""
    from pyspark.sql import functions as F

    ids = (F.col(quoted(config.id_column)).cast("string").alias("id"), F.col(better).cast("string").alias("better"))
    return rows.select(*ids, place.alias("place"))


def _with_decisions(pairs: DataFrame, decided: Sequence[Decision]) -> DataFrame:
    from pyspark.sql import functions as F

    if not decided:
        return pairs.withColumn("decision", F.lit(None).cast("string"))
    rows = [(each.one, each.other, each.decision) for each in decided]
    told = local_rows(pairs.sparkSession, rows, "one string, other string, decision string")
    return pairs.join(F.broadcast(told), ["one", "other"], "left")


def _count(pairs: DataFrame) -> _Counts:
    rows = pairs.groupBy("place", "decision").count().collect()
    return {(row["place"], row["decision"]): int(row["count"]) for row in rows}


def _bands(scores: Sequence[ScoreBand], counts: _Counts) -> list[AskedBand]:
    """The bands, those of hashes last, with all of their pairs."""

    def counted(place: int, decision: str) -> int:
        return counts.get((place, decision), 0)

    named = [(band.title, "embedding", band.low, band.inside) for band in scores]
    return [
        AskedBand(
            *about,
            pairs=sum(n for (each, _), n in counts.items() if each == place),
            same=counted(place, "same"),
            different=counted(place, "different"),
        )
        for place, about in enumerate([*named, (_HASH_BAND, "phash", None, True)])
    ]


def _shared(bands: Sequence[AskedBand], counts: _Counts, n: int) -> list[int]:
    """How many of each band are asked: what one side of eps has not is for the other."""
    open_ = [counts.get((place, None), 0) for place in range(len(bands))]
    sides = {
        is_out: [place for place, band in enumerate(bands) if (band.inside is False) is is_out]
        for is_out in (True, False)
    }
    there = {is_out: sum(open_[place] for place in places) for is_out, places in sides.items()}
    n_out = min(there[True], max(round(_OUTSIDE * n), n - there[False]))
    found = [0] * len(bands)
    for is_out, places in sides.items():
        shares = shared_out([open_[place] for place in places], n_out if is_out else n - n_out, _LEAST)
        for place, share in zip(places, shares, strict=True):
            found[place] = share
    return found


def _questions(pairs: DataFrame, n_asked: Sequence[int], seed: int) -> tuple[Question, ...]:
    """So many pairs of each place, in an order that tells nothing of them."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    if not any(n_asked):
        return ()
    order = Window.partitionBy("place").orderBy(F.xxhash64(F.lit(seed), "one", "other"), "one", "other")
    # Spark takes the first rows of each group before it moves any (InferWindowGroupLimit), so a large one is no burden.
    numbered = pairs.where("place is not null and decision is null").withColumn("number", F.row_number().over(order))
    rows = numbered.where(F.col("number") <= max(n_asked)).collect()
    chosen = [row for row in rows if row["number"] <= n_asked[row["place"]]]
    draws = hash_ids([json.dumps([row["one"], row["other"]]) for row in chosen], seed).tolist()
    shuffled = sorted(zip(draws, chosen, strict=True), key=lambda each: each[0])
    return tuple(Question(row["one"], row["other"], row["place"], bool(draw % 2)) for draw, row in shuffled)
