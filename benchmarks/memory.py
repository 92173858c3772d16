"""Peak memory of the Python worker while it reads and embeds one large shard.

Makes a shard of noisy pictures that weigh as much as photographs of their size do, runs the embed step on it in one
task, and samples the worker's resident memory.

    python benchmarks/memory.py [--gigabytes 2]
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path

os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from PIL import Image

from spark_imgdedup.config import Config, EmbedConfig, InputConfig

RESULTS = Path(__file__).parent / "results"
LIMIT_BYTES = 1.5e9


def make_shard(path: Path, n_bytes: float, side: int) -> int:
    """A tar of JPEGs of side x side pixels (0.5 to 1 MB each), of about n_bytes; gives the number of images."""
    rng = np.random.default_rng(0)
    gradient = np.linspace(0, 255, side, dtype=np.float32)
    pictures = []
    for _ in range(8):
        noise = rng.normal(0, 24, (side, side, 3)).astype(np.float32)
        pixels = gradient[:, None, None] * rng.random(3, dtype=np.float32) + noise
        buffer = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
        pictures.append(buffer.getvalue())
    n = 0
    with tarfile.open(path, "w") as tar:
        while path.stat().st_size < n_bytes:
            data = pictures[n % len(pictures)]
            info = tarfile.TarInfo(f"{n:06d}.jpg")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
            tar.fileobj.flush()
            n += 1
    return n


def worker_memory(parent: int) -> tuple[int, int]:
    """(workers, bytes resident in the largest of them): Python processes below `parent`, by /proc."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = [], [parent]
    while waiting:
        for child in children.get(waiting.pop(), []):
            waiting.append(child)
            try:
                if b"pyspark" in (Path("/proc") / str(child) / "cmdline").read_bytes():
                    status = (Path("/proc") / str(child) / "status").read_text()
                    rss = next((line for line in status.splitlines() if line.startswith("VmRSS")), "VmRSS: 0 kB")
                    name = next(line for line in status.splitlines() if line.startswith("Name"))
                    if "java" not in name:
                        found.append(int(rss.split()[1]) * 1024)
            except OSError:
                continue
    return len(found), max(found, default=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--side", type=int, default=1024)
    arguments = parser.parse_args()
    from pyspark.sql import SparkSession

    from spark_imgdedup.stages.embed import embed_shards

    with tempfile.TemporaryDirectory() as folder:
        shard = Path(folder) / "large.tar"
        n = make_shard(shard, arguments.gigabytes * 1e9, arguments.side)
        builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
        spark = builder.config("spark.log.level", "ERROR").config("spark.driver.memory", "1g").getOrCreate()
        peak, done = [0], threading.Event()

        def watch() -> None:
            while not done.wait(0.2):
                peak[0] = max(peak[0], worker_memory(os.getpid())[1])

        watcher = threading.Thread(target=watch)
        watcher.start()
        start = time.perf_counter()
        config = Config(input=InputConfig(path=folder), embed=EmbedConfig(device="cpu"))
        embed_shards(spark, config).write.parquet(f"{folder}/embeddings")
        seconds = time.perf_counter() - start
        done.set()
        watcher.join()
        embedded = spark.read.parquet(f"{folder}/embeddings").where("embedding is not null").count()
        size = shard.stat().st_size
    result = {
        "shard_bytes": size,
        "images": n,
        "embedded": embedded,
        "pixels_per_image": arguments.side**2,
        "seconds": round(seconds, 1),
        "peak_worker_bytes": peak[0],
        "limit_bytes": int(LIMIT_BYTES),
        "within_limit": peak[0] < LIMIT_BYTES,
    }
    print(json.dumps(result, indent=1))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "memory.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
