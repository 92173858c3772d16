"""Which image a user means: by its id, or by the end of it that is unique. Reads columns of names alone."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from spark_imgdedup.config import Config
from spark_imgdedup.errors import ConfigError, SchemaError
from spark_imgdedup.runs.tables import WRITTEN_BY, Tables
from spark_imgdedup.stages.columns import quoted
from spark_imgdedup.stages.vectors.own_embeddings import open_embeddings

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

# Tables with a row for every image, the first that there is.
_WITH_ALL = ("embeddings", "hashes", "scored", "clusters", "index")
# Ids named where several or none fit.
_NAMED = 3


def find_image(tables: Tables, config: Config, wanted: str) -> str:
    """The id of the image that a text names: the id itself, its end after a slash, its key, or a file's name.

    Raises:
        ConfigError: several images fit, or none does.
        SchemaError: no step has run that knows the images.
    """
    names = _names(tables, config)
    for condition in _ways(names, wanted):
        found = [row["image_id"] for row in names.where(condition).orderBy("image_id").limit(_NAMED + 1).collect()]
        if len(found) == 1:
            return str(found[0])
        if found:
            n = names.where(condition).count()
            more = " …" if n > _NAMED else ""
            raise ConfigError(
                f"'{wanted}': {n:,} images end in that: {', '.join(found[:_NAMED])}{more}. Give more of the id."
            )
    raise ConfigError(f"'{wanted}': no image of this run has that id. {_near(names, wanted)}")


def _names(tables: Tables, config: Config) -> DataFrame:
    """image_id, and key where it is known, of every image."""
    from pyspark.sql import functions as F

    if config.own_embeddings and not tables.has("clusters"):
        rows = open_embeddings(tables.spark, str(config.cluster.embeddings_path), config)[1]
        return rows.select(F.col(quoted(config.id_column)).cast("string").alias("image_id"))
    known = [name for name in _WITH_ALL if not config.own_embeddings or name in ("scored", "clusters")]
    name = next((each for each in known if each in WRITTEN_BY and tables.has(each)), None)
    if name is None:
        raise SchemaError(
            f"{config.work_dir}: no step has looked at the images yet. Run spark-imgdedup run --config … first."
        )
    rows = tables.read(name)
    if "key" in rows.columns:
        rows = rows.where("key is not null")
    own = config.id_column if name in ("scored", "clusters") else "image_id"
    places = [each for each in ("shard", "key") if each in rows.columns]
    return rows.select(F.col(quoted(own)).cast("string").alias("image_id"), *places)


def _ways(names: DataFrame, wanted: str) -> list[Column]:
    """What a text may be, the most exact first."""
    from pyspark.sql import functions as F

    image_id = F.col("image_id")
    stem = posixpath.splitext(wanted)[0]
    ways = [image_id == wanted, image_id.endswith(f"/{wanted}")]
    if "key" in names.columns:
        placed = F.concat_ws("/", "shard", "key")
        ways += [(F.col("key") == wanted) | (placed == wanted), placed.endswith(f"/{wanted}")]
        if stem != wanted:  # a file within a shard
            ways += [(F.col("key") == stem) | (placed == stem), placed.endswith(f"/{stem}")]
    elif stem != wanted:
        ways += [image_id == stem, image_id.endswith(f"/{stem}")]
    return ways


def _near(names: DataFrame, wanted: str) -> str:
    from pyspark.sql import functions as F

    distance = F.levenshtein(F.substring("image_id", -100, 100), F.lit(wanted[-100:]))
    rows = names.select("image_id").orderBy(distance, "image_id").limit(_NAMED).collect()
    return f"The most similar ids are {', '.join(str(row['image_id']) for row in rows)}." if rows else "It has none."
