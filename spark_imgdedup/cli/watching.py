"""`status`: what a run in another process does, by what lies in its work_dir."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from spark_imgdedup.cli.options import AsJson, ConfigFile, Overrides
from spark_imgdedup.config import load_config
from spark_imgdedup.console import say, say_json

app = typer.Typer()


@app.command()
def status(
    work_dir: Annotated[
        str | None, typer.Argument(metavar="WORK_DIR", help="That of the run; else that of the settings")
    ] = None,
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Say what a run in another process does: which step, how far, how long still, and what is done. Reads only."""
    from spark_imgdedup.runs.status import look_at

    loaded = load_config(config, set_ or ())
    found = look_at(work_dir or loaded.work_dir, loaded.storage_options)
    if as_json:
        say_json("status", found)
    else:
        say("\n".join(_lines(found)))


def _lines(found: dict[str, Any]) -> Iterator[str]:
    yield f"work_dir     {found['work_dir']}"
    run = found["run"]
    if found["holder"] is not None:
        yield f"in use       {found['holder']}"
        if not found["is_alive"]:
            yield "beware       that run has died or stands still; run again: finished steps are skipped"
    elif run is None:
        yield "in use       by no run"
    if run is not None and run["state"] == "failed":
        yield f"failed       {run.get('step') or 'before the first step'}: {run.get('error')}"
    elif run is not None and run.get("step"):
        words = run.get("said") or f"{run['step']}: begun, {run['purpose']}"
        yield f"{'now' if found['is_alive'] else 'was at':<13}{words} ({_ago(run['at'])})"
    for step, record in found["done"].items():
        yield f"done         {step} in {record['seconds']:,.1f} s"
    if found["to_do"]:
        yield f"to do        {', '.join(found['to_do'])}"


def _ago(stamp: str) -> str:
    """How long ago a time of this machine's or another's clock was."""
    try:
        seconds = (datetime.now(UTC) - datetime.fromisoformat(stamp)).total_seconds()
    except ValueError:
        return "at an unknown time"
    return f"{timedelta(seconds=max(0, round(seconds)))} ago"
