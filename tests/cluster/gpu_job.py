"""A job for test_gpu_scheduling.py: what each of some tasks was given, as one line of JSON on standard output."""

import json
import os
import time

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


if __name__ == "__main__":
    spark = SparkSession.builder.getOrCreate()
    rows = spark.range(0, 6, 1, 6).mapInArrow(ask, "found string").collect()
    print(json.dumps([json.loads(row["found"]) for row in rows]))
    spark.stop()
