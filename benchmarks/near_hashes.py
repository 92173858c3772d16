"""How `detect` grows: exact copies and near hashes among 24,000, 200,000 and 1,000,000 images.

    python benchmarks/near_hashes.py --work WORK_DIR [--images N ...]

Hashes are those of a finished run with `detect.phash_views: mirror`, drawn at random, with 2, 10 or 25 % of their bits
flipped (a fifth, three and five tenths of them), so that they crowd as those of real pictures do. Digests are distinct.
Seconds of the clock in one warm session, the median of three rounds; `linear` and `quadratic` are seconds of a core an
image and an image squared, by the two largest sizes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from steps import machine, write_result

from spark_imgdedup.config import parse_config
from spark_imgdedup.runs.tables import Tables
from spark_imgdedup.stages.detect import group_exact
from spark_imgdedup.stages.near_hashes import near_hashes

N_BITS, RADIUS = 64, 12
FLIPPED, SHARES = (0.02, 0.1, 0.25), (0.2, 0.3, 0.5)
ROUNDS = 3


def real_hashes(work: Path) -> tuple[np.ndarray, np.ndarray]:
    """Own hashes and those of the mirrored pictures, (N, 8) uint8 each."""
    columns = ["phash", "phash_views"]
    table = ds.dataset(work / "embeddings", exclude_invalid_files=True).to_table(
        columns, filter=ds.field("phash").is_valid()
    )
    own, views = (np.frombuffer(b"".join(table[name].to_pylist()), np.uint8).reshape(-1, 8) for name in columns)
    return own, views


def write_images(file: Path, n: int, own: np.ndarray, views: np.ndarray) -> None:
    rng = np.random.default_rng(n)
    place = rng.integers(0, len(own), n)
    flips = rng.random((n, N_BITS)) < rng.choice(FLIPPED, (n, 1), p=SHARES)
    ids = [f"image-{number:09d}" for number in range(n)]
    columns = {
        "image_id": ids,
        "sha256": [f"s{name}" for name in ids],
        "pixel_sha256": [f"p{name}" for name in ids],
        "phash": [row.tobytes() for row in own[place] ^ np.packbits(flips, axis=1)],
        "phash_views": [row.tobytes() for row in views[place] ^ np.packbits(flips[:, ::-1], axis=1)],
    }
    pq.write_table(pa.table(columns), file, row_group_size=50_000)


def seconds_of(df) -> float:
    start = time.perf_counter()
    df.write.format("noop").mode("overwrite").save()
    return time.perf_counter() - start


def measured(tables: Tables, file: Path, n: int) -> dict[str, float]:
    images = tables.spark.read.parquet(str(file))
    start = time.perf_counter()
    near = near_hashes(images, n_bits=N_BITS, radius=RADIUS, n_images=n)
    planned = time.perf_counter() - start
    return {"copies": seconds_of(group_exact(images, order=[("image_id", True)])), "near": planned + seconds_of(near)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--images", type=int, nargs="+", default=[24_000, 200_000, 1_000_000])
    arguments = parser.parse_args()
    own, views = real_hashes(arguments.work)
    sizes = []
    with tempfile.TemporaryDirectory() as name:
        tables = Tables(None, parse_config({"input": {"path": name}, "work_dir": f"{name}/work"}))
        for n in arguments.images:
            file = Path(name) / f"{n}.parquet"
            write_images(file, n, own, views)
            tables.expect_rows(n)
            rounds = [measured(tables, file, n) for _ in range(ROUNDS + 1)][1:]  # the first one starts workers
            seconds = {part: round(statistics.median(each[part] for each in rounds), 2) for part in ("copies", "near")}
            sizes.append({"images": n, "seconds": seconds})
            print(sizes[-1], flush=True)
    cores = os.cpu_count() or 1
    (n, first), (m, last) = ((size["images"], cores * sum(size["seconds"].values())) for size in sizes[-2:])
    quadratic = (last / m - first / n) / (m - n)
    fit = {"linear": first / n - quadratic * n, "quadratic": quadratic}
    result = {"sizes": sizes, "cores": cores, "of_a_core": fit, "hashes": len(own), "machine": machine()}
    print(json.dumps(result, indent=1))
    write_result("near_hashes", result)


if __name__ == "__main__":
    main()
