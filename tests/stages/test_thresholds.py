"""What each eps would remove, and the eps that keeps a share: held against `identify_duplicates` itself."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spark_imgdedup import schemas
from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import ConfigError, SchemaError
from spark_imgdedup.stages.identify import identify_duplicates
from spark_imgdedup.stages.local_rows import local_rows
from spark_imgdedup.stages.thresholds import (
    BIN_EDGES,
    Bin,
    Pair,
    eps_for_share,
    lowest_threshold,
    survey_scores,
)

NAN = float("nan")


def config(eps=None, own_ids=None):
    cluster = {} if own_ids is None else {"embeddings_path": "embeddings", "id_field": own_ids}
    return parse_config({"identify": {"eps": eps}, "cluster": cluster})


def table(spark, clusters, id_column="image_id"):
    """similarities: in each cluster the row that ranks first, and one row for each score, which resembles it."""
    rows = []
    for number, scores in enumerate(clusters):
        first = 100 * number
        rows += [(first, number, first, 0.0, 0.0)]
        rows += [(first + place, number, first, score, 0.0) for place, score in enumerate(scores, start=1)]
    return local_rows(spark, rows, schemas.SIMILARITIES.format(id=f"`{id_column}` bigint", id_type="bigint"))


def n_removed(similarities, eps):
    return identify_duplicates(similarities, config(float(eps))).count()


@pytest.mark.parametrize(
    ("clusters", "eps", "n"),
    [
        ([[0.5, 0.6, 0.7]], 0.1, 0),
        ([[0.98, 0.98, 0.85, 0.85]], 0.01, 0),
        ([[0.98, 0.98, 0.85, 0.85]], 0.2, 4),
        ([[0.95, 0.95, 0.85, 0.85, 0.75]], 0.1, 2),
        ([[]], 0.1, 0),
        ([], 0.1, 0),
        ([[0.95, 0.95, 0.85]] * 10, 0.1, 20),
        ([[0.82, 0.819999]], 0.18, 1),
    ],
)
def test_as_many_rows_are_counted_as_published(spark, clusters, eps, n):
    assert survey_scores(table(spark, clusters), [eps], config()).levels[0].n_removed == n


def test_at_every_level_the_survey_counts_what_identify_removes(spark):
    # Ties, scores on a threshold and a millionth below it, more than six decimals, a score of 1e-6, 0 and below.
    scores = [1.0, 1.0, 0.999999, 0.9999995, 0.99, 0.99, 0.989999, 0.9, 0.82, 0.8199999, 0.5, 1e-6, 0.0, -0.3]
    similarities = table(spark, [scores, [0.9]]).cache()
    levels = [0.5, 0, 1e-6, 0.01, 0.010001, 0.1, 0.18, 0.180001, 0.5, 0.999999, 1 - 1e-9]

    survey = survey_scores(similarities, levels, config())

    assert [(level.eps, level.n_removed) for level in survey.levels] == [
        *((0, 2), (1e-6, 4), (0.01, 6), (0.010001, 7), (0.1, 9), (0.18, 10), (0.180001, 11), (0.5, 12)),
        *((0.999999, 13), (1 - 1e-9, 14)),
    ]
    assert [level.n_removed for level in survey.levels] == [
        n_removed(similarities, level.eps) for level in survey.levels
    ]
    assert [level.n_new for level in survey.levels] == [2, 2, 2, 1, 2, 1, 1, 1, 1, 1]
    assert survey.levels[5].score_from == 0.82


def test_the_histogram_has_every_row_once_that_a_better_one_was_compared_with(spark):
    survey = survey_scores(
        table(spark, [[1.0, 0.9999, 0.999, 0.9, 0.899999, 0.0, -0.2], [], [NAN, None]]), [0.1], config()
    )

    assert (survey.n_rows, survey.n_with_better) == (12, 7)
    filled = [part for part in survey.histogram if part.n_rows]
    assert filled == [
        Bin(1.0, None, 1),
        Bin(0.999, 1.0, 2),
        Bin(0.9, 0.92, 1),
        Bin(0.85, 0.9, 1),
        Bin(0.0, 0.1, 1),
        Bin(None, 0.0, 1),
    ]
    assert [part.low for part in survey.histogram] == [*BIN_EDGES, None]


def test_a_table_without_rows_is_surveyed_as_nothing(spark):
    survey = survey_scores(table(spark, []), [0.1, 0.2], config(), n_pairs=2)

    assert (survey.n_rows, survey.n_with_better, sum(part.n_rows for part in survey.histogram)) == (0, 0, 0)
    assert [(level.eps, level.n_removed, level.pairs) for level in survey.levels] == [(0.1, 0, ()), (0.2, 0, ())]


def test_pairs_are_those_between_a_level_and_the_one_before(spark):
    similarities = table(spark, [[1.0, 0.95, 0.95, 0.9, 0.85], [0.949999]], "my id")

    survey = survey_scores(similarities, [0.1, 0.05], config(own_ids="my id"), n_pairs=9)

    assert {level.eps: level.pairs for level in survey.levels} == {
        0.05: (Pair(1, 0, 1.0), Pair(2, 0, 0.95), Pair(3, 0, 0.95)),
        0.1: (Pair(101, 100, 0.949999), Pair(4, 0, 0.9)),
    }


def test_the_same_pairs_are_drawn_from_any_partitioning_and_a_smaller_draw_is_part_of_a_larger(spark):
    similarities = table(spark, [[0.95] * 40 + [0.85] * 40])

    def drawn(rows, n):
        return [set(level.pairs) for level in survey_scores(rows, [0.1, 0.2], config(), n_pairs=n).levels]

    three = drawn(similarities.coalesce(1), 3)
    assert [len(pairs) for pairs in three] == [3, 3]
    assert drawn(similarities.repartition(5), 3) == three
    assert [few < many for few, many in zip(drawn(similarities, 2), three, strict=True)] == [True, True]
    assert three[0] != {Pair(number, 0, 0.95) for number in (1, 2, 3)}  # drawn, not the first by id


def test_text_ids_come_back_as_text(spark):
    schema = schemas.SIMILARITIES.format(id="image_id string", id_type="string")
    similarities = local_rows(spark, [("a", 0, "a", 0.0, 0.0), ("b", 0, "a", 0.9, 0.0)], schema)

    assert survey_scores(similarities, [0.2], config(), n_pairs=1).levels[0].pairs == (Pair("b", "a", 0.9),)


@pytest.mark.parametrize(
    ("scores", "target", "n_removed_already", "eps"),
    [
        # 10 rows, of which 3 may go.
        ([1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2], 0.7, 0, 0.299999),
        # 0.8 is reached by two rows: both would be too many.
        ([1.0, 0.9, 0.8, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2], 0.7, 0, 0.199999),
        # 8 were compared and 2 collapsed before: 10 rows, of which 1 more may go.
        ([1.0, 0.9, 0.8, 0.8, 0.6, 0.5, 0.4], 0.7, 2, 0.099999),
        # Nothing may go, and nothing repeats exactly.
        ([0.999999, 0.5], 0.99, 0, 0.0),
        # All that have a score may go.
        ([0.3, 0.2, 0.0, -0.5, NAN, None], 0.1, 0, 0.999999),
        ([], 0.5, 0, 0.999999),
    ],
)
def test_the_largest_eps_is_picked_that_keeps_the_share(spark, scores, target, n_removed_already, eps):
    similarities = table(spark, [scores])

    assert eps_for_share(similarities, target, config(), n_removed_already=n_removed_already) == eps


def test_of_no_rows_any_share_is_kept(spark):
    assert eps_for_share(table(spark, []), 0.7, config()) == 0.999999


MILLIONTHS = st.integers(-100, 1_000_000).map(lambda number: number / 1_000_000)
SCORES = st.one_of(MILLIONTHS, st.sampled_from([1.0, 0.999999, 0.82, 0.71, 0.29, 1e-6, 0.0]), st.floats(-1, 1))
TARGETS = st.integers(1, 99).map(lambda number: number / 100)


@settings(max_examples=4)  # three Spark jobs each
@given(scores=st.lists(SCORES, max_size=20), target=TARGETS, n_removed_already=st.integers(0, 3))
@example(scores=[0.819999, 0.82, 0.82, 0.820001], target=0.4, n_removed_already=0)
@example(scores=[0.71, 0.70999999, 0.29], target=0.5, n_removed_already=1)
def test_what_the_picked_eps_removes_keeps_the_share_and_a_millionth_more_does_not(
    _session,  # noqa: PT019 - has a value, and hypothesis wants a fixture that outlives an example
    scores,
    target,
    n_removed_already,
):
    similarities = table(_session, [scores])
    n_rows = 1 + len(scores) + n_removed_already

    def share_is_kept(eps):
        stay = n_rows - n_removed_already - n_removed(similarities, eps)
        return Decimal(stay) >= Decimal(str(target)) * n_rows

    try:
        eps = eps_for_share(similarities, target, config(), n_removed_already=n_removed_already)
    except ConfigError:
        assert not share_is_kept(0)
        return

    assert parse_config({"identify": {"eps": eps}}).identify.eps == eps
    assert share_is_kept(eps)
    assert eps == 0.999999 or not share_is_kept(round(eps + 1e-6, 6))


@given(
    counts=st.dictionaries(st.integers(1, 12) | st.integers(999_990, 1_000_000), st.integers(1, 5)),
    may_go=st.integers(-1, 30),
)
def test_no_threshold_below_the_lowest_lets_few_enough_rows_go(counts, may_go):
    scores, ns = (np.array(list(part), np.int64) for part in (counts.keys(), counts.values()))

    found = lowest_threshold(scores, ns, may_go)

    candidates = {1, *counts, *(score + 1 for score in counts)} - {1_000_001}
    good = [low for low in candidates if sum(n for score, n in counts.items() if score >= low) <= may_go]
    assert found == min(good, default=None)


def test_a_share_that_exact_copies_forbid_is_an_error_that_says_which_can_be_had(spark):
    similarities = table(spark, [[1.0] * 3 + [0.4] * 3])

    with pytest.raises(ConfigError) as caught:
        eps_for_share(similarities, 0.9, config(), n_removed_already=1)

    assert str(caught.value) == (
        "identify.target_keep_fraction: 0.9 cannot be kept: of 8 rows 3 are exact copies of a better-ranked one "
        "(cosine 1.000000) and 1 were found by their hashes, so eps 0 keeps only 4 (50.00%). Lower it to 0.5, or set "
        "identify.eps: 0 instead."
    )


@pytest.mark.parametrize("call", [survey_scores, lambda df, levels, config: eps_for_share(df, 0.5, config)])
def test_a_table_without_scores_is_refused(spark, call):
    df = local_rows(spark, [], "image_id string, cluster_id int, max_id string")

    with pytest.raises(SchemaError, match=r"Stage 'eps' needs cosine_sim_score double"):
        call(df, [0.1], config())


def test_a_share_is_the_decimal_it_is_written_as(spark):
    assert math.ceil(0.55 * 100) == 56  # in binary
    similarities = table(spark, [[0.9] * 45 + [0.1] * 54])

    assert eps_for_share(similarities, 0.55, config()) == 0.899999
