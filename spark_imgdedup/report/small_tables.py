"""What each eps would remove, and how the scores are spread, as pandas DataFrames: a notebook shows and draws them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spark_imgdedup.report.eps_table import own_level, survey_run
from spark_imgdedup.report.levels import EPS_LEVELS, require_eps
from spark_imgdedup.report.spread import bin_of
from spark_imgdedup.stages.thresholds import score_histogram

if TYPE_CHECKING:
    import pandas as pd

    from spark_imgdedup.runs.tables import Tables


def eps_frame(tables: Tables, levels: Sequence[float] | None = None) -> pd.DataFrame:
    """A row for each level: eps, score_from, rows_removed, share, rows_new, set_by.

    share is of all rows, rows_new is what the level before leaves, and set_by the setting that gives this eps.

    Args:
        tables: Of the run.
        levels: None: some twenty from 0 on, and the run's own.

    Raises:
        ConfigError: a level is not in [0, 1), or none of them can be applied.
        SchemaError: pairwise has not run.
    """
    import pandas as pd

    if levels is not None:
        require_eps(levels)
    config = tables.config
    tables.read("similarities")
    marks = own_level(tables, config)
    survey = survey_run(tables, config, EPS_LEVELS if levels is None else levels, list(marks) if levels is None else [])
    return pd.DataFrame(
        {
            "eps": [level.eps for level in survey.levels],
            "score_from": [level.score_from for level in survey.levels],
            "rows_removed": [level.n_removed for level in survey.levels],
            "share": [level.n_removed / survey.n_rows if survey.n_rows else 0.0 for level in survey.levels],
            "rows_new": [level.n_new for level in survey.levels],
            "set_by": [marks.get(level.eps, "") for level in survey.levels],
        }
    )


def score_frame(tables: Tables) -> pd.DataFrame:
    """A row for each bin of cosine_sim_score, from 1 down: from, below, rows, share; NaN is no bound.

    Raises:
        SchemaError: pairwise has not run.
    """
    import pandas as pd

    _, bins = score_histogram(tables.read("similarities"), tables.config)
    rows = [bin_of(each) for each in bins]
    n_all = sum(row["rows"] for row in rows)
    return pd.DataFrame([{**row, "share": row["rows"] / n_all if n_all else 0.0} for row in rows]).astype(
        {"from": float, "below": float}
    )
