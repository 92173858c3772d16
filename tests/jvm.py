"""How the JVMs of tests start: compiling little, and with Spark's classes parsed before, by `make` through this module.

`python -m tests.jvm` takes 40 s, once in an environment. Each driver then takes 5 s of processor time less to start and
to plan its first jobs; `make test-slow` starts more than a hundred.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

# A JVM of a test lives for some minutes: compiling once takes less processor time than compiling well. With the first
# compiler alone the room for what was compiled is 48 MB, which 300 tests fill: then a JVM compiles nothing any more.
COMPILE_ONCE = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m -XX:+UseSerialGC"
CLASSES = Path(sys.prefix) / "spark-classes.jsa"


def set_options(kept: str) -> None:
    """Give them to every driver that this process and its children start.

    Args:
        kept: What to do with parsed classes. The JVM refuses that where a folder on its class path is there, and Spark
            puts its folder of settings on it: so there is none.
    """
    os.environ.pop("SPARK_CONF_DIR", None)
    os.environ["SPARK_SUBMIT_OPTS"] = f"{COMPILE_ONCE} {kept}"


def use() -> None:
    """Start drivers, and their executors, with the classes that were kept, if they were.

    A JVM that cannot use them, such as one of another version of Spark, says nothing of it.
    """
    kept = f"-XX:SharedArchiveFile={CLASSES} -Xlog:disable" if CLASSES.exists() else ""
    set_options(f'{kept} "-Dspark.executor.defaultJavaOptions={COMPILE_ONCE} {kept}"')


def keep() -> None:
    """Keep the classes that a whole run loads."""
    from pyspark.sql import SparkSession

    from spark_imgdedup.pipeline import run
    from tests.conftest import SPARK_SETTINGS
    from tests.flow.tiny import settings, write_shards

    half = CLASSES.with_suffix(".half")
    set_options(f"-XX:ArchiveClassesAtExit={half} -Xlog:disable")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        write_shards(Path("data"))
        spark = SparkSession.builder.config(map=SPARK_SETTINGS).getOrCreate()
        run(settings(report={"page": True}), spark)
        gateway = spark.sparkContext._gateway
        spark.stop()
        gateway.proc.stdin.close()  # at which the JVM ends, and writes them
        gateway.proc.wait(300)
    half.replace(CLASSES)


if __name__ == "__main__":
    keep()
