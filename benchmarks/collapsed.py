"""Copies collapsed before the search: vectors that tasks read from their files, beside vectors that Spark joins.

    python benchmarks/collapsed.py [--images N ...] [--rounds 3]

A table `embeddings` of 1,280 float16 numbers in 24 files, of which 30 % of the rows are copies of others, in groups of
two to eight. Each way hands every vector that is left to a task, which looks at its bytes: what `cluster` does twice,
for its sample and for its blocks. `marks` is what reading by tasks pays before, once. In turns in one warm session;
medians of seconds of the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from steps import machine, write_result

from spark_imgdedup.config import parse_config
from spark_imgdedup.runs.tables import Tables
from spark_imgdedup.stages.detect import collapse_copies
from spark_imgdedup.stages.vectors.collapsed import mark_copies
from spark_imgdedup.stages.vectors.vector_column import VectorColumn, mark_vectors
from spark_imgdedup.stages.vectors.vector_files import FileSource, file_source
from spark_imgdedup.stages.vectors.vector_source import VectorSource, vector_source

DIM, FILES, ROWS_PER_GROUP = 1280, 24, 2_000
SHARE_COPIES = 0.3
SIZES = (2, 9)  # of groups


def ids_by_file(n: int) -> list[list[str]]:
    return [
        [f"shards/{file:05d}/{number:09d}" for number in numbers]
        for file, numbers in enumerate(np.array_split(np.arange(n), FILES))
    ]


def write_embeddings(folder: Path, n: int) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(n)
    pool = rng.standard_normal((4096, DIM)).astype("<f2")
    for file, ids in enumerate(ids_by_file(n)):
        rows = [row.tobytes() for row in pool[rng.integers(0, len(pool), len(ids))]]
        columns = {
            "image_id": ids,
            "embedding": pa.array(rows, pa.binary()),
            "rejected_because": pa.nulls(len(ids), pa.string()),
        }
        pq.write_table(pa.table(columns), folder / f"part-{file:05d}.parquet", row_group_size=ROWS_PER_GROUP)


def write_copies(file: Path, n: int) -> int:
    rng, ids = np.random.default_rng(n + 1), [id_ for ids in ids_by_file(n) for id_ in ids]
    drawn, pairs = rng.permutation(n).tolist(), []
    while len(pairs) < SHARE_COPIES * n:
        first, *others = (drawn.pop() for _ in range(rng.integers(*SIZES)))
        pairs += [(ids[other], ids[first]) for other in others]
    one, other = zip(*pairs, strict=True)
    pq.write_table(pa.table({"image_id": one, "max_id": other}), file)
    return len(pairs)


def lengths(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        n_bytes = sum(buffer.size for buffer in batch.column(1).buffers() if buffer)
        yield pa.RecordBatch.from_pydict({"n": [batch.num_rows], "bytes": [n_bytes]})


def passed(source: VectorSource) -> tuple[float, int]:
    start = time.perf_counter()
    rows = source.map(lengths, "n bigint, bytes bigint").collect()
    return time.perf_counter() - start, sum(row["n"] for row in rows)


def measured(tables: Tables, folder: Path, n: int) -> dict[str, float]:
    images = mark_vectors(tables.spark.read.parquet(str(folder / "embeddings")), "embedding", VectorColumn("float16"))
    copies = tables.spark.read.parquet(str(folder / "copies.parquet"))
    left = collapse_copies(images, copies)
    config = tables.config
    start = time.perf_counter()
    marks = mark_copies(images, copies, str(folder / "marks"), {})
    seconds = {"marks": time.perf_counter() - start}
    read = file_source(left, str(folder / "embeddings"), config, lambda: marks)
    assert isinstance(read, FileSource)
    counted = set()
    for way, source in (("from files", read), ("joined", vector_source(left, config))):
        seconds[way], n_rows = passed(source)
        counted.add(n_rows)
    assert len(counted) == 1
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[24_000, 200_000, 600_000])
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    sizes = []
    with tempfile.TemporaryDirectory() as name:
        sections = {"input": {"path": name}, "work_dir": f"{name}/work", "detect": {"prepass": ["exact"]}}
        tables = Tables(None, parse_config(sections | {"pairwise": {"which_to_keep": "hard"}}))
        for n in given.images:
            folder = Path(name) / str(n)
            write_embeddings(folder / "embeddings", n)
            n_copies = write_copies(folder / "copies.parquet", n)
            tables.expect_rows(n)
            rounds = [measured(tables, folder, n) for _ in range(given.rounds + 1)][1:]  # the first one starts workers
            seconds = {way: round(statistics.median(each[way] for each in rounds), 2) for way in rounds[0]}
            sizes.append({"images": n, "copies": n_copies, "seconds": seconds})
            print(sizes[-1], flush=True)
    result = {"sizes": sizes, "dim": DIM, "cores": os.cpu_count(), "machine": machine()}
    print(json.dumps(result, indent=1))
    write_result("collapsed", result)


if __name__ == "__main__":
    main()
