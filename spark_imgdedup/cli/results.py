"""How a command that has run ends: its counts, where they and the dataset lie, what to do next, and the gates."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from spark_imgdedup.cli.gates import Gate, Verdict, hold
from spark_imgdedup.config import Config
from spark_imgdedup.console import GATE_FAILED, Ended, say, say_json
from spark_imgdedup.errors import without_credentials

if TYPE_CHECKING:
    from spark_imgdedup.report.summary import Summary


@dataclass(frozen=True)
class Asked:
    """A command as it was given: its name, the file of settings, what was set on top, and how it is to end."""

    command: str
    config_file: str | None
    has_overrides: bool
    gates: Sequence[Gate]
    as_json: bool

    def next_command(self, config: Config) -> str:
        """The command that looks at what this one has found. What was set on top may be secret: the run has stored it.

        Args:
            config: The settings that were run.
        """
        file = self.config_file if self.config_file and not self.has_overrides else f"{config.work_dir}/config.yaml"
        return f"spark-imgdedup eps --config {shlex.quote(file)}"


def conclude(asked: Asked, summary: Summary, config: Config, *, with_report: bool) -> None:
    """Print what a command has done, and end with exit code 1 where a gate says no.

    Args:
        asked: The command.
        summary: What the steps have counted.
        config: The settings.
        with_report: Whether the report was among the steps; without it the log has said all, but for JSON.

    Raises:
        Ended: a gate has failed.
    """
    verdicts = hold(asked.gates, summary)
    places = _places(config)
    if asked.as_json:
        say_json(asked.command, _as_json(summary, places, asked.next_command(config), verdicts))
    elif with_report:
        say("\n".join(summary.lines()))
        for name, place in places.items():
            if name in _SHOWN:
                say(f"{_SHOWN[name]:<13}{place}")
        if summary.duplicates is not None or "page" in places:
            say(f"{'next':<13}{asked.next_command(config)}    # what other thresholds would remove")
    if failed := [verdict.in_words() for verdict in verdicts if verdict.failed]:
        raise Ended("\n".join(f"gate failed: {words}" for words in failed), GATE_FAILED)


_SHOWN = {"output": "new dataset", "page": "look at"}


def _places(config: Config) -> dict[str, str]:
    """Where the results lie, of those that are there."""
    from spark_imgdedup.files import storage
    from spark_imgdedup.runs.tables import Tables

    tables, options = Tables(None, config), config.storage_options
    found = {"work_dir": config.work_dir}
    if config.output.path is not None and tables.record("remove") is not None:
        found["output"] = config.output.path
    for name, place in (("report", "report/report.json"), ("page", "report/index.html")):
        if storage.exists(tables.path(place), options):
            found[name] = tables.path(place)
    return {name: without_credentials(place) for name, place in found.items()}


def _as_json(
    summary: Summary, places: dict[str, str], next_command: str, verdicts: Sequence[Verdict]
) -> dict[str, Any]:
    counted = asdict(summary)
    return {
        "breakdowns": counted.pop("breakdowns"),
        "summary": counted,
        "places": places,
        "next": next_command,
        "gates": [asdict(verdict) for verdict in verdicts],
    }
