"""How the JVMs of tests start: compiling little, and with Spark's classes parsed before, by `make` through this module.

`python -m tests.jvm` takes a quarter of a minute, once in an environment. Each driver then starts with 5 s of processor
time less, of which a run of the tests has more than a hundred.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

# A JVM of a test lives for a minute or two: compiling once takes less processor time than compiling well.
COMPILE_ONCE = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
CLASSES = Path(sys.prefix) / "spark-classes.jsa"


def set_options(kept: str) -> None:
    """Give them to every driver that this process and its children start, and to the drivers' executors.

    Args:
        kept: What to do with parsed classes. The JVM refuses that where a folder on its class path holds a file, and
            Spark puts its folder of settings there: so there is none.
    """
    os.environ.pop("SPARK_CONF_DIR", None)
    os.environ["SPARK_SUBMIT_OPTS"] = f'{COMPILE_ONCE} {kept} "-Dspark.executor.defaultJavaOptions={COMPILE_ONCE}"'


def use() -> None:
    """Start JVMs with the classes that were kept, if they were. One that cannot use them says nothing of it."""
    set_options(f'"-XX:SharedArchiveFile={CLASSES}" -Xlog:disable' if CLASSES.exists() else "")


def keep() -> None:
    """Keep the classes that a whole run loads."""
    from pyspark.sql import SparkSession

    from spark_imgdedup.pipeline import run
    from tests.conftest import SPARK_SETTINGS
    from tests.flow.tiny import settings, write_shards

    half = CLASSES.with_suffix(".half")
    set_options(f'"-XX:ArchiveClassesAtExit={half}" -Xlog:disable')
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
