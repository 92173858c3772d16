"""Running one step: skipped where nothing has changed, recorded when it is done."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from spark_imgdedup import __version__
from spark_imgdedup.config import Config
from spark_imgdedup.config.steps import STEP
from spark_imgdedup.counts import StepCounts
from spark_imgdedup.files import storage
from spark_imgdedup.files.owning.lease import require_held
from spark_imgdedup.files.owning.work_dir import claim
from spark_imgdedup.runs.current import built_on, is_current, require_current
from spark_imgdedup.runs.fingerprints import fingerprint, models_of
from spark_imgdedup.runs.listed import list_anew
from spark_imgdedup.runs.progress import progress_of
from spark_imgdedup.runs.tables import StepRecord, Tables

log = logging.getLogger(__name__)

Work = Callable[[Tables, Config], StepCounts]


def run_step(name: str, work: Work, tables: Tables, *, force: bool = False) -> None:
    """Run a step and record what it did, unless it and all it is built on are current.

    Args:
        name: The step, see `config.steps`.
        work: What it does.
        tables: With the settings of the run.
        force: Run it although nothing has changed.

    Raises:
        SchemaError: it would read tables that other settings or inputs made.
        ConfigError: work_dir holds something of somebody else's under the name of one of its tables.
        LeaseError: another run has taken work_dir over meanwhile; nothing is recorded.
    """
    config, purpose = tables.config, STEP[name].purpose
    require_current(name, tables, config)
    read = built_on(name, tables, config)
    models = models_of(name, config)
    mark = fingerprint(name, config, read, models)
    earlier = tables.record(name)
    if not force and earlier is not None and is_current(name, tables, config):
        words = earlier.counts.in_words(earlier.seconds)
        log.info("%s: unchanged since the last run, skipped (%s; --force runs it again)", name, words)
        return
    require_held(config.work_dir)
    if earlier is None and storage.exists(tables.path(f"_steps/{name}.json"), config.storage_options):
        log.warning("%s: its record is damaged or another version's, so it runs again", name)
    claim(config, [name])  # what is made on the way of a command that is no step, too
    _ = tables.spark  # starting one is not the step's time
    log.info("%s: %s", name, purpose)
    start = time.monotonic()
    with progress_of(tables, name, purpose):
        found = work(tables, config)
    list_anew()
    record = StepRecord(name, mark, round(time.monotonic() - start, 3), found, read, __version__, models)
    require_held(config.work_dir)
    tables.finish(record)
    log.info("%s: %s", name, found.in_words(record.seconds))
