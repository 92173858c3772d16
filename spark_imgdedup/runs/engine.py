"""Running one step: skipped where nothing has changed, recorded when it is done."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from spark_imgdedup import __version__
from spark_imgdedup.config import Config
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.runs import counts
from spark_imgdedup.runs.dataset import is_written
from spark_imgdedup.runs.fingerprints import fingerprint, steps_before
from spark_imgdedup.runs.progress import progress_lines
from spark_imgdedup.runs.sources import built_on
from spark_imgdedup.runs.tables import StepRecord, Tables, tables_of

log = logging.getLogger(__name__)

Counts = dict[str, Any]
Step = Callable[[Tables, Config], Counts]


def run_step(name: str, step: Step, tables: Tables, planned: Sequence[str], *, force: bool) -> None:
    """Run a step and record what it did, unless its record says that nothing has changed since.

    Args:
        name: The step's name in records and logs.
        step: What to do; its docstring's first line is what the log says.
        tables: With the settings of the run.
        planned: The steps of this run: the others' tables are taken as they are, with a word if they are older.
        force: Run it although nothing has changed.
    """
    config = tables.config
    read = built_on(name, tables, config)
    mark = fingerprint(name, config, read)
    earlier = tables.record(name)
    if not force and earlier is not None and earlier.fingerprint == mark and _is_complete(earlier, tables, config):
        log.info(
            "%s: unchanged since the last run, skipped (%s; --force runs it again)", name, counts.in_words(earlier)
        )
        return
    _warn_of_older(name, tables, config, planned)
    summary = (step.__doc__ or name).splitlines()[0]
    spark = tables.spark  # starting one is not the step's time
    log.info("%s: %s", name, summary)
    start = time.monotonic()
    with progress_lines(spark, name, summary):
        found = step(tables, config)
    record = StepRecord(name, mark, round(time.monotonic() - start, 3), found, read, __version__)
    tables.finish(record)
    log.info("%s: %s", name, counts.in_words(record))


def _warn_of_older(name: str, tables: Tables, config: Config, planned: Sequence[str]) -> None:
    """A step run alone reads what is there: say so where other settings made it."""
    for step in steps_before(name, config):
        record = tables.record(step)
        if record is not None and step not in planned:
            try:
                is_same = fingerprint(step, config, record.built_on) == record.fingerprint
            except ConfigError:  # the shards are gone, which the steps after embed need not mind
                continue
            if not is_same:
                log.warning(
                    "%s: the tables of %s were made with other settings or inputs; `spark-imgdedup run` renews them",
                    name,
                    step,
                )


def _is_complete(record: StepRecord, tables: Tables, config: Config) -> bool:
    is_there = all(tables.exists(table) for table in tables_of(record.step, config))
    return is_there and (record.step != "remove" or is_written(record, config))
