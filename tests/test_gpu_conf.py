"""conf/*.conf and conf/get_gpus.sh: settings that Spark knows, and a script that prints what Spark reads."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

import spark_imgdedup

CONF = Path(spark_imgdedup.__file__).parent.parent / "conf"
FILES = sorted(CONF.glob("*.conf"))
RESOURCE = re.compile(r"spark\.(?:task|executor|driver)\.resource\.gpu\.(\w+)")


def settings_of(path):
    lines = [line.split(None, 1) for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return {name: value.strip() for name, value in lines}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_spark_knows_every_setting_and_takes_its_value(spark, path):
    jvm = spark._jvm
    for home in ("internal.config.package$", "internal.config.Python$", "sql.internal.SQLConf$"):
        jvm.java.lang.Class.forName(f"org.apache.spark.{home}")  # settings register as their object is made
    resources = jvm.org.apache.spark.resource.ResourceUtils
    kinds = {resources.AMOUNT(), resources.DISCOVERY_SCRIPT(), resources.VENDOR()}
    find = jvm.org.apache.spark.internal.config.ConfigEntry.findEntry

    assert find("spark.task.cpu") is None
    for name, value in settings_of(path).items():
        resource = RESOURCE.fullmatch(name)
        if resource is not None:
            assert resource[1] in kinds, name
        elif not name.startswith("spark.rapids."):  # tests/rapids looks these up in the jar
            entry = find(name)
            assert entry is not None, name
            entry.valueConverter().apply(value)


def test_a_task_has_one_gpu_and_all_cores_of_its_executor():
    gpu = settings_of(CONF / "spark-gpu.conf")

    assert gpu["spark.task.resource.gpu.amount"] == gpu["spark.executor.resource.gpu.amount"] == "1"
    assert gpu["spark.task.cpus"] == gpu["spark.executor.cores"]
    assert "spark.executor.pyspark.memory" not in gpu


def test_the_cores_of_an_executor_share_the_gpu_of_rapids():
    rapids = settings_of(CONF / "spark-rapids.conf")

    shares = int(rapids["spark.executor.cores"]) * float(rapids["spark.task.resource.gpu.amount"])
    assert shares == int(rapids["spark.executor.resource.gpu.amount"])


def discover(folder, says, code=0):
    """conf/get_gpus.sh beside an nvidia-smi that prints `says`; None for a machine without one."""
    if says is not None:
        tool = folder / "nvidia-smi"
        tool.write_text(f"#!/bin/sh\nprintf '{says}'\nexit {code}\n")
        tool.chmod(0o755)
    for name in ("bash", "grep", "sed", "paste", "tr", "sh"):
        (folder / name).symlink_to(subprocess.check_output(["which", name], text=True).strip())
    return subprocess.run(
        [str(folder / "bash"), str(CONF / "get_gpus.sh")],
        env={**os.environ, "PATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("says", "addresses"), [("0\\n", ["0"]), ("0\\n1\\n 11\\n", ["0", "1", "11"])])
def test_the_discovery_script_names_the_gpus_as_spark_reads_them(tmp_path, spark, says, addresses):
    done = discover(tmp_path, says)

    assert json.loads(done.stdout) == {"name": "gpu", "addresses": addresses}
    parsed = spark._jvm.org.apache.spark.resource.ResourceInformation.parseJson(done.stdout)
    assert (parsed.name(), list(parsed.addresses())) == ("gpu", addresses)


@pytest.mark.parametrize(
    ("says", "code", "problem"),
    [
        (None, 0, "nvidia-smi is not on PATH"),
        ("No devices were found\\n", 0, "nvidia-smi lists no GPU: No devices were found"),
        ("Driver mismatch\\n", 9, "nvidia-smi failed: Driver mismatch"),
    ],
)
def test_the_discovery_script_fails_with_a_line_where_there_is_no_gpu(tmp_path, says, code, problem):
    done = discover(tmp_path, says, code)

    assert (done.returncode, done.stdout) == (1, "")
    assert problem in done.stderr
    assert len(done.stderr.splitlines()) == 1
