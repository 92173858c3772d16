"""The doors of the package for Python and notebooks: what the command line does, with results to go on with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spark_imgdedup import pipeline
from spark_imgdedup.config import Config, StepName
from spark_imgdedup.report.result import Result
from spark_imgdedup.report.sample import SampleRequest, export_sample
from spark_imgdedup.report.small_tables import eps_frame
from spark_imgdedup.runs.problems import errors_in_our_words
from spark_imgdedup.runs.tables import Tables

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import SparkSession


def run(
    config: Config, spark: SparkSession | None = None, *, steps: Sequence[StepName] | None = None, force: bool = False
) -> Result:
    """Run steps in the order of the data, skip those whose settings and inputs are unchanged.

    Args:
        config: Every setting; `config.steps` unless `steps` is given.
        spark: A session; by default the active one, else a local one is started.
        steps: Only these.
        force: Run unchanged steps again.

    Returns:
        The counts, the tables, the report. A notebook shows it as a table.

    Raises:
        ImgDedupError: something the user can mend, in one line.
        LeaseError: another run works in work_dir or in the output folder.
    """
    summary = pipeline.run(config, spark, steps=steps, force=force)
    return Result(summary, Tables(spark, config))


def sample(  # noqa: PLR0913  # as the command's options
    config: Config,
    to: str,
    *,
    n: int = 50,
    seed: int = 0,
    min_score: float | None = None,
    max_score: float | None = None,
    lowest: bool = False,
    spark: SparkSession | None = None,
) -> list[str]:
    """Export duplicates beside the images they repeat: the files, pairs.csv and index.html, a page of them.

    Args:
        config: The settings of the run; identify is done.
        to: A folder that is not there or is empty.
        n: How many.
        seed: Another seed draws others.
        min_score: Only those with cosine_sim_score >= this.
        max_score: Only those with cosine_sim_score <= this.
        lowest: Those with the lowest scores, the most doubtful ones, instead of any.
        spark: As for `run`.

    Returns:
        What was written, in lines.

    Raises:
        ConfigError: the folder is not empty, there is no dataset to take images from, or the scores are no range.
        SchemaError: identify has not run.
    """
    with errors_in_our_words():
        return export_sample(Tables(spark, config), SampleRequest(to, n, seed, min_score, max_score, lowest))


def eps_table(
    config: Config, levels: Sequence[float] | None = None, *, spark: SparkSession | None = None
) -> pd.DataFrame:
    """What each eps would remove by the rule of the run; neither the model nor the search runs again.

    Args:
        config: The settings of the run; pairwise is done.
        levels: Cosine distances in [0, 1). None: some twenty from 0 on, and the run's own.
        spark: As for `run`.

    Returns:
        A row for each level, by ascending eps: eps, score_from (the lowest cosine_sim_score of a duplicate),
        rows_removed, share (of all rows), rows_new (that the level before leaves), set_by (the setting that gives it).

    Raises:
        ConfigError: a level is not in [0, 1), or none of them can be applied.
        SchemaError: pairwise has not run.
    """
    with errors_in_our_words():
        return eps_frame(Tables(spark, config), levels)
