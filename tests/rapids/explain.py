"""A process of its own: Spark with the real plugin in explainOnly mode runs the real steps and prints its verdicts.

    python tests/rapids/explain.py JAR FOLDER

Spark runs all of it on the CPU. For each plan, those of writes among them, the plugin logs which operators it would put
on a GPU. Prints JSON: {flow: {step: [[operator, verdict, reason], …]}}, each once, in order.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARDS = ROOT / "examples/shards"
# "*Exec <X> will run on GPU", "!Exec <X> cannot run on GPU because …", "! <X> …" where there is no rule for X,
# "#Exec <X> … is going to be removed because …".
LINE = re.compile(r"^ *([*!#]) ?(?:Exec|Output|Partitioning)? ?<(\w+)\$?> (.*)$")


def start(jar, folder):
    from pyspark.sql import SparkSession

    settings = {
        **properties(ROOT / "conf/spark-rapids.conf"),
        "spark.driver.extraClassPath": jar,
        "spark.executor.extraClassPath": jar,
        "spark.rapids.sql.mode": "explainOnly",
        "spark.rapids.sql.explain": "ALL",
        "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={Path(__file__).with_name('log4j2.properties')} "
        f"-Dplans.file={folder}/plans.log",
        "spark.master": "local[2]",
        "spark.driver.memory": "2g",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.shuffle.partitions": "2",
        # With it, the plugin explains the rest of a plan again after each stage, and cannot tell where a broadcast is.
        "spark.sql.adaptive.enabled": "false",
        # The joins of large tables: these are small, and Spark would broadcast all of them.
        "spark.sql.autoBroadcastJoinThreshold": "-1",
    }
    # Local mode schedules no GPUs, and a session with these never runs a task.
    settings = {name: value for name, value in settings.items() if ".resource.gpu." not in name}
    return SparkSession.builder.config(map=settings).getOrCreate()


def properties(path):
    """The settings of a --properties-file."""
    lines = (line.split(None, 1) for line in path.read_text().splitlines() if line and not line.startswith("#"))
    return {name: value.strip() for name, value in lines}


def run_steps(spark, settings, log):
    """The verdicts of each step of one run."""
    from spark_imgdedup import Config
    from spark_imgdedup.pipeline import WORK
    from spark_imgdedup.runs.engine import run_step
    from spark_imgdedup.runs.plan import plan_steps, resolve_eps
    from spark_imgdedup.runs.tables import Tables

    config = resolve_eps(Config(**settings))
    tables, planned = Tables(spark, config), plan_steps(config)
    found = {}
    for step in planned:
        if step != "report":
            before = log.stat().st_size
            run_step(step, WORK[step], tables, force=True)
            found[step] = verdicts(log.read_bytes()[before:].decode())
    return found


def explained(spark, df):
    """What the plugin says of a DataFrame when it is asked, without a write around it."""
    return verdicts(spark._jvm.com.nvidia.spark.rapids.ExplainPlan.explainPotentialGpuPlan(df._jdf, "ALL"))


def verdicts(text):
    """[operator, verdict, reason] of the lines about operators; verdict is gpu, partial, cpu or removed."""
    found = set()
    for line in text.splitlines():
        if (match := LINE.match(line)) is not None:
            mark, operator, words = match.groups()
            if operator.endswith(("Exec", "Command", "Partitioning")):
                found.add((operator, verdict(mark, words), words.partition(" because ")[2]))
    return sorted(found)


def verdict(mark, words):
    if mark == "#":
        return "removed"
    if mark == "!":
        return "cpu"
    return "partial" if words.startswith("will partially run") else "gpu"


def flows(folder):
    """Settings of the runs whose plans are looked at: all steps on tars, and a table of images in and out."""
    tars = {"path": [str(SHARDS / "photos-00000.tar")], "root": str(SHARDS)}
    model = {"model": "tests.encoders:ColourEncoder"}
    scorers = [{"name": "first", "scorer": "tests.scorers:FirstNumber", "min_score": -9}]
    return {
        "tars": {
            "input": tars,
            "work_dir": f"{folder}/tars/work",
            "embed": model,
            "score": {"scorers": scorers},
            "detect": {"prepass": ["exact", "phash"]},
            "identify": {"eps": 0.1},
            "output": {"path": f"{folder}/tars/out"},
        },
        "table": {
            "input": {"path": f"{folder}/images", "format": "table"},
            "work_dir": f"{folder}/table/work",
            "embed": model,
            "detect": {"prepass": []},
            "identify": {"eps": 0.1},
            "output": {"path": f"{folder}/table/out", "format": "parquet"},
        },
        "tars to rows": {
            "steps": ["remove"],
            "input": tars,
            "work_dir": f"{folder}/rows/work",
            "remove": {"ids_path": f"{folder}/table/work/duplicates"},
            "output": {"path": f"{folder}/rows/out", "format": "parquet"},
        },
    }


def main(jar, folder):
    spark = start(jar, folder)
    from spark_imgdedup import Config, read_images, remove_images

    log = Path(folder) / "plans.log"
    settings = flows(folder)
    read_images(spark, Config(input=settings["tars"]["input"])).write.parquet(f"{folder}/images")
    found = {name: run_steps(spark, given, log) for name, given in settings.items()}

    images = spark.read.parquet(f"{folder}/images")
    kept = remove_images(images, spark.read.parquet(f"{folder}/table/work/duplicates"))
    found["remove_images"] = {"sort merge": explained(spark, kept), "plan": [kept._jdf.queryExecution().toString()]}
    spark.conf.set("spark.sql.autoBroadcastJoinThreshold", "10m")
    kept = remove_images(images, spark.read.parquet(f"{folder}/table/work/duplicates"))
    found["remove_images"]["broadcast"] = explained(spark, kept)
    spark.stop()
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    os.environ["PYSPARK_PYTHON"] = sys.executable
    main(*sys.argv[1:])
