"""The command line: `spark-imgdedup <command> --config FILE [--set section.key=value]…`, shared by all jobs."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.table import Table

from spark_imgdedup import config as settings
from spark_imgdedup.config import Config, StepName, load_config
from spark_imgdedup.errors import ConfigError, ImgDedupError

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

ConfigFile = Annotated[
    str | None, typer.Option("--config", "-c", help="YAML file that states what differs from the defaults, see conf/")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="One setting on top of the file; repeatable"),
]
Force = Annotated[bool, typer.Option("--force", help="Run a step again although its settings and inputs are unchanged")]

# eps levels that `eps` prints unless told otherwise.
EPS_LEVELS = (0.0, 0.001, 0.003, 0.01, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)


@app.command()
def run(config: ConfigFile = None, set_: Overrides = None, force: Force = False) -> None:
    """Every step, in the order of the data."""
    _run_steps(load_config(config, set_ or ()), None, force)


@app.command()
def embed(config: ConfigFile = None, set_: Overrides = None, force: Force = False) -> None:
    """Decode every image of the input and give it an embedding."""
    _run_steps(load_config(config, set_ or ()), ["embed"], force)


@app.command()
def cluster(config: ConfigFile = None, set_: Overrides = None, force: Force = False) -> None:
    """Group similar images, so that only images of one group need comparing."""
    _run_steps(load_config(config, set_ or ()), ["cluster"], force)


@app.command()
def pairwise(config: ConfigFile = None, set_: Overrides = None, force: Force = False) -> None:
    """Find the better-ranked image that each image resembles most."""
    _run_steps(load_config(config, set_ or ()), ["pairwise"], force)


@app.command()
def identify(config: ConfigFile = None, set_: Overrides = None, force: Force = False) -> None:
    """Call an image a duplicate when it resembles a better-ranked one closely enough."""
    _run_steps(load_config(config, set_ or ()), ["identify"], force)


@app.command()
def remove(config: ConfigFile = None, set_: Overrides = None, force: Force = False) -> None:
    """Copy the dataset without what identify, a filter or a list of ids names."""
    _run_steps(load_config(config, set_ or ()), ["remove"], force)


@app.command()
def report(config: ConfigFile = None, set_: Overrides = None) -> None:
    """Print what the steps so far have counted, and write report.json."""
    _run_steps(load_config(config, set_ or ()), ["report"], False)


@app.command()
def eps(
    config: ConfigFile = None,
    set_: Overrides = None,
    levels: Annotated[
        str | None, typer.Option(help="Comma-separated eps values; by default a dozen from 0 to 0.4")
    ] = None,
) -> None:
    """Print how many rows each eps would remove; needs similarities (identify.eps: null stops there)."""
    from spark_imgdedup.runs.tables import Tables
    from spark_imgdedup.stages.identify import count_by_eps

    numbers = _parse_levels(levels)
    loaded = load_config(config, set_ or ())
    similarities = Tables(None, loaded).read("similarities")
    n_rows = similarities.count()
    table = Table("eps", "cosine_sim_score from", "rows removed", "share", box=None)
    for level, n in count_by_eps(similarities, numbers, loaded):
        table.add_row(f"{level:g}", f"{1 - level:.6g}", f"{n:,}", f"{n / max(n_rows, 1):.2%}")
    console = Console()
    console.print(f"{n_rows:,} rows were compared. A larger eps removes more.")
    console.print(table)


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

    loaded = load_config(config, set_ or ())
    if storage.exists(to):
        raise ConfigError(f"--to {to} exists already. Name a folder that does not: nothing is overwritten.")
    exported = export_embeddings(Tables(None, loaded).read("embeddings"))
    exported.write.parquet(storage.spark_path(to))
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


@app.command("config")
def show_config() -> None:
    """Print every setting with its default and meaning, as YAML."""
    typer.echo(config_as_yaml())


def config_as_yaml() -> str:
    """The defaults with their meanings as comments: a file to start from."""
    lines: list[str] = []
    section = ""
    for name, default, meaning in settings.describe():
        head, _, key = name.rpartition(".")
        if head != section:
            lines += ["", f"{head}:"] if head else [""]
            section = head
        indent = "  " if head else ""
        value = yaml.safe_dump(_plain(default), default_flow_style=True, width=1000).removesuffix("...\n").strip()
        lines += [f"{indent}# {meaning}", f"{indent}{key}: {value}"]
    return "\n".join(lines).strip()


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _parse_levels(levels: str | None) -> Sequence[float]:
    numbers: Sequence[float]
    try:
        numbers = [float(level) for level in levels.split(",")] if levels else EPS_LEVELS
    except ValueError:
        numbers = ()
    if not numbers or not all(0 <= number < 1 for number in numbers):
        raise ConfigError(f"--levels needs numbers in [0, 1) such as 0.01,0.05, got '{levels}'.")
    return numbers


def _run_steps(config: Config, steps: Sequence[StepName] | None, force: bool) -> None:
    from spark_imgdedup.pipeline import run as run_pipeline

    summary = run_pipeline(config, steps=steps, force=force)
    if steps is None or "report" in steps:
        typer.echo("\n".join(summary.lines()))


def run_job(command: str) -> None:
    """What a file in jobs/ does: the command of that name, with the arguments that spark-submit passes on."""
    main([command, *sys.argv[1:]])


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script: exit code 1 and one line if the user can mend the cause, a traceback if it is our bug."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    logging.getLogger("spark_imgdedup").setLevel(logging.INFO)
    _guarded(lambda: app(args=list(arguments) if arguments is not None else None))


def _guarded(call: Callable[[], object]) -> None:
    try:
        call()
    except ImgDedupError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except Exception as error:
        line = worker_error(error)
        if line is None:
            raise
        sys.exit(line)


def worker_error(error: Exception) -> str | None:
    """The line of an ImgDedupError that was raised in a Spark worker and came back inside a traceback."""
    found = re.findall(r"^(?:spark_imgdedup\.errors\.)(\w+Error): (.+)$", str(error), re.MULTILINE)
    return f"{found[-1][0]}: {found[-1][1]}" if found else None
