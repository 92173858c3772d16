"""The command line: `spark-imgdedup <command> --config FILE [--set section.key=value]…`, shared by all jobs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from spark_imgdedup import __version__, console
from spark_imgdedup.cli import around, explaining, looking, reviewing, steps, undoing, watching

__all__ = ["app", "main", "run_job"]

app = typer.Typer(
    help="Remove near-duplicate images and video clips from training datasets. Exit codes: 0 done, 1 a limit "
    "(--fail-if) or doctor says no, 2 an error or wrong usage.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for part in (steps, looking, reviewing, explaining, undoing, watching, around):
    app.add_typer(part.app)


def _say_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"spark-imgdedup {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    """What stands before any command."""


def run_job(command: str) -> None:
    """What a file in jobs/ does: the command of that name, with the arguments that spark-submit passes on."""
    main([command, *sys.argv[1:]])


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script: 0 done, 1 a gate or a check has failed, 2 an error or wrong usage.

    Returns where all went well: to Databricks a SystemExit is a failure, whatever its code.
    """
    console.log_to_stderr()
    console.guarded(lambda: app(args=list(arguments) if arguments is not None else None))
