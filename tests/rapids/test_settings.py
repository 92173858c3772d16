"""conf/spark-rapids.conf names settings that this very jar has."""

from __future__ import annotations

import re
import zipfile

from tests.rapids.conftest import ROOT
from tests.rapids.explain import properties

# The classes of its settings, for the Spark of our locks and for every Spark.
CONF = re.compile(r"(spark413|spark-shared)/com/nvidia/spark/rapids/(python/)?(RapidsConf|PythonConfEntries)\$?\.class")


def known_settings(jar):
    """The strings in the class files of the plugin's settings that look like a setting."""
    with zipfile.ZipFile(jar) as archive:
        code = b"".join(archive.read(name) for name in archive.namelist() if CONF.fullmatch(name))
    # A constant is its length in two bytes, then its text.
    return {
        text.decode()
        for length, text in re.findall(rb"\x01(..)(spark\.rapids\.[\w.]+)", code, re.DOTALL)
        for text in (text[: int.from_bytes(length, "big")],)
    }


def test_every_setting_of_rapids_is_one_that_the_jar_knows(jar):
    known = known_settings(jar)
    text = (ROOT / "conf/spark-rapids.conf").read_text()
    named = set(re.findall(r"spark\.rapids\.[\w.]+", text))

    assert len(known) > 100
    assert len(named) > 6
    assert named <= known
    assert "spark.rapids.sql.concurrentGpuTask" not in known


def test_delta_writes_and_the_python_workers_of_rapids_are_off():
    settings = properties(ROOT / "conf/spark-rapids.conf")

    assert settings["spark.rapids.sql.format.delta.write.enabled"] == "false"
    assert settings["spark.rapids.sql.python.gpu.enabled"] == "false"


def test_the_jar_in_the_settings_is_the_one_that_is_fetched(jar):
    settings = properties(ROOT / "conf/spark-rapids.conf")

    for name in ("spark.driver.extraClassPath", "spark.executor.extraClassPath"):
        assert settings[name].rpartition("/")[2] == jar.name
