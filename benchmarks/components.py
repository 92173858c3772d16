"""Which way of finding what hangs together is faster: scipy in one task, or rounds of stars on all of the cluster?

The edges are those that a search leaves behind: trees of small groups, one crowd, chains. Both give the same labels.

    python benchmarks/components.py [--edges 100000 1000000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from steps import machine, write_result

from spark_imgdedup.config import Config
from spark_imgdedup.runs.session import get_session
from spark_imgdedup.stages.grouping.components import label_by_stars, label_in_one_task

CROWD_SHARE = 0.3
CHAIN = 1000


def edges_of(n_edges: int, seed: int = 0) -> pa.Table:
    """A crowd (a random tree), chains of CHAIN edges, and groups of two to six, under shuffled numbers."""
    rng = np.random.default_rng(seed)
    crowd = int(n_edges * CROWD_SHARE)
    child = np.arange(1, crowd + 1)
    pairs = [np.stack([child, (rng.random(crowd) * child).astype(np.int64)])]
    first, left = crowd + 1, n_edges - crowd
    for _ in range(max(1, left // (20 * CHAIN))):
        chain = np.arange(first, first + CHAIN)
        pairs.append(np.stack([chain, chain + 1]))
        first, left = first + CHAIN + 1, left - CHAIN
    while left > 0:
        sizes = rng.integers(1, 6, max(1, left // 3))
        heads = first + np.concatenate([[0], np.cumsum(sizes + 1)[:-1]])
        parent = np.repeat(heads, sizes)
        place = np.arange(len(parent)) - np.repeat(np.cumsum(sizes) - sizes, sizes) + 1
        pairs.append(np.stack([parent + place, parent])[:, :left])
        first, left = int(heads[-1] + 8), left - min(left, len(parent))
    one, other = np.concatenate(pairs, axis=1)
    names = rng.permutation(int(max(one.max(), other.max())) + 1)
    order = rng.permutation(len(one))
    return pa.table({"one": names[one[order]], "other": names[other[order]]})


def measure(spark, n_edges: int, rounds: int, folder: str) -> dict[str, object]:
    """Seconds of both ways, and whether they agree."""
    pq.write_table(edges_of(n_edges), f"{folder}/{n_edges}.parquet")
    edges = spark.read.parquet(f"{folder}/{n_edges}.parquet").repartition(4)
    n_stored = 0

    def store(df):
        nonlocal n_stored
        n_stored += 1
        place = f"{folder}/{n_edges}-{n_stored}"
        df.write.parquet(place)
        return spark.read.parquet(place)

    ways = {"scipy": label_in_one_task, "stars": lambda found: label_by_stars(found, store)}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    sums = {}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.monotonic()
            found = store(way(edges)).selectExpr("count(*)", "sum(hash(node, label, size))").collect()[0]
            seconds[name].append(round(time.monotonic() - start, 2))
            sums[name] = tuple(found)
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    return {"edges": n_edges, "seconds": seconds, "medians": medians, "agree": sums["scipy"] == sums["stars"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edges", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    spark = get_session(Config(spark={"spark.ui.enabled": "false"}))
    with tempfile.TemporaryDirectory() as folder:
        found = [measure(spark, n_edges, given.rounds, folder) for n_edges in given.edges]
    write_result("components", {"machine": machine(), "runs": found})


if __name__ == "__main__":
    main()
