"""Commands for judging pairs: `review`, which asks, and `review import`, which takes the answers in."""

from __future__ import annotations

from typing import Annotated

import typer

from spark_imgdedup.cli.options import AsJson, ConfigFile, Overrides
from spark_imgdedup.config import load_config
from spark_imgdedup.console import say, say_json
from spark_imgdedup.errors import ConfigError

app = typer.Typer()
review_app = typer.Typer()
app.add_typer(review_app, name="review")


@review_app.callback(invoke_without_command=True)
def review(  # noqa: PLR0913  # its options
    context: typer.Context,
    to: Annotated[str | None, typer.Option(help="Folder, or .html file, for the page of questions")] = None,
    config: ConfigFile = None,
    set_: Overrides = None,
    n: Annotated[int, typer.Option("--n", min=1, help="How many pairs, at most")] = 200,
    seed: Annotated[int, typer.Option(help="Another seed draws other pairs")] = 0,
    as_json: AsJson = False,
) -> None:
    """Write a page of pairs to judge blind, on both sides of eps; needs pairwise. `import` takes the decisions in."""
    if context.invoked_subcommand is not None:
        if to is not None or config is not None or set_:
            raise ConfigError(
                "review import: its options stand after it: spark-imgdedup review import FILE --config …. --to is not "
                "one of them."
            )
        return
    if to is None:
        raise ConfigError("review: --to is not set. Name a folder for the page, such as --to review.")
    from spark_imgdedup.report.review.write import ReviewRequest, write_review
    from spark_imgdedup.runs.progress import progress_of
    from spark_imgdedup.runs.tables import Tables

    request, tables = ReviewRequest(to, n, seed), Tables(None, load_config(config, set_ or ()))
    with progress_of(tables, "review", "Draw pairs on both sides of eps"):
        lines = write_review(tables, request)
    if as_json:
        say_json("review", {"file": request.file, "lines": lines})
    else:
        say("\n".join(lines))


@review_app.command("import")
def import_decisions(
    file: Annotated[str, typer.Argument(metavar="FILE", help="What the page has given: lines of JSON")],
    config: ConfigFile = None,
    set_: Overrides = None,
    min_precision: Annotated[float, typer.Option(help="Print the largest eps whose interval lies above this")] = 0.95,
    as_json: AsJson = False,
) -> None:
    """Take decisions in, and print what they say: the precision of the run, and the largest eps that is good enough."""
    from spark_imgdedup.report.review.take_in import take_in

    found = take_in(load_config(config, set_ or ()), file, min_precision=min_precision)
    if as_json:
        say_json("review import", found.as_json())
        return
    for line in found.lines():
        say(line)
