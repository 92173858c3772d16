"""Which samples stay in the dataset whatever speaks against them: those of remove.never, and those brought back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_imgdedup.config import Config
from spark_imgdedup.files import storage
from spark_imgdedup.files.owning.restored import ID_FIELD, find_list, list_place
from spark_imgdedup.runs.people import never_ids
from spark_imgdedup.stages.remove import match_column, select_ids
from spark_imgdedup.stages.user_input.id_lists import read_ids

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from spark_imgdedup.runs.tables import Tables


def brought_back(tables: Tables, config: Config) -> DataFrame | None:
    """The distinct image_ids that `restore` has listed; None where there are none."""
    if find_list(config) is None:
        return None
    place = storage.canonical(list_place(config))
    return select_ids(read_ids(tables.spark, [place], ID_FIELD, config.storage_options), "image_id")


def staying_samples(samples: DataFrame, tables: Tables, config: Config) -> DataFrame | None:
    """The distinct image_ids of samples that must stay; None where no list says so.

    Args:
        samples: image_id of each, and match_id if that is what the ids of the user's lists are.
        tables: Of the run.
        config: Its settings.
    """
    from pyspark.sql import functions as F

    back, never = brought_back(tables, config), never_ids(tables, config)
    if never is None:
        return back
    listed = never.select(F.col("image_id").alias("_never"))
    named = samples.join(listed, F.col(match_column(samples)) == F.col("_never"), "left_semi").select("image_id")
    return named if back is None else named.unionByName(back).distinct()


def leave_staying(
    leaving: DataFrame, samples: DataFrame, tables: Tables, config: Config
) -> tuple[DataFrame, DataFrame | None]:
    """The rows of `leaving` that go, and those that stay all the same; None where no list says so.

    Args:
        leaving: From `mark_removals`.
        samples: What that was made of.
        tables: Of the run.
        config: Its settings.
    """
    staying = staying_samples(samples, tables, config)
    if staying is None:
        return leaving, None
    return leaving.join(staying, "image_id", "left_anti"), leaving.join(staying, "image_id", "left_semi")
