"""Which session is used, and with which settings."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

import spark_imgdedup
from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.runs.session import delta_settings, get_session

ROOT = Path(spark_imgdedup.__file__).parent.parent


def run_python(code, **environment):
    env = {key: value for key, value in os.environ.items() if key not in ("PYSPARK_PYTHON", "OMP_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**env, "PYTHONPATH": str(ROOT), **environment},
    )
    return done.returncode, done.stdout, done.stderr


def test_the_active_session_is_used_and_settings_that_come_too_late_are_named(spark, caplog):
    caplog.set_level(logging.WARNING)
    same = spark.conf.get("spark.sql.shuffle.partitions")
    config = parse_config({"spark": {"spark.driver.memory": "9g", "spark.sql.shuffle.partitions": same}})

    assert get_session(config) is spark
    assert [line for line in caplog.messages if "not used: spark.driver.memory" in line]
    assert not [line for line in caplog.messages if "shuffle.partitions" in line]


def test_a_new_session_takes_the_configuration_over_our_defaults_and_this_python_for_its_workers():
    code = """
import sys
from spark_imgdedup.config import parse_config
from spark_imgdedup.runs.session import get_session
spark = get_session(parse_config({"spark": {"spark.master": "local[1]", "spark.sql.shuffle.partitions": 3}}))
def worker(batches):
    import sys, pyarrow as pa
    for batch in batches:
        yield pa.RecordBatch.from_pydict({"python": [sys.executable]})
python = spark.range(1).mapInArrow(worker, "python string").first()[0]
conf = spark.conf
print(conf.get("spark.master"), conf.get("spark.sql.shuffle.partitions"), conf.get("spark.ui.enabled"), sep="|")
print(python == sys.executable, get_session(parse_config({})) is spark)
pools = spark._jvm.java.lang.management.ManagementFactory.getMemoryPoolMXBeans()
print(sum(pool.getUsage().getMax() for pool in pools if pool.getName().startswith("Code")) >> 20)
spark.stop()
"""
    rc, out, err = run_python(code, SPARK_SUBMIT_OPTS="")

    assert rc == 0, err
    assert out.splitlines() == ["local[1]|3|false", "True True", "240"]  # MB for what the JVM has compiled
    assert "Exception" not in err


def test_a_missing_pyspark_says_what_to_install():
    code = """
import sys
sys.modules["pyspark"] = None
from spark_imgdedup.config import Config
from spark_imgdedup.runs.session import get_session
get_session(Config())
"""
    rc, _, err = run_python(code)

    assert rc == 1
    assert (
        err.strip()
        .splitlines()[-1]
        .endswith("PySpark is not installed. Run `pip install 'spark-imgdedup[local]'`, or use spark-submit.")
    )


def test_a_spark_that_is_too_old_is_named():
    code = """
import pyspark
pyspark.__version__ = "3.4.4"
from spark_imgdedup.config import Config
from spark_imgdedup.runs.session import get_session
get_session(Config())
"""
    assert "Spark 3.5 or newer is needed, found 3.4.4" in run_python(code)[2]


def test_delta_without_its_package_says_what_to_install():
    code = """
import importlib.metadata
def version(name):
    raise importlib.metadata.PackageNotFoundError(name)
importlib.metadata.version = version
from spark_imgdedup.runs.session import delta_settings
delta_settings()
"""
    assert "pip install 'spark-imgdedup[delta]'" in run_python(code)[2]


def test_the_delta_jar_is_that_of_the_installed_package():
    pytest.importorskip("delta")
    from importlib.metadata import version

    assert delta_settings()["spark.jars.packages"].endswith(f":{version('delta-spark')}")


def test_wrong_settings_for_spark_never_reach_it():
    with pytest.raises(ConfigError, match="spark"):
        parse_config({"spark": {"spark.driver.memory": None, "driver.memory": "2g"}})
