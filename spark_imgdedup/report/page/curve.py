"""The eps curve: what each eps would remove, by the scores and links that the search has left."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from spark_imgdedup.config import Config
from spark_imgdedup.report.page.model import Curve, Level
from spark_imgdedup.runs.current import stale_step
from spark_imgdedup.runs.findings import count_removed_already, prepare_groups, said_by_people
from spark_imgdedup.runs.groups import linked_eps, open_groups
from spark_imgdedup.runs.tables import Tables
from spark_imgdedup.stages.grouping.sweep import Sweep
from spark_imgdedup.stages.thresholds import EpsLevel, survey_scores

log = logging.getLogger(__name__)

N_LEVELS = 24
# How far the curve goes, in eps of the run; and where none is set.
_BEYOND = 2.0
_NO_EPS = 0.4
STALE = (
    "The eps curve is left out: the search was made with other settings or inputs than these. "
    "spark-imgdedup run makes it anew."
)


def levels_up_to(most: float, own: float | None) -> list[float]:
    """Even steps from 0 to `most`, and the run's own eps. Each is below 1."""
    even = np.linspace(0, min(most, 0.999999), N_LEVELS).round(6).tolist()
    return sorted({*even, *(() if own is None else (own,))})


def draw_curve(tables: Tables, config: Config, own: float | None) -> Curve | None:
    """What each of some eps would remove, by the rule of the run; neither a model nor the search runs.

    Beyond the eps that the search was made for, `removed` is not known, and `near` is the most that it may be.

    Args:
        tables: Of the run; `pairwise` is done.
        config: Its settings.
        own: The eps of the run; None where none was set.

    Returns:
        None where the tables are not of these settings.
    """
    if stale_step("pairwise", tables, config) is not None:
        return None
    levels = levels_up_to(_NO_EPS if own is None else min(_BEYOND * max(own, 0.05), 1.0), own)
    near = survey_scores(tables.read("similarities"), levels, config)
    already = count_removed_already(tables, config)
    if config.identify.rule == "semdedup":
        found = tuple(Level(each.eps, each.score_from, each.n_removed, each.n_removed) for each in near.levels)
        return Curve(near.n_rows, found, own, already)
    most = linked_eps(tables)
    exact = {each.eps: each for each in _survey(tables, config, [level for level in levels if level <= most])}
    found = tuple(_level(each, exact.get(each.eps)) for each in near.levels)
    return Curve(near.n_rows, found, own, already, searched=most, by_hash=config.uses_hashes)


def _survey(tables: Tables, config: Config, levels: Sequence[float]) -> Sequence[EpsLevel]:
    if not levels:
        return ()
    prepare_groups(tables)
    blocks, groups = open_groups(tables, config)
    return Sweep(blocks, groups, said_by_people(tables, config)).survey(levels)


def _level(near: EpsLevel, exact: EpsLevel | None) -> Level:
    if exact is None:
        return Level(near.eps, near.score_from, near.n_removed)
    return Level(near.eps, near.score_from, near.n_removed, exact.n_removed, exact.n_groups, exact.largest)
