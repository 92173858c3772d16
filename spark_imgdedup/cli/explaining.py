"""The command that says why: `explain`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from spark_imgdedup.cli.options import AsJson, ConfigFile, Overrides
from spark_imgdedup.config import load_config
from spark_imgdedup.console import say, say_json

app = typer.Typer()


@app.command()
def explain(  # noqa: PLR0913  # its options
    image: Annotated[str, typer.Argument(metavar="ID", help="An image_id, or the end of one that is unique")],
    other: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Another: why are these two (not) a pair?")
    ] = None,
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: AsJson = False,
    html: Annotated[str | None, typer.Option("--html", metavar="FILE", help="Write a page with both pictures")] = None,
) -> None:
    """Say why an image went or stayed, or why two are (not) a pair: the checks, their numbers, the verdict."""
    from spark_imgdedup.files import writing
    from spark_imgdedup.report.explain.ask import build_explanation, print_explanation
    from spark_imgdedup.report.explain.ask import explain as explain_images
    from spark_imgdedup.runs.progress import progress_of
    from spark_imgdedup.runs.tables import Tables

    loaded = load_config(config, set_ or ())
    tables = Tables(None, loaded)
    with progress_of(tables, "explain", "Look up what the run knows of these images"):
        found = explain_images(tables, [image] if other is None else [image, other])
        page = None if html is None else build_explanation(tables, found)
    if html is not None and page is not None:
        writing.write_bytes(html, page.encode(), loaded.storage_options)
    if as_json:
        say_json("explain", found.as_json())
        return
    print_explanation(found, Console())
    if html is not None:
        say(f"wrote {html}")
