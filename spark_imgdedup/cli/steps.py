"""Commands that take steps: all of them, all after `embed`, one, and the report on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, NamedTuple

import typer
from rich.console import Console

from spark_imgdedup.cli.gates import parse_gates
from spark_imgdedup.cli.options import AsJson, ConfigFile, DryRun, FailIf, Force, InputPath, Overrides, Verbose
from spark_imgdedup.cli.places import load_settings
from spark_imgdedup.cli.results import Asked, conclude
from spark_imgdedup.config import STEP, STEP_NAMES, Config, StepName, load_config
from spark_imgdedup.console import say, say_json
from spark_imgdedup.errors import ConfigError

app = typer.Typer()


class _Way(NamedTuple):
    """Options that say how steps are taken, and how the command ends."""

    force: bool = False
    is_dry: bool = False
    as_json: bool = False
    fail_if: Sequence[str] = ()

    def asked(self, command: str, config_file: str | None, overrides: Sequence[str] | None) -> Asked:
        """The command as it was given.

        Raises:
            ConfigError: a gate is no gate, or goes with nothing that is done.
        """
        if self.is_dry and self.fail_if:
            raise ConfigError("--fail-if: --dry-run counts nothing that a limit could be held against. Leave one out.")
        return Asked(command, config_file, bool(overrides), parse_gates(self.fail_if), self.as_json)


@app.command()
def run(  # noqa: PLR0913  # its options
    path: InputPath = None,
    config: ConfigFile = None,
    set_: Overrides = None,
    force: Force = False,
    verbose: Verbose = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    fail_if: FailIf = None,
) -> None:
    """Every step, in the order of the data: of the settings, or of PATH alone."""
    way = _Way(force, dry_run, as_json, fail_if or ())
    asked = way.asked("run", None if path is not None else config, set_)
    _take(load_settings(path, config, set_ or ()), None, asked, way)


@app.command("dedup-embeddings")
def dedup_embeddings(  # noqa: PLR0913  # its options
    config: ConfigFile = None,
    set_: Overrides = None,
    force: Force = False,
    verbose: Verbose = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    fail_if: FailIf = None,
) -> None:
    """Every step after embed, on vectors of your own (video clips, audio, …): needs cluster.embeddings_path."""
    way = _Way(force, dry_run, as_json, fail_if or ())
    asked = way.asked("dedup-embeddings", config, set_)
    loaded = load_config(config, set_ or ())
    if not loaded.own_embeddings:
        raise ConfigError(
            "cluster.embeddings_path is not set. Name the table of your vectors, e.g. --set "
            "cluster.embeddings_path=clips/ce1_embd_parquet; for images use run."
        )
    _take(loaded, None, asked, way)


def _add_step(name: StepName) -> None:
    """A command that takes one step; the others' tables are taken as they are."""

    @app.command(name, help=STEP[name].purpose)
    def step(  # noqa: PLR0913  # its options
        config: ConfigFile = None,
        set_: Overrides = None,
        force: Force = False,
        verbose: Verbose = False,
        dry_run: DryRun = False,
        as_json: AsJson = False,
        fail_if: FailIf = None,
    ) -> None:
        way = _Way(force, dry_run, as_json, fail_if or ())
        asked = way.asked(name, config, set_)
        _take(load_config(config, set_ or ()), [name], asked, way)


for step_name in STEP_NAMES:
    if step_name != "report":
        _add_step(step_name)


@app.command()
def report(
    config: ConfigFile = None,
    set_: Overrides = None,
    details: Annotated[bool, typer.Option("--details", help="Print the breakdowns of report.json as tables")] = False,
    as_json: AsJson = False,
    fail_if: FailIf = None,
) -> None:
    """Print what the steps so far have counted, and write report.json and index.html, a page to look at."""
    from spark_imgdedup.pipeline import run as run_pipeline

    if details and as_json:
        raise ConfigError("--details: --json has the breakdowns too. Leave --details out.")
    asked = _Way(as_json=as_json, fail_if=fail_if or ()).asked("report", config, set_)
    loaded = load_config(config, set_ or ())
    summary = run_pipeline(loaded, steps=["report"])
    if details:
        from spark_imgdedup.report.details import print_details

        say("\n".join(summary.lines()))
        print_details(summary.breakdowns, Console())
    conclude(asked, summary, loaded, with_report=not details)


def _take(config: Config, steps: Sequence[StepName] | None, asked: Asked, way: _Way) -> None:
    if way.is_dry:
        from spark_imgdedup.pipeline import preview

        found = preview(config, steps=steps, force=way.force)
        if way.as_json:
            say_json(asked.command, {"dry_run": True, **asdict(found)})
        else:
            say("\n".join(found.lines()))
        return
    from spark_imgdedup.pipeline import run as run_pipeline

    summary = run_pipeline(config, steps=steps, force=way.force)
    conclude(asked, summary, config, with_report=steps is None)
