"""What is known of the run of a work_dir from outside of its process: its records, its lease, its own words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spark_imgdedup.config import Config
from spark_imgdedup.config.steps import RECORDED
from spark_imgdedup.errors import ConfigError, LeaseError, without_credentials
from spark_imgdedup.files import storage
from spark_imgdedup.files.owning import lease
from spark_imgdedup.files.owning.lease import Place
from spark_imgdedup.runs import running
from spark_imgdedup.runs.tables import Tables


def look_at(work_dir: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """What a run there does. Nothing is written.

    Args:
        work_dir: That of the run.
        options: Storage options.

    Returns:
        work_dir; holder: who holds it, in words, or None; is_alive: whether that run gives signs of life; run: what it
        says of itself, with `step`, `said`, `share` (0 to 1), `per_second`, `seconds_left`, `at`, `state` (running or
        failed) and `error`, or None where the latest run ended well; done: by step its seconds and when it was not
        this run that took it; to_do: the steps that the run has still to begin.

    Raises:
        ConfigError: there is no such folder.
    """
    if not storage.exists(work_dir, options):
        raise ConfigError(f"work_dir {work_dir}: there is nothing. Name the work_dir of a run: status WORK_DIR.")
    place = Place("work_dir", work_dir, options)
    holder = lease.holder_in_words(place)
    run = running.read(work_dir, options)
    tables = Tables(None, Config(work_dir=work_dir, storage_options=dict(options)))
    records = ((step.name, tables.record(step.name)) for step in RECORDED)
    done = {name: {"seconds": record.seconds} for name, record in records if record is not None}
    to_do = []
    if run is not None:
        planned = [step for step in run["steps"] if step != "report"]
        begun = planned.index(run["step"]) + 1 if run.get("step") in planned else 0
        to_do = planned[begun:] if run.get("step") != "report" else []
        done = {name: record for name, record in done.items() if name not in (run.get("step"), *to_do)}
    return {
        "work_dir": without_credentials(work_dir),
        "holder": holder,
        "is_alive": holder is not None and _is_alive(place),
        "run": run,
        "done": done,
        "to_do": to_do,
    }


def _is_alive(place: Place) -> bool:
    """Whether the folder could not be taken over right now."""
    try:
        lease.require_free(place)
    except LeaseError:
        return True
    return False
