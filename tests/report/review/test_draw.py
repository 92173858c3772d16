"""Which pairs are asked: bands on both sides of eps, none that was decided, what hashes found apart."""

from __future__ import annotations

import pyarrow as pa
import pytest

from spark_imgdedup.config import Config
from spark_imgdedup.counts import IdentifyCounts, PairwiseCounts
from spark_imgdedup.files.decisions import Decision, add_decisions
from spark_imgdedup.report.review.draw import draw_questions
from spark_imgdedup.runs.tables import StepRecord, Tables

N = 300


@pytest.fixture
def tables(spark, tmp_path):
    """300 rows in a line, each resembling the one before it less and less; hashes have found every tenth."""
    config = Config(work_dir=str(tmp_path / "work"), identify={"eps": 0.2}, steps=["cluster", "pairwise", "identify"])
    found = Tables(spark, config)
    names = [f"i{nth:03d}" for nth in range(N)]
    scores = pa.table(
        {
            "image_id": names,
            "max_id": [names[max(nth - 1, 0)] for nth in range(N)],
            "cosine_sim_score": [0.0, *(1 - nth / 500 for nth in range(1, N))],
        }
    )
    by_hash = [nth for nth in range(10, N, 10)]
    goes = pa.table(
        {
            "image_id": [names[nth] for nth in by_hash] + ["i001"],
            "kept_id": [names[0]] * len(by_hash) + ["i000"],
            "found_by": ["phash"] * len(by_hash) + ["embedding"],
        }
    )
    found.write("similarities", spark.createDataFrame(scores.to_pandas()))
    found.write("duplicates", spark.createDataFrame(goes.to_pandas()))
    found.finish(StepRecord("pairwise", "p", 1.0, PairwiseCounts(N), {}, "", {}))
    found.finish(StepRecord("identify", "i", 1.0, IdentifyCounts(0.2, len(by_hash) + 1), {}, "", {}))
    return found


def asked(tables, n, seed=0):
    records = {step: tables.record(step) for step in ("pairwise", "identify")}
    return draw_questions(tables, tables.config, records, n=n, seed=seed)


def pairs_of(found):
    return [(each.one, each.other) for each in found.questions]


def test_bands_of_both_sides_are_asked_in_a_mixed_order_and_what_was_decided_is_not(tables):
    first = asked(tables, 60)

    assert len(first.questions) == len(set(pairs_of(first))) == 60
    bands = first.header.bands
    assert sum(band.pairs for band in bands) + first.n_left_out == N - 1
    hashes = bands[-1]
    assert (hashes.kind, hashes.pairs, hashes.low) == ("phash", 29, None)
    assert [sum(each.band == place for each in first.questions) for place in range(len(bands))] == [
        band.drawn for band in bands
    ]
    assert {band.inside for band in bands if band.drawn} == {True, False}
    assert sum(band.drawn for band in bands if band.inside is False) == 20
    for each in first.questions:
        nths = sorted(int(name[1:]) for name in (each.one, each.other))
        low, high = bands[each.band].low, (1.0, *(band.low for band in bands))[each.band]
        if each.band == len(bands) - 1:
            assert nths[0] == 0
        else:
            assert low <= 1 - nths[1] / 500 <= high
            assert nths[1] % 10
        assert each.one < each.other
    assert [each.band for each in first.questions] != sorted(each.band for each in first.questions)
    assert {each.is_turned for each in first.questions} == {True, False}
    assert asked(tables, 60) == first
    assert asked(tables, 60, seed=1).header.page != first.header.page

    words = ("same", "different", "unsure")
    add_decisions([Decision(*pair, words[nth % 3]) for nth, pair in enumerate(pairs_of(first))], tables.config)
    second = asked(tables, 1000)

    assert not set(pairs_of(second)) & set(pairs_of(first))
    assert len(second.questions) == N - 1 - first.n_left_out - 60
    assert sum(band.same + band.different for band in second.header.bands) == 40
    assert [band.pairs for band in second.header.bands] == [band.pairs for band in bands]
    add_decisions([Decision(*pair, "same") for pair in pairs_of(second)], tables.config)
    assert asked(tables, 5).questions == ()

    # A new image, i300, joins the group of i001: nobody is asked of any other pair.
    scores = tables.read("similarities").toPandas()
    scores.loc[len(scores)] = ["i300", "i001", 0.99]
    scores.loc[scores.image_id == "i002", ["max_id", "cosine_sim_score"]] = ["i300", 0.995]
    tables.write("similarities", tables.spark.createDataFrame(scores.copy()))
    tables.finish(StepRecord("pairwise", "p", 1.0, PairwiseCounts(N + 1), {}, "", {}))
    assert sorted(pairs_of(asked(tables, 100))) == [("i001", "i300"), ("i002", "i300")]
