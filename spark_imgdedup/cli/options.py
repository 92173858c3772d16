"""The options that commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from spark_imgdedup import console

ConfigFile = Annotated[
    str | None, typer.Option("--config", "-c", help="YAML file that states what differs from the defaults, see conf/")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="One setting on top of the file; repeatable"),
]
Force = Annotated[bool, typer.Option("--force", help="Run a step again although its settings and inputs are unchanged")]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Say what would be read, done, written and removed, and how long it takes; do nothing",
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print the result as one JSON object, with a schema_version, and nothing else")
]
FailIf = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-if",
        metavar="LIMIT",
        help="End with exit code 1 where a count is so: 'duplicates > 40%', 'unreadable > 100'; repeatable",
    ),
]
InputPath = Annotated[
    str | None,
    typer.Argument(
        metavar="PATH",
        help="Folder or glob of tars, images or a table, in place of input.path. Unless the settings say otherwise, "
        "all that is made lies in a new folder <name>-dedup",
    ),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        help="After an error, also print the stack of Python and Java that led to it",
        callback=console.set_verbose,
    ),
]
