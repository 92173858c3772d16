"""The demo: the sample shards, deduplicated, and the result held against their recorded truth."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator
from pathlib import Path

from spark_imgdedup.config import Config, InputConfig, OutputConfig
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.pipeline import run
from spark_imgdedup.report.truth import score_run
from spark_imgdedup.runs.tables import Tables


def sample_shards() -> Path:
    """The sample shards: in an installed package its own copy, in a checkout examples/shards.

    Raises:
        ConfigError: they are in neither place.
    """
    package = Path(str(importlib.resources.files("spark_imgdedup")))
    for folder in (package / "_sample_shards", package.parent / "examples" / "shards"):
        if (folder / "truth.csv").exists():
            return folder
    raise ConfigError(f"no sample shards beside {package}. Install the wheel again, or run from a checkout.")


def demo_config(out: Path) -> Config:
    """The defaults, from the sample shards to `out`."""
    return Config(
        input=InputConfig(path=str(sample_shards())),
        work_dir=str(out / "work"),
        output=OutputConfig(path=str(out / "deduplicated")),
    )


def run_demo(out: Path, *, force: bool = False) -> Iterator[str]:
    """Run the flow and give the lines to print."""
    config = demo_config(out)
    summary = run(config, force=force)
    score = list(_score(Tables(None, config)))  # may start Spark, whose words would come between the lines
    yield from ["", *summary.lines(), "", *score]


def _score(tables: Tables) -> Iterator[str]:
    links = {row["image_id"]: row["max_id"] for row in tables.read("duplicates").collect()}
    removed = {row["image_id"]: links.get(row["image_id"]) for row in tables.read("removed").collect()}
    unusable = tables.read("embeddings").where("rejected_because is not null").select("image_id").collect()
    yield from score_run(sample_shards() / "truth.csv", removed, {row["image_id"] for row in unusable}).lines()
