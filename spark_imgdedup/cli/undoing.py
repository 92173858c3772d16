"""The command that brings removed samples back: `restore`."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spark_imgdedup.cli.options import AsJson, ConfigFile, Overrides
from spark_imgdedup.config import StepName, load_config
from spark_imgdedup.console import say, say_json
from spark_imgdedup.errors import without_credentials

if TYPE_CHECKING:
    from spark_imgdedup.report.summary import Summary
    from spark_imgdedup.runs.restore import Noted

app = typer.Typer()


@app.command()
def restore(  # noqa: PLR0913  # its options
    config: ConfigFile = None,
    set_: Overrides = None,
    ids: Annotated[
        list[str] | None, typer.Option("--ids", help="image_ids, with commas between them; repeatable")
    ] = None,
    ids_file: Annotated[
        str | None, typer.Option(help="A list of image_ids, in any form that remove.ids_path takes")
    ] = None,
    all_of: Annotated[
        str | None, typer.Option("--all-of", metavar="REASON", help="All that left for this reason of table removed")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring removed samples back, byte for byte: they are in the output again, and in that of every later run."""
    from spark_imgdedup.pipeline import run
    from spark_imgdedup.runs.plan import resolve_eps
    from spark_imgdedup.runs.restore import RestoreRequest, note_restored
    from spark_imgdedup.runs.tables import Tables

    loaded = load_config(config, set_ or ())
    tables = Tables(None, resolve_eps(loaded))
    noted = note_restored(tables, RestoreRequest(tuple(ids or ()), ids_file, all_of))
    steps: list[StepName] = ["remove", "report"] if "report" in loaded.steps else ["remove"]
    summary = run(loaded, tables.session, steps=steps)
    if as_json:
        say_json("restore", _as_json(noted, summary))
    else:
        say("\n".join(_lines(noted, summary)))


def _as_json(noted: Noted, summary: Summary) -> dict[str, Any]:
    return {
        "restored": sorted(noted.reasons),
        "restored_before": noted.n_before,
        "by_reason": dict(sorted(Counter(noted.reasons.values()).items())),
        "list": noted.place,
        "kept": summary.kept,
        "output": summary.output,
    }


def _lines(noted: Noted, summary: Summary) -> list[str]:
    reasons = ", ".join(f"{why} {n:,}" for why, n in sorted(Counter(noted.reasons.values()).items()))
    before = f"; {noted.n_before:,} were brought back before" if noted.n_before else ""
    place = without_credentials(noted.place)
    return [
        f"restored     {len(noted.reasons):,} samples{f' ({reasons})' if reasons else ''}{before}",
        f"kept         {summary.kept or 0:,} samples in {summary.output}",
        f"list         {place}: every later run of this work_dir keeps these samples. Take a line out of it to undo it",
        f"elsewhere    a run with another work_dir keeps them by --set remove.never={shlex.quote(place)}; there, what "
        "repeats one of them goes",
    ]
