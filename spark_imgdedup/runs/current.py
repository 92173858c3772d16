"""Whether the tables that are there are those that the settings and the inputs would make now. Runs no Spark job."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from spark_imgdedup.config import Config
from spark_imgdedup.config.steps import STEP, hash_names
from spark_imgdedup.counts import GroupCounts, ImageCounts, PairwiseCounts
from spark_imgdedup.errors import SchemaError
from spark_imgdedup.runs.fingerprints import fingerprint, has_lost_input, models_of
from spark_imgdedup.runs.plan import searched_eps
from spark_imgdedup.runs.whole import is_whole
from spark_imgdedup.runs.written import is_written

if TYPE_CHECKING:
    from spark_imgdedup.runs.tables import StepRecord, Tables


def is_current(step: str, tables: Tables, config: Config) -> bool:
    """True where a step need not run: see `stale_step`."""
    return stale_step(step, tables, config) is None


def stale_step(step: str, tables: Tables, config: Config) -> str | None:
    """The first step, from the input on, of those that `step` was built on, or itself, whose tables are not current.

    Current means: its record and its tables are there, its fingerprint is what it would be now (settings, input files,
    models, and the steps it is built on), what `CONDITIONS` asks of it holds, and so it is with every step it is built
    on. The record is believed of models that are not on this machine, and of inputs that are gone altogether.
    """

    def is_as_now(record: StepRecord) -> bool:
        name = record.step
        if not all(tables.exists(table) and is_whole(table, tables) for table in STEP[name].written(config)):
            return False
        if not has_lost_input(name, config):
            known = models_of(name, config)
            models = {spec: known.get(spec, identity) for spec, identity in record.models.items()}
            if record.fingerprint != fingerprint(name, config, built_on(name, tables, config), models):
                return False
        return name not in CONDITIONS or CONDITIONS[name](record, tables, config)

    return first_broken(step, tables.record, is_as_now)


def first_broken(
    step: str, record_of: Callable[[str], StepRecord | None], is_good: Callable[[StepRecord], bool]
) -> str | None:
    """The first step, from the input on, whose record is missing, not good, or was built on another than there is now.

    Args:
        step: The last of them.
        record_of: The record of a step.
        is_good: What else is asked of a record.
    """
    record = record_of(step)
    if record is None:
        return step
    for before, mark in record.built_on.items():
        if (broken := first_broken(before, record_of, is_good)) is not None:
            return broken
        earlier = record_of(before)
        if earlier is None or earlier.fingerprint != mark:
            return step
    return None if is_good(record) else step


def require_current(step: str, tables: Tables, config: Config) -> None:
    """Refuse a step that would read tables which other settings or inputs made.

    Raises:
        SchemaError: with the step to renew, and how.
    """
    for before in STEP[step].built_on(config):
        stale = stale_step(before, tables, config)
        if stale is not None:
            raise SchemaError(
                f"{step}: the tables of {stale}, which it builds on, are not those of these settings and inputs. Renew "
                f"them: {STEP[stale].command} --config …, then the steps after it; or all that is needed: "
                "spark-imgdedup run --config …"
            )


def built_on(step: str, tables: Tables, config: Config) -> dict[str, str]:
    """The fingerprints of the tables that a step is going to read."""
    before = [*STEP[step].built_on(config), *steps_used(step, tables, config)]
    records = {name: tables.record(name) for name in before}
    return {name: record.fingerprint for name, record in records.items() if record is not None}


def steps_used(step: str, tables: Tables, config: Config) -> list[str]:
    """Of the steps whose tables `step` uses where they fit, the first that does."""
    fits = has_hashes if step == "detect" else is_current
    return [name for name in STEP[step].uses if fits(name, tables, config)][:1]


def has_hashes(step: str, tables: Tables, config: Config) -> bool:
    """True where the table of `embed` or `hashes` is of this very input and holds the hashes that are asked for."""
    record = tables.record(step)
    return (
        record is not None
        and isinstance(record.counts, ImageCounts)
        and set(hash_names(config)) <= set(record.counts.hashes)
        and is_current(step, tables, config)
    )


def reaches(record: StepRecord, config: Config) -> bool:
    """True where the search that `pairwise` recorded was made for the eps of the settings or a larger one.

    What hangs together was found for that eps alone, whatever was compared.
    """
    found, eps = record.counts, searched_eps(config)
    for_any = isinstance(found, PairwiseCounts) and found.for_any_eps and config.identify.rule == "semdedup"
    return isinstance(found, PairwiseCounts) and (for_any or found.eps >= eps)


def _has_links_of(groups: StepRecord, search: StepRecord | None) -> bool:
    """True where groups were made of the links of this very search."""
    if search is None or not isinstance(groups.counts, GroupCounts) or not isinstance(search.counts, PairwiseCounts):
        return False
    return groups.counts.eps == search.counts.eps


# What else a step's record must be good for: its name, and whether it is.
CONDITIONS: dict[str, Callable[[StepRecord, Tables, Config], bool]] = {
    # The steps after it read the hashes too.
    "detect": lambda _, tables, config: any(has_hashes(name, tables, config) for name in ("embed", "hashes")),
    "pairwise": lambda record, _, config: reaches(record, config),
    # The fingerprint of a search does not say which eps it was made for.
    "groups": lambda record, tables, _: _has_links_of(record, tables.record("pairwise")),
    "remove": lambda record, _, config: is_written(record, config),
}
