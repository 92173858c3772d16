"""The command line: `spark-imgdedup <command> --config FILE [--set section.key=value]…`, shared by all jobs."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from spark_imgdedup.config import STEP, STEP_NAMES, Config, StepName, defaults_as_yaml, load_config
from spark_imgdedup.errors import ConfigError, ImgDedupError

if TYPE_CHECKING:
    from spark_imgdedup.report.summary import Summary

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
log = logging.getLogger(__name__)

ConfigFile = Annotated[
    str | None, typer.Option("--config", "-c", help="YAML file that states what differs from the defaults, see conf/")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="One setting on top of the file; repeatable"),
]
Force = Annotated[bool, typer.Option("--force", help="Run a step again although its settings and inputs are unchanged")]

# eps levels that `eps` prints unless told otherwise.
EPS_LEVELS = (
    *(0.0, 0.001, 0.002, 0.003, 0.005, 0.007, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.1),
    *(0.12, 0.14, 0.16, 0.18, 0.2, 0.22, 0.24, 0.26, 0.28, 0.3, 0.35, 0.4),
)


@app.command()
def run(config: ConfigFile = None, set_: Overrides = None, force: Force = False) -> None:
    """Every step, in the order of the data."""
    _run_steps(load_config(config, set_ or ()), None, force)


@app.command("dedup-embeddings")
def dedup_embeddings(config: ConfigFile = None, set_: Overrides = None, force: Force = False) -> None:
    """Every step after embed, on vectors of your own (video clips, audio, …): needs cluster.embeddings_path."""
    loaded = load_config(config, set_ or ())
    if not loaded.own_embeddings:
        raise ConfigError(
            "cluster.embeddings_path is not set. Name the table of your vectors, e.g. --set "
            "cluster.embeddings_path=clips/ce1_embd_parquet; for images use run."
        )
    _run_steps(loaded, None, force)


def _add_step(name: StepName) -> None:
    """A command that takes one step; the others' tables are taken as they are."""

    @app.command(name, help=STEP[name].purpose)
    def step(config: ConfigFile = None, set_: Overrides = None, force: Force = False) -> None:
        _run_steps(load_config(config, set_ or ()), [name], force)


for step_name in STEP_NAMES:
    if step_name != "report":
        _add_step(step_name)


@app.command()
def report(
    config: ConfigFile = None,
    set_: Overrides = None,
    details: Annotated[bool, typer.Option("--details", help="Print the breakdowns of report.json as tables")] = False,
) -> None:
    """Print what the steps so far have counted, and write report.json."""
    summary = _run_steps(load_config(config, set_ or ()), ["report"], False)
    if details:
        from spark_imgdedup.report.details import print_details

        print_details(summary.breakdowns, Console())


@app.command()
def sample(  # noqa: PLR0913  # its options
    to: Annotated[str, typer.Option(help="Folder for the images, pairs.csv and contact-sheet.png")],
    config: ConfigFile = None,
    set_: Overrides = None,
    n: Annotated[int, typer.Option("--n", min=1, help="How many pairs")] = 50,
    seed: Annotated[int, typer.Option(help="Another seed draws other pairs")] = 0,
    min_score: Annotated[float | None, typer.Option(help="Only pairs whose cosine_sim_score is at least this")] = None,
    max_score: Annotated[float | None, typer.Option(help="Only pairs whose cosine_sim_score is at most this")] = None,
    lowest: Annotated[bool, typer.Option("--lowest", help="The pairs with the lowest scores, instead of any")] = False,
) -> None:
    """Export removed duplicates beside the images they repeat, for you to look at; needs duplicates."""
    from spark_imgdedup.report.sample import SampleRequest, export_sample
    from spark_imgdedup.runs.tables import Tables

    request = SampleRequest(to, n, seed, min_score, max_score, lowest)
    for line in export_sample(Tables(None, load_config(config, set_ or ())), request):
        typer.echo(line)


@app.command()
def eps(
    config: ConfigFile = None,
    set_: Overrides = None,
    levels: Annotated[
        str | None, typer.Option(help="Comma-separated eps values; by default some twenty from 0 on, and your own")
    ] = None,
    pairs: Annotated[int, typer.Option(min=0, help="Pairs to show of those that are new at each eps")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print the same as JSON")] = False,
) -> None:
    """Print what each eps would remove by the rule of the run, the spread of the scores, and pairs; needs pairwise."""
    from spark_imgdedup.report.eps_table import own_level, print_survey, survey_as_json, survey_run
    from spark_imgdedup.runs.tables import Tables

    numbers = _parse_levels(levels)
    loaded = load_config(config, set_ or ())
    tables = Tables(None, loaded)
    tables.read("similarities")
    marks = own_level(tables, loaded)
    survey = survey_run(tables, loaded, numbers, [] if levels else list(marks), n_pairs=pairs)
    if as_json:
        typer.echo(survey_as_json(survey, marks))
    else:
        print_survey(survey, marks, Console())


@app.command()
def export(
    to: Annotated[str, typer.Option(help="Folder of the Parquet files to write")],
    config: ConfigFile = None,
    set_: Overrides = None,
) -> None:
    """Write the embeddings as (image_id string, embedding list<float>) Parquet, as other tools read them."""
    from spark_imgdedup.files import storage
    from spark_imgdedup.runs.tables import Tables
    from spark_imgdedup.stages.embed import export_embeddings
    from spark_imgdedup.stages.object_stores import jvm_path

    loaded = load_config(config, set_ or ())
    if storage.exists(to, loaded.storage_options):
        raise ConfigError(f"--to {to} exists already. Name a folder that does not: nothing is overwritten.")
    tables = Tables(None, loaded)
    exported = export_embeddings(tables.read("embeddings"))
    exported.write.parquet(jvm_path(tables.spark, to, loaded.storage_options))
    typer.echo(f"wrote {to}")


@app.command("fetch-model")
def fetch_model(config: ConfigFile = None, set_: Overrides = None) -> None:
    """Download the weights of embed.model into embed.model_dir, for clusters without internet."""
    from spark_imgdedup import models

    loaded = load_config(config, set_ or ())
    if loaded.embed.model_dir is None:
        raise ConfigError(
            "embed.model_dir is not set. Name the folder for the weights, e.g. --set embed.model_dir=models"
        )
    for path in models.fetch_model(loaded.embed.model, loaded.embed.model_dir):
        typer.echo(str(path))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the tables and the deduplicated shards")] = Path(
        "spark-imgdedup-demo"
    ),
    force: Force = False,
) -> None:
    """Deduplicate the sample shards that come with the package, and score the result against the recorded truth."""
    from spark_imgdedup.demo import run_demo

    for line in run_demo(out, force=force):
        typer.echo(line)


@app.command()
def doctor(
    config: ConfigFile = None,
    set_: Overrides = None,
    no_spark: Annotated[
        bool, typer.Option("--no-spark", help="Start no Spark: look for libraries here instead of on a worker")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the same as JSON")] = False,
) -> None:
    """Check what the settings need: Java, Spark, libraries, GPUs, storage. Exit code 1 where some of it is missing."""
    from spark_imgdedup import doctor as doctors

    checks = doctors.examine(load_config(config, set_ or ()), with_spark=not no_spark)
    if as_json:
        typer.echo(doctors.as_json(checks))
    else:
        doctors.print_checks(checks, Console())
    if not doctors.is_healthy(checks):
        raise typer.Exit(1)


@app.command("config")
def show_config() -> None:
    """Print every setting with its default and meaning, as YAML."""
    typer.echo(defaults_as_yaml())


def _parse_levels(levels: str | None) -> Sequence[float]:
    numbers: Sequence[float]
    try:
        numbers = [float(level) for level in levels.split(",")] if levels else EPS_LEVELS
    except ValueError:
        numbers = ()
    if not numbers or not all(0 <= number < 1 for number in numbers):
        raise ConfigError(f"--levels needs numbers in [0, 1) such as 0.01,0.05, got '{levels}'.")
    return numbers


def _run_steps(config: Config, steps: Sequence[StepName] | None, force: bool) -> Summary:
    from spark_imgdedup.pipeline import run as run_pipeline

    summary = run_pipeline(config, steps=steps, force=force)
    if steps is None or "report" in steps:
        typer.echo("\n".join(summary.lines()))
    return summary


def run_job(command: str) -> None:
    """What a file in jobs/ does: the command of that name, with the arguments that spark-submit passes on."""
    main([command, *sys.argv[1:]])


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script: exit code 1 and one line if the user can mend the cause, a traceback if it is our bug.

    Returns where all went well: to Databricks a SystemExit is a failure, whatever its code.
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    logging.getLogger("spark_imgdedup").setLevel(logging.INFO)
    _guarded(lambda: app(args=list(arguments) if arguments is not None else None))


def _guarded(call: Callable[[], object]) -> None:
    try:
        call()
    except SystemExit as ended:
        if ended.code:
            raise
    except ImgDedupError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except Exception as error:
        from spark_imgdedup.runs.object_stores import store_problem

        line = worker_error(error) or store_problem(error)
        if line is None:
            raise
        sys.exit(line)


def worker_error(error: Exception) -> str | None:
    """The line of an ImgDedupError that was raised in a Spark worker and came back inside a traceback."""
    found = re.findall(r"^(?:spark_imgdedup\.errors\.)(\w+Error): (.+)$", str(error), re.MULTILINE)
    return f"{found[-1][0]}: {found[-1][1]}" if found else None
