"""A Delta table of small pictures, some of which repeat others, and the settings of a run on it."""

from __future__ import annotations

from deltalake import DeltaTable

from spark_imgdedup.config import parse_config
from spark_imgdedup.stages.local_rows import local_rows
from tests.flow.tiny import STEPS
from tests.tars import jpeg

SCHEMA = "image_id string, image binary, note string"


def rows(seeds, first=0):
    """A row for each seed; pictures of one seed are the same."""
    return [(f"p{first + place}", jpeg(seed), f"note {first + place}") for place, seed in enumerate(seeds)]


def add(spark, path, seeds, first=0):
    """Append pictures to the table, which is made if it is not there."""
    frame = local_rows(spark, rows(seeds, first), SCHEMA).coalesce(1)
    frame.write.format("delta").mode("append").save(str(path))


def config_for(folder, **sections):
    """A run on folder/photos with a toy encoder, for which pictures of one seed are duplicates."""
    ours = {
        "input": {"path": str(folder / "photos"), "format": "table"},
        "work_dir": str(folder / "work"),
        "embed": {"model": "tests.encoders:ColourEncoder"},
        "cluster": {"n_clusters": 1},
        "identify": {"eps": 0.01},
        "steps": STEPS,
    }
    for name, section in sections.items():
        ours[name] = ours.get(name, {}) | section if isinstance(section, dict) else section
    return parse_config(ours)


def ids(path):
    """What another reader than Spark finds in the table."""
    return sorted(DeltaTable(str(path)).to_pyarrow_table(columns=["image_id"])["image_id"].to_pylist())


def version(path):
    return DeltaTable(str(path)).version()
