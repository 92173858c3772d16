"""Whether Spark compiles its plans, in a local session that we start.

For few rows the compiling takes longer than all else: interpreted, a run of 290 images takes 57 s in place of 62, the
dedup half of 300,000 vectors the same 39 s, and exact copies among 1,000,000 rows 28 s in place of 15 (two slow cores).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# From here on plans are compiled. What is lost at a million rows and won at few meet at 200,000.
MANY_ROWS = 100_000

_OURS = "spark.imgdedup.plans"
_INTERPRETED = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    _OURS: "interpreted",
}


def interpreted(chosen: Mapping[str, str]) -> dict[str, str]:
    """Settings of a new session whose plans are interpreted; none where the user chose one of these."""
    return {} if _INTERPRETED.keys() & chosen.keys() else dict(_INTERPRETED)


def is_interpreted(spark: SparkSession) -> bool:
    """Whether a session has these settings from us still."""
    return spark.conf.get(_OURS, None) is not None


def compile_for(spark: SparkSession, n_rows: int) -> None:
    """Compile from now on if a table has many rows. A session whose settings are not ours stays as it is."""
    if n_rows >= MANY_ROWS and is_interpreted(spark):
        for key in _INTERPRETED:
            spark.conf.unset(key)  # back to Spark's defaults
