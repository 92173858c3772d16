"""A job for test_gpu_scheduling.py: what each of some tasks was given, as one line of JSON on standard output.

Given a folder, the tasks ask for what `gpu_profile` says, and the stages that use it write there.
"""

import json
import os
import sys
import time
from pathlib import Path

from pyspark.sql import SparkSession


def ask(batches):
    import pyarrow as pa
    from pyspark import TaskContext

    from spark_imgdedup.errors import DeviceError
    from spark_imgdedup.gpu import device_count, task_cpus, task_device

    context = TaskContext.get()
    start = time.time()
    gpu = context.resources().get("gpu")
    found = {
        "addresses": list(gpu.addresses) if gpu else [],
        "cpus": task_cpus(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "worker": os.getpid(),
        "auto": task_device("auto"),
        "n_devices": device_count(),
    }
    try:
        found["gpu"] = task_device("gpu")
    except DeviceError as error:
        found["gpu"] = str(error)
    for _ in batches:
        time.sleep(0.5)  # long enough that tasks which may run side by side do
    yield pa.RecordBatch.from_pydict({"found": [json.dumps({**found, "start": start, "end": time.time()})]})


def run_stages(spark, config, folder):
    from spark_imgdedup import assign_clusters, fit_centroids
    from spark_imgdedup.stages.embed import embed_shards

    embeddings = embed_shards(spark, config)
    embeddings.write.parquet(f"{folder}/embeddings")
    embeddings = spark.read.schema(embeddings.schema).parquet(f"{folder}/embeddings")
    assign_clusters(embeddings, fit_centroids(embeddings, config), config).write.parquet(f"{folder}/clusters")


def main(folder=None):
    from spark_imgdedup import Config
    from spark_imgdedup.stages.gpu_tasks import gpu_profile

    spark = SparkSession.builder.getOrCreate()
    shards = Path(__file__).resolve().parents[2] / "examples/shards/crawl"
    model = {"model": "tests.encoders:ColourEncoder"}
    wanted = {"gpus_per_task": 1 if folder else None, "cores_per_task": 4}
    config = Config(input={"path": str(shards)}, embed=model, gpu_profile=wanted)
    numbers = spark.range(0, 6, 1, 6)
    rows = numbers.mapInArrow(ask, "found string", profile=gpu_profile(spark, config)).collect()
    if folder:
        run_stages(spark, config, folder)
    sys.stdout.write(json.dumps([json.loads(row["found"]) for row in rows]) + "\n")
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
