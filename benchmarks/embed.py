"""Images per second of the embed step, against two loops that do less.

    bare loop    the same model on tensors that were decoded before the clock started: the model's own limit
    plain loop   webdataset + the same model in one process, no Spark: what a user would write by hand
    embed step   spark_imgdedup's fused job on as many cores, tables written

All three are held to the same cores (Spark's JVM too), threads and batch size, in one run, round after round; read the
medians' ratios.

    python benchmarks/embed.py --shards DIR [--rounds 3] [--cores 2]
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from PIL import Image

from spark_imgdedup.config import Config, EmbedConfig, InputConfig
from spark_imgdedup.files.tars.shards import list_shards
from spark_imgdedup.models import EncoderSettings, load_encoder

RESULTS = Path(__file__).parent / "results"


def encoder_for(cores: int):
    return load_encoder(EncoderSettings(model="efficientnet-lite0", n_threads=cores))


def samples(shards):
    import webdataset as wds

    urls = [shard.url for shard in shards]
    dataset = wds.WebDataset(urls, shardshuffle=False, handler=wds.warn_and_continue)
    for sample in dataset:
        data = next((sample[name] for name in ("jpg", "jpeg", "png", "webp") if name in sample), None)
        if data is not None:
            yield data


def decoded(data: bytes):
    try:
        return Image.open(io.BytesIO(data)).convert("RGB")
    except OSError:
        return None


def bare_loop(shards, batch_size: int, cores: int) -> float:
    encoder = encoder_for(cores)
    images = [image for data in samples(shards) if (image := decoded(data)) is not None][:2000]
    arrays = np.stack([encoder.preprocess(image) for image in images])
    start = time.perf_counter()
    for at in range(0, len(arrays), batch_size):
        encoder.encode(arrays[at : at + batch_size])
    return len(arrays) / (time.perf_counter() - start)


def plain_loop(shards, batch_size: int, cores: int) -> float:
    encoder = encoder_for(cores)
    start = time.perf_counter()
    n, batch = 0, []
    for data in samples(shards):
        image = decoded(data)
        if image is None:
            continue
        batch.append(encoder.preprocess(image))
        if len(batch) == batch_size:
            encoder.encode(np.stack(batch))
            n, batch = n + len(batch), []
    if batch:
        encoder.encode(np.stack(batch))
        n += len(batch)
    return n / (time.perf_counter() - start)


def embed_step(spark, config: Config, out: str) -> float:
    from spark_imgdedup.stages.embed import embed_shards

    start = time.perf_counter()
    embed_shards(spark, config).write.mode("overwrite").parquet(out)
    seconds = time.perf_counter() - start
    return spark.read.parquet(out).where("embedding is not null").count() / seconds


def session(cores: int):
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master(f"local[{cores}]").config("spark.task.cpus", str(cores))
    builder = builder.config("spark.ui.enabled", "false").config("spark.ui.showConsoleProgress", "false")
    return builder.config("spark.log.level", "ERROR").getOrCreate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", default=str(Path(__file__).parents[1] / "examples" / "shards"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=2, help="cores of one task, for all three")
    parser.add_argument("--batch-size", type=int, default=32)
    arguments = parser.parse_args()

    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[: arguments.cores]))  # children inherit it
    config = Config(
        input=InputConfig(path=arguments.shards), embed=EmbedConfig(batch_size=arguments.batch_size, device="cpu")
    )
    shards = list_shards(config.input)
    rates: dict[str, list[float]] = {"bare loop": [], "plain loop": [], "embed step": []}
    spark = session(arguments.cores)
    with tempfile.TemporaryDirectory() as folder:
        embed_step(spark, config, f"{folder}/warm")  # loads the model in the worker, as every later task finds it
        for _ in range(arguments.rounds):
            rates["bare loop"].append(bare_loop(shards, arguments.batch_size, arguments.cores))
            rates["plain loop"].append(plain_loop(shards, arguments.batch_size, arguments.cores))
            rates["embed step"].append(embed_step(spark, config, f"{folder}/out"))
    medians = {name: round(statistics.median(found), 1) for name, found in rates.items()}
    result = {
        "images_per_second": medians,
        "all_rounds": {name: [round(rate, 1) for rate in found] for name, found in rates.items()},
        "embed_step_to_plain_loop": round(medians["embed step"] / medians["plain loop"], 3),
        "embed_step_to_bare_loop": round(medians["embed step"] / medians["bare loop"], 3),
        "cores": arguments.cores,
        "batch_size": arguments.batch_size,
        "shards": len(shards),
        "bytes": sum(shard.n_bytes for shard in shards),
        "machine": f"{platform.machine()}, {os.cpu_count()} shared cores, Python {platform.python_version()}",
    }
    print(json.dumps(result, indent=1))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"embed-{arguments.cores}-cores.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
