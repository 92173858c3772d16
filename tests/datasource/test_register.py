from __future__ import annotations

import re
from pathlib import Path

import pytest

from spark_imgdedup import register
from spark_imgdedup.errors import ConfigError
from tests.tars import webdataset_samples

ROOT = Path(__file__).resolve().parents[2]


def test_a_spark_without_python_data_sources_is_told_which_functions_to_use():
    class OldSession:
        version = "3.5.8"

    with pytest.raises(ConfigError, match=r"Spark 3\.5\.8 has no data sources in Python.*read_images\(spark, config\)"):
        register(OldSession())


@pytest.mark.slow
def test_the_python_of_the_guide_does_what_it_says(spark, tmp_path, monkeypatch, capfd):
    pytest.importorskip("pyspark.sql.datasource", reason="data sources in Python are new in Spark 4")
    page = (ROOT / "docs" / "guide-spark-formats.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(ROOT)
    target = tmp_path / "with-captions"

    try:
        exec("\n".join(blocks).replace('"with-captions"', repr(str(target))), {})
    finally:
        spark.conf.unset("spark.sql.python.filterPushdown.enabled")
        register(spark)

    shown = capfd.readouterr().out
    assert "damaged_shard" in shown
    assert re.search(r"^\|clipart-00000/000004 *\|.*\|000004 *\|$", shown, re.MULTILINE)
    samples = [sample for tar in sorted(target.glob("*.tar")) for sample in webdataset_samples(tar)]
    assert samples[0]["__key__"] == "photos-00000/000000"
    assert all("txt" in sample for sample in samples)
