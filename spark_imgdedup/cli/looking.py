"""Commands that look at what a run has found: `sample` and `eps`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console

from spark_imgdedup.cli.options import AsJson, ConfigFile, Overrides
from spark_imgdedup.config import load_config
from spark_imgdedup.console import say, say_json
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.report.levels import EPS_LEVELS

app = typer.Typer()


@app.command()
def sample(  # noqa: PLR0913  # its options
    to: Annotated[str, typer.Option(help="Folder for the images, pairs.csv and index.html, a page of them")],
    config: ConfigFile = None,
    set_: Overrides = None,
    n: Annotated[int, typer.Option("--n", min=1, help="How many pairs")] = 50,
    seed: Annotated[int, typer.Option(help="Another seed draws other pairs")] = 0,
    min_score: Annotated[float | None, typer.Option(help="Only pairs whose cosine_sim_score is at least this")] = None,
    max_score: Annotated[float | None, typer.Option(help="Only pairs whose cosine_sim_score is at most this")] = None,
    lowest: Annotated[bool, typer.Option("--lowest", help="The pairs with the lowest scores, instead of any")] = False,
    as_json: AsJson = False,
) -> None:
    """Export removed duplicates beside the images they repeat, for you to look at; needs duplicates."""
    from spark_imgdedup.report.sample import SampleRequest, export_sample
    from spark_imgdedup.runs.progress import progress_of
    from spark_imgdedup.runs.tables import Tables

    request = SampleRequest(to, n, seed, min_score, max_score, lowest)
    tables = Tables(None, load_config(config, set_ or ()))
    with progress_of(tables, "sample", "Export removed duplicates beside the images they repeat"):
        lines = export_sample(tables, request)
    if as_json:
        say_json("sample", {"to": to, "lines": lines})
    else:
        say("\n".join(lines))


@app.command()
def eps(
    config: ConfigFile = None,
    set_: Overrides = None,
    levels: Annotated[
        str | None, typer.Option(help="Comma-separated eps values; by default some twenty from 0 on, and your own")
    ] = None,
    pairs: Annotated[int, typer.Option(min=0, help="Pairs to show of those that are new at each eps")] = 2,
    as_json: AsJson = False,
) -> None:
    """Print what each eps would remove by the rule of the run, the spread of the scores, and pairs; needs pairwise."""
    from spark_imgdedup.report.eps_table import own_level, print_survey, survey_as_json, survey_run
    from spark_imgdedup.runs.progress import progress_of
    from spark_imgdedup.runs.tables import Tables

    numbers = _parse_levels(levels)
    loaded = load_config(config, set_ or ())
    tables = Tables(None, loaded)
    with progress_of(tables, "eps", "Count what each eps would remove"):
        tables.read("similarities")
        marks = own_level(tables, loaded)
        survey = survey_run(tables, loaded, numbers, [] if levels else list(marks), n_pairs=pairs)
    if as_json:
        say_json("eps", survey_as_json(survey, marks))
    else:
        print_survey(survey, marks, Console())


def _parse_levels(levels: str | None) -> Sequence[float]:
    numbers: Sequence[float]
    try:
        numbers = [float(level) for level in levels.split(",")] if levels else EPS_LEVELS
    except ValueError:
        numbers = ()
    if not numbers or not all(0 <= number < 1 for number in numbers):
        raise ConfigError(f"--levels needs numbers in [0, 1) such as 0.01,0.05, got '{levels}'.")
    return numbers
