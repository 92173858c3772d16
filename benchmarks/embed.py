"""Images per second of embedding, against loops of one's own, the naive form on Spark, and fastdup.

    decode alone    Pillow, to RGB
    bare loop       a process for each core: read a tar, decode with Pillow, resize and scale, run the same model
    vectors alone   the job of the embed step on as many cores, without digests, hashes and borders
    embed step      the same with its defaults: digests, hashes in two orientations, borders, its table written
    naive Spark     binaryFile, a pandas UDF that decodes to array<float>, another one that runs the model
    whole run       the command line: from tars to the new dataset, the report included
    … int8          the same two with embed.model efficientnet-lite0-int8
    fastdup         its whole run on the same files, in a process and an environment of its own: --fastdup PYTHON

All in turns, round after round; medians. Loops and jobs begin when models and workers are there, whole runs with their
process. Pictures are parts of those of examples/shards at another size, saved as JPEG of quality 90.

    python benchmarks/embed.py [--images 2000] [--side 640] [--rounds 3] [--fastdup PYTHON]
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import random
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from contextlib import suppress
from pathlib import Path

os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from PIL import Image
from steps import machine, write_result

from spark_imgdedup.config import Config, parse_config
from spark_imgdedup.models.onnx_encoder import LITE0_FILE, LITE0_PREPROCESS
from spark_imgdedup.preprocess import LITE0, LITE0_INT8
from spark_imgdedup.runs.session import get_session

SAMPLES = Path(__file__).parents[1] / "examples/shards"
N_TARS = 8
BATCH = 32
# Of the naive form: pictures in all and in a batch of Arrow, which holds 0.6 MB for each.
NAIVE_IMAGES, NAIVE_BATCH = 400, 100
FASTDUP = "import fastdup, sys; fastdup.create(sys.argv[1], sys.argv[2]).run(num_images=0, verbose=False)"
# What no timing of a loop or a job may have in it.
WARM = 8


def make_pictures(folder: Path, n_images: int, side: int) -> None:
    """N_TARS tars, and the same files loose."""
    originals = []
    for path in sorted(SAMPLES.glob("*.tar")):
        with tarfile.open(path) as tar:
            for info in tar:
                with suppress(OSError):  # some are damaged
                    if info.name.endswith((".jpg", ".png", ".webp")):
                        originals.append(Image.open(io.BytesIO(tar.extractfile(info).read())).convert("RGB"))
    rng = random.Random(1)
    for number in range(N_TARS):
        loose = folder / f"loose/{number}"
        loose.mkdir(parents=True)
        (folder / "tars").mkdir(exist_ok=True)
        with tarfile.open(folder / f"tars/{number:05d}.tar", "w") as tar:
            for sample in range(n_images // N_TARS):
                picture = rng.choice(originals)
                width, height = picture.size
                left, top = rng.uniform(0, width / 4), rng.uniform(0, height / 4)
                box = (left, top, left + width * 0.75, top + height * 0.75)
                scale = side / max(width, height)
                shape = (max(1, round(width * scale)), max(1, round(height * scale)))
                file = loose / f"{sample:06d}.jpg"
                picture.resize(shape, Image.Resampling.BICUBIC, box=box).save(file, quality=90)
                tar.add(file, file.name)


def resized(picture):
    """What is usually written by hand, with the same numbers as ours."""
    width, height = picture.size
    scale = 256 / min(width, height)
    picture = picture.resize((round(width * scale), round(height * scale)), Image.Resampling.BICUBIC)
    left, top = (picture.width - 224) // 2, (picture.height - 224) // 2
    pixels = np.asarray(picture.crop((left, top, left + 224, top + 224)))
    mean, std = np.asarray(LITE0_PREPROCESS.mean, np.float32), np.asarray(LITE0_PREPROCESS.std, np.float32)
    return ((pixels.astype(np.float32) / np.float32(255) - mean) / std).transpose(2, 0, 1)


def model():
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(LITE0_FILE), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda arrays: session.run(None, {name: np.stack(arrays)})[0]


def pictures(tars):
    for path in tars:
        with tarfile.open(path) as tar:
            for info in tar:
                yield Image.open(io.BytesIO(tar.extractfile(info).read())).convert("RGB")


def loop(tars, ready, with_model):
    """One process of the bare loop; gives (its pictures, when it began, when it ended)."""
    run = model() if with_model else len
    waiting, vectors, n_images = [], [], 0
    run([np.zeros((3, 224, 224), np.float32)] * WARM)
    ready.wait()
    start = time.time()
    for picture in pictures(tars):
        n_images += 1
        if not with_model:
            continue
        waiting.append(resized(picture))
        if len(waiting) == BATCH:
            vectors.append(run(waiting))
            waiting = []
    if waiting:
        vectors.append(run(waiting))
    return n_images, start, time.time()


def loops(folder, cores, *, with_model):
    tars = sorted(map(str, (folder / "tars").iterdir()))
    with multiprocessing.get_context("spawn").Manager() as manager:
        ready = manager.Barrier(cores)
        with multiprocessing.get_context("spawn").Pool(cores) as pool:
            found = pool.starmap(loop, [(tars[core::cores], ready, with_model) for core in range(cores)], chunksize=1)
    seconds = max(end for _, _, end in found) - min(start for _, start, _ in found)
    return sum(n for n, _, _ in found) / seconds


def embed_step(spark, config: Config, out, n_images):
    from spark_imgdedup.stages.embed import embed_shards

    start = time.perf_counter()
    embed_shards(spark, config).write.mode("overwrite").parquet(out)
    return n_images / (time.perf_counter() - start)


def naive_spark(spark, folder, out):
    from pyspark.sql.functions import col, pandas_udf

    @pandas_udf("array<float>")
    def decode(data: pd.Series) -> pd.Series:
        return data.map(lambda each: resized(Image.open(io.BytesIO(each)).convert("RGB")).ravel().tolist())

    @pandas_udf("array<float>")
    def embed(batches: pd.Series) -> pd.Series:
        arrays = [np.asarray(each, np.float32).reshape(3, 224, 224) for each in batches]
        run = model()
        parts = [run(arrays[start : start + BATCH]) for start in range(0, len(arrays), BATCH)]
        return pd.Series([vector.tolist() for part in parts for vector in part])

    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", str(NAIVE_BATCH))
    files = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(str(folder / "loose"))
    files = files.orderBy("path").limit(NAIVE_IMAGES).repartition(2 * spark.sparkContext.defaultParallelism).cache()
    n_images = files.count()
    start = time.perf_counter()
    arrays = files.select("path", decode(col("content")).alias("pixels"))
    arrays.select("path", embed(col("pixels")).alias("vector")).write.mode("overwrite").parquet(out)
    seconds = time.perf_counter() - start
    files.unpersist()
    return n_images / seconds


def whole_run(folder, work, n_images, model):
    command = [sys.executable, "-m", "spark_imgdedup", "run", "--set", f"input.path={folder / 'tars'}"]
    command += ["--set", f"work_dir={work / 'work'}", "--set", f"output.path={work / 'out'}"]
    command += ["--set", f"embed.model={model}"]
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return n_images / (time.perf_counter() - start)


def fastdup(python, folder, work, n_images):
    start = time.perf_counter()
    subprocess.run([python, "-c", FASTDUP, work / "fastdup", folder / "loose"], check=True, capture_output=True)
    return n_images / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--side", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fastdup", help="a Python that has it")
    arguments = parser.parse_args()
    cores, rates = os.cpu_count() or 1, {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_pictures(folder, arguments.images, arguments.side)
        n_images = arguments.images // N_TARS * N_TARS
        n_bytes = sum(file.stat().st_size for file in (folder / "loose").rglob("*.jpg"))
        config = parse_config({"input": {"path": str(folder / "tars")}})
        integers = parse_config({"input": {"path": str(folder / "tars")}, "embed": {"model": LITE0_INT8}})
        plain = {"input": {"path": str(folder / "tars"), "trim_borders": False}, "detect": {"prepass": []}}
        alone, spark = parse_config(plain), get_session(config)
        ways = {
            "decode alone": lambda work: loops(folder, cores, with_model=False),
            "bare loop": lambda work: loops(folder, cores, with_model=True),
            "vectors alone": lambda work: embed_step(spark, alone, f"{work}/alone", n_images),
            "embed step": lambda work: embed_step(spark, config, f"{work}/out", n_images),
            "embed step, int8": lambda work: embed_step(spark, integers, f"{work}/out", n_images),
            "naive Spark": lambda work: naive_spark(spark, folder, f"{work}/naive"),
            "whole run": lambda work: whole_run(folder, work, n_images, LITE0),
            "whole run, int8": lambda work: whole_run(folder, work, n_images, LITE0_INT8),
        }
        if arguments.fastdup:
            ways["fastdup"] = lambda work: fastdup(arguments.fastdup, folder, work, n_images)
        embed_step(spark, config, f"{folder}/warm", n_images)  # loads the model in the workers
        for _ in range(arguments.rounds):
            for way, measure in ways.items():
                with tempfile.TemporaryDirectory() as work:
                    rates.setdefault(way, []).append(round(measure(Path(work)), 1))
                    print(way, rates[way][-1], flush=True)
    medians = {way: statistics.median(found) for way, found in rates.items()}
    result = {
        "images_per_second": medians,
        "all_rounds": rates,
        "embed_step_to_bare_loop": round(medians["embed step"] / medians["bare loop"], 3),
        "vectors_alone_to_bare_loop": round(medians["vectors alone"] / medians["bare loop"], 3),
        "embed_step_to_naive_spark": round(medians["embed step"] / medians["naive Spark"], 2),
        "images": n_images,
        "kB_each": round(n_bytes / n_images / 1000, 1),
        "longer_side": arguments.side,
        "machine": machine(),
    }
    if "fastdup" in medians:
        for way in ("whole run", "whole run, int8"):
            result[f"{way} to fastdup"] = round(medians[way] / medians["fastdup"], 3)
    print(json.dumps(result, indent=1))
    write_result("embed", result)


if __name__ == "__main__":
    main()
