"""What `spark-imgdedup eps` prints: rows removed at each eps, a histogram of the scores, and pairs to look at."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from spark_imgdedup.config import Config
from spark_imgdedup.errors import ConfigError, printable
from spark_imgdedup.report.screen import WIDTH, decimal, histogram, plain_table
from spark_imgdedup.report.spread import bin_of
from spark_imgdedup.runs.findings import find_duplicates, may_go, prepare_groups, said_by_people
from spark_imgdedup.runs.groups import linked_eps, open_groups
from spark_imgdedup.runs.plan import resolve_eps
from spark_imgdedup.runs.side_by_side import side_by_side
from spark_imgdedup.runs.tables import Tables
from spark_imgdedup.stages.grouping.sweep import Sweep
from spark_imgdedup.stages.thresholds import ScoreSurvey, score_histogram, survey_scores

log = logging.getLogger(__name__)


def own_level(tables: Tables, config: Config) -> dict[float, str]:
    """The eps that `identify` would take, and the setting that gives it; empty where none does.

    With identify.target_keep_fraction it runs Spark jobs; a share that cannot be kept is a warning here.
    """
    number, setting = resolve_eps(config).identify.eps, "identify.eps"
    if config.identify.target_keep_fraction is not None:
        try:
            number, setting = find_duplicates(tables, config).config.identify.eps, "target_keep_fraction"
        except ConfigError as error:
            log.warning("%s", error)
    return {number: setting} if isinstance(number, float) else {}


def survey_run(
    tables: Tables, config: Config, levels: Sequence[float], own: Sequence[float], *, n_pairs: int = 0
) -> ScoreSurvey:
    """What each level would remove, as `identify` would at that eps: neither the model nor the search runs again.

    Exact copies go at any eps and are not counted. With hashes, what these find is counted at every level. What people
    have said counts; under semdedup not how it cuts chains, so that identify may remove a few less.

    Args:
        tables: Of the run.
        config: `identify.rule` counts.
        levels: Values of eps to look at. Under greedy and components those beyond the search are left out.
        own: More of them, such as the run's own.
        n_pairs: Pairs to draw for each level.

    Raises:
        ConfigError: none of the levels can be applied.
    """
    similarities = tables.read("similarities")
    if config.collapses_copies:
        log.warning("eps: exact copies go at any eps and are not counted here")
    if config.identify.rule == "semdedup":
        if config.uses_hashes:
            log.warning("eps: what perceptual hashes find goes at any eps and is not counted here")
        free = may_go(similarities, tables, config)
        survey = survey_scores(free, [*levels, *own], config, n_pairs=n_pairs)
        return survey if free is similarities else replace(survey, n_rows=tables.count("similarities"))
    most = linked_eps(tables)
    fit = [level for level in (*levels, *own) if level <= most]
    if not fit:
        raise ConfigError(
            f"eps: the search was made for {most:g}, so no eps above it can be applied; asked for were "
            f"{', '.join(f'{level:g}' for level in levels)}. Set pairwise.max_eps and run pairwise again."
        )
    if len(fit) < len(levels):
        log.warning("eps: the search was made for %g; for larger ones set pairwise.max_eps and run it again", most)
    prepare_groups(tables)
    blocks, groups = open_groups(tables, config)
    with side_by_side(tables.spark) as start:
        spread = start(lambda: score_histogram(similarities, config))
        found = Sweep(blocks, groups, said_by_people(tables, config)).survey(fit, n_pairs=n_pairs)
    n_rows, bins = spread.result()
    n_with_better = sum(each.n_rows for each in bins)
    return ScoreSurvey(n_rows, n_with_better, found, bins)


def survey_as_json(survey: ScoreSurvey, marks: Mapping[float, str]) -> dict[str, Any]:
    """The survey for programs.

    rows, rows_with_better: all rows, and those that a better-ranked one was compared with; the others never go.
    levels: by ascending eps, each of {eps, cosine_sim_score_from, rows_removed, share, rows_new, set_by, pairs}; share
    is of rows, rows_new is what the level before leaves, set_by the setting that gives this eps or null, and pairs a
    list of {id, max_id, cosine_sim_score}.
    histogram: from 1 down, each of {from, below, rows}; null is no bound, and rows add up to rows_with_better.
    """
    levels = [
        {
            "eps": level.eps,
            "cosine_sim_score_from": level.score_from,
            "rows_removed": level.n_removed,
            "share": _part(level.n_removed, survey.n_rows),
            "rows_new": level.n_new,
            "set_by": marks.get(level.eps),
            "pairs": [asdict(pair) for pair in level.pairs],
        }
        for level in survey.levels
    ]
    bins = [bin_of(each) for each in survey.histogram]
    counts: dict[str, Any] = {"rows": survey.n_rows, "rows_with_better": survey.n_with_better}
    return counts | {"levels": levels, "histogram": bins}


def print_survey(survey: ScoreSurvey, marks: Mapping[float, str], console: Console) -> None:
    """The survey as tables: with colours and solid bars on a terminal, else as plain text.

    Args:
        survey: What `survey_scores` gives.
        marks: The setting that gives an eps, shown beside it.
        console: Where to; its width is set to what the tables take.
    """
    console.width = min(console.width, WIDTH) if console.is_terminal else WIDTH
    with console.capture() as captured:
        for part in _parts(survey, marks, console.is_terminal):
            console.print(part, highlight=False)
    text = captured.get()
    if not console.is_terminal:  # Rich fills each line of a table with spaces
        text = "".join(f"{line.rstrip()}\n" for line in text.splitlines())
    console.file.write(text)


def _parts(survey: ScoreSurvey, marks: Mapping[float, str], is_terminal: bool) -> Iterator[RenderableType]:
    n_first = survey.n_rows - survey.n_with_better
    yield Text(
        f"{survey.n_rows:,} rows; {n_first:,} of them have no better-ranked row to resemble and always stay. "
        "A larger eps removes more."
    )
    yield ""
    yield _level_table(survey, marks)
    if survey.n_with_better:
        yield ""
        yield Text(f"cosine_sim_score of the other {survey.n_with_better:,} rows (bins are narrower near 1)")
        yield histogram([bin_of(each) for each in survey.histogram], is_terminal=is_terminal)
    if any(level.pairs for level in survey.levels):
        yield ""
        yield Text("Pairs that are new at each eps, drawn by a hash of their ids")
        yield _pair_table(survey)


def _level_table(survey: ScoreSurvey, marks: Mapping[float, str]) -> Table:
    table = plain_table("eps", "score from", "rows removed", f"of {survey.n_rows:,} rows", "new rows")
    table.add_column("")
    for level in survey.levels:
        table.add_row(
            decimal(level.eps),
            f"{level.score_from:.6f}",
            f"{level.n_removed:,}",
            f"{_part(level.n_removed, survey.n_rows):.2%}",
            f"{level.n_new:,}",
            marks.get(level.eps, ""),
            style="bold" if level.eps in marks else None,
        )
    return table


def _pair_table(survey: ScoreSurvey) -> Table:
    table = plain_table("eps", "shown", "score")
    for name in ("id", "repeats (max_id)"):
        table.add_column(name, overflow="fold")  # an id that is cut off cannot be copied
    for level in survey.levels:
        for number, pair in enumerate(level.pairs):
            table.add_row(
                *((decimal(level.eps), f"{len(level.pairs)} of {level.n_new:,}") if number == 0 else ("", "")),
                f"{pair.cosine_sim_score:.6f}",
                # as text: an id may look like Rich's markup
                *(Text(printable(str(id_))) for id_ in (pair.id, pair.max_id)),
            )
    return table


def _part(n: int, n_rows: int) -> float:
    return n / n_rows if n_rows else 0.0
