"""Commands around a run: what it needs, its settings, the demo, and what other tools take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from spark_imgdedup.cli.options import AsJson, ConfigFile, Force, Overrides
from spark_imgdedup.config import defaults_as_yaml, describe, load_config, parse_config
from spark_imgdedup.config.load import in_effect_as_yaml, read_settings
from spark_imgdedup.console import GATE_FAILED, Ended, say, say_json
from spark_imgdedup.errors import ConfigError

app = typer.Typer()


@app.command()
def export(
    to: Annotated[str, typer.Option(help="Folder of the Parquet files to write")],
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Write the embeddings as (image_id string, embedding list<float>) Parquet, as other tools read them."""
    from spark_imgdedup.files import storage
    from spark_imgdedup.runs.progress import progress_of
    from spark_imgdedup.runs.tables import Tables
    from spark_imgdedup.stages.embed import export_embeddings
    from spark_imgdedup.stages.object_stores import jvm_path

    loaded = load_config(config, set_ or ())
    if storage.exists(to, loaded.storage_options):
        raise ConfigError(f"--to {to} exists already. Name a folder that does not: nothing is overwritten.")
    tables = Tables(None, loaded)
    with progress_of(tables, "export", "Write the embeddings as other tools read them"):
        exported = export_embeddings(tables.read("embeddings"))
        try:
            exported.write.parquet(jvm_path(tables.spark, to, loaded.storage_options))
        except BaseException:
            storage.delete(to, loaded.storage_options)  # half of it would stand in the way of the next try
            raise
    if as_json:
        say_json("export", {"to": to})
    else:
        say(f"wrote {to}")


@app.command("fetch-model")
def fetch_model(config: ConfigFile = None, set_: Overrides = None, as_json: AsJson = False) -> None:
    """Download the weights of embed.model into embed.model_dir, for clusters without internet."""
    from spark_imgdedup import models

    loaded = load_config(config, set_ or ())
    if loaded.embed.model_dir is None:
        raise ConfigError(
            "embed.model_dir is not set. Name the folder for the weights, e.g. --set embed.model_dir=models"
        )
    files = [str(path) for path in models.fetch_model(loaded.embed.model, loaded.embed.model_dir)]
    if as_json:
        say_json("fetch-model", {"files": files})
    elif files:
        say("\n".join(files))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the tables and the deduplicated shards")] = Path(
        "spark-imgdedup-demo"
    ),
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Deduplicate the sample shards that come with the package, and score the result against the recorded truth."""
    from spark_imgdedup.demo import run_demo

    lines = list(run_demo(out, force=force))
    if as_json:
        say_json("demo", {"out": str(out), "lines": lines})
    else:
        say("\n".join(lines))


@app.command()
def doctor(
    config: ConfigFile = None,
    set_: Overrides = None,
    no_spark: Annotated[
        bool, typer.Option("--no-spark", help="Start no Spark: look for libraries here instead of on a worker")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say whether run would start, and what is missing: Java, Spark, libraries, model, places (exit code 1 then)."""
    from spark_imgdedup import checkup

    checks = checkup.examine(load_config(config, set_ or ()), with_spark=not no_spark)
    if as_json:
        say_json("doctor", checkup.as_json(checks))
    else:
        checkup.print_checks(checks, Console())
    if missing := checkup.missing(checks):
        raise Ended(f"needed and missing: {', '.join(missing)}", GATE_FAILED)


@app.command("config")
def show_config(config: ConfigFile = None, set_: Overrides = None, as_json: AsJson = False) -> None:
    """Print every setting with its default and meaning, as YAML; with --config or --set, what is in effect and why."""
    if config is None and not set_:
        settings = [{"name": name, "default": default, "meaning": meaning} for name, default, meaning in describe()]
        if as_json:
            say_json("config", {"settings": settings})
        else:
            typer.echo(defaults_as_yaml())
        return
    from spark_imgdedup.runs.plan import resolve_eps, resolve_format

    given = read_settings(config, set_ or ())
    loaded = resolve_eps(resolve_format(parse_config(given.settings, given.to_blame)))
    if as_json:
        say_json("config", {"settings": loaded.model_dump(mode="json"), "origins": given.origins})
    else:
        say(in_effect_as_yaml(loaded, given))
