"""What the tests of this folder do: call a script, submit a job, without what would help them by accident."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pyspark

import spark_imgdedup
from tests.flow.tiny import STEPS

ROOT = Path(spark_imgdedup.__file__).parent.parent
SPARK_HOME = Path(pyspark.__file__).parent
LIMIT_SECONDS = 600


def bare_environment():
    """This environment without what would let a worker find the package, or another Spark, by itself."""
    ours = ("PYTHONPATH", "PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON", "SPARK_HOME")
    return {name: value for name, value in os.environ.items() if name not in ours}


def script(name, *arguments, **environment):
    return subprocess.run(
        [str(ROOT / "scripts" / name), *map(str, arguments)],
        env={**bare_environment(), "PYTHON": sys.executable, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_SECONDS,
    )


@dataclass(frozen=True)
class Cluster:
    """What scripts/local_cluster.sh made."""

    folder: Path
    url: str

    def pid(self, name):
        return int((self.folder / f"{name}.pid").read_text())

    def last_words(self):
        """The ends of what the executors of the newest application, the workers and the master have logged."""
        application = max((self.folder / "work").iterdir(), key=lambda folder: folder.name)
        logs = [*sorted(application.glob("*/std*")), *sorted((self.folder / "logs").iterdir())]
        return "\n".join(f"== {log}\n{log.read_text(errors='replace')[-2000:]}" for log in logs)

    def files_of_executors(self, pattern):
        """What the executors of the newest application have in their working folders."""
        application = max((self.folder / "work").iterdir(), key=lambda folder: folder.name)
        return {path.name for path in application.glob(f"*/{pattern}")}


def start_cluster(folder, **environment):
    """The cluster of the folder, with what of it does not run started again."""
    started = script("local_cluster.sh", "start", folder, **environment)
    assert started.returncode == 0, started.stderr
    return Cluster(folder, started.stdout.strip())


def stop_cluster(folder):
    stopped = script("local_cluster.sh", "stop", folder)
    assert stopped.returncode == 0, stopped.stderr


@dataclass(frozen=True)
class Dataset:
    """Some of the sample shards, and a settings file that is the same for every run on them."""

    folder: Path
    config: Path

    def command(self, out, *, report=False):
        """The arguments of a job whose tables and tars go below `out`; one that makes the page as well is enough."""
        sets = {"work_dir": out / "work", "output.path": out / "tars"}
        if not report:
            sets["steps"] = f"[{', '.join(STEPS)}]"
        return ["--config", str(self.config), *(word for key in sets for word in ("--set", f"{key}={sets[key]}"))]


def submit_command(cluster, arguments, **settings):
    """spark-submit of jobs/dedup.py. `settings` are Spark's, with _ for . in their names."""
    named = {
        "spark.executor.memory": "1g",
        "spark.sql.shuffle.partitions": "2",  # 200 tasks for 150 rows take minutes
        "spark.ui.enabled": "false",
        # Both cores, and no task before both are there: else one executor may do it all before the other has come.
        "spark.cores.max": "2",
        "spark.scheduler.minRegisteredResourcesRatio": "1",
        **{name.replace("_", "."): str(value) for name, value in settings.items()},
    }
    confs = [word for name, value in named.items() for word in ("--conf", f"{name}={value}")]
    return [
        str(SPARK_HOME / "bin/spark-submit"),
        *("--master", cluster.url, *confs),
        *(str(ROOT / "jobs/dedup.py"), *arguments),
    ]


def submit_environment():
    return {**bare_environment(), "SPARK_HOME": str(SPARK_HOME), "SPARK_LOCAL_IP": "127.0.0.1"}


def submit(cluster, arguments, **settings):
    """Run the job to its end. Where there is none in time, what the driver, the executors and the master said."""
    command = submit_command(cluster, arguments, **settings)
    try:
        return subprocess.run(
            command, env=submit_environment(), capture_output=True, text=True, check=False, timeout=LIMIT_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        said = [(error.stdout or b"").decode()[-2000:], (error.stderr or b"").decode()[-4000:], cluster.last_words()]
        raise AssertionError("\n".join(["the job did not end", *said])) from None
