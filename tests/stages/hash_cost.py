"""What a search for near hashes has to do."""

from __future__ import annotations

from pyspark.sql import functions as F

from spark_imgdedup.kernels.bands import plan_bands
from spark_imgdedup.stages import detect
from spark_imgdedup.stages.detect import _distinct_hashes, _in_bands


def phash_cost(images, *, n_bits, radius):
    """Runs a Spark job that counts the members of each band and compares nothing.

    Gives n_hashes (distinct), n_bands, n_candidates (pairs to compare, once for each band they share; without bands it
    would be n_hashes ** 2 / 2), largest_band, n_split_bands (bands too large for one task).
    """
    plan = plan_bands(n_bits, radius)
    n = F.col("count")
    found = (
        _in_bands(_distinct_hashes(images, n_bits), plan, radius)
        .groupBy("band", "band_key")
        .count()
        .agg(
            F.sum(F.when(F.col("band") == 0, n)).alias("n_hashes"),
            F.sum((n * (n - 1) / 2).cast("bigint")).alias("n_candidates"),
            F.max(n).alias("largest_band"),
            F.count_if(n > detect.BAND_ROWS).alias("n_split_bands"),
        )
        .first()
    )
    counts = found.asDict() if found else {}
    return {"n_bands": len(plan.bands), **{name: value or 0 for name, value in counts.items()}}
