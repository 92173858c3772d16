"""Delta tables with names. Needs the Delta jar, and so a session (and a process) of its own: `make test-slow`."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.tars import jpeg, make_tar

RUN = """
import json, sys
from spark_imgdedup import run
from spark_imgdedup.config import parse_config
from spark_imgdedup.runs.session import get_session

folder = sys.argv[1]
settings = {
    "input": {"path": f"{folder}/in"},
    "work_dir": f"{folder}/work",
    "table": {"format": "delta"},
    "tables": {"catalog": "spark_catalog", "schema": "dedup"},
    "output": {"path": f"{folder}/out"},
    "embed": {"model": "tests.encoders:ColourEncoder"},
    "cluster": {"n_clusters": 1},
    "identify": {"eps": 0.01},
    "report": {"page": False},
    "spark": {
        "spark.master": "local[2]",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.warehouse.dir": f"{folder}/warehouse",
    },
}
spark = get_session(parse_config(settings))
spark.sql("CREATE SCHEMA dedup")
kept = [run(parse_config(settings | {"identify": {"eps": eps}})).summary.kept for eps in (0.01, 0.02)]
versions = {
    name: spark.sql(f"DESCRIBE HISTORY dedup.{name}").count() for name in ("embeddings", "duplicates")
}
properties = {row["key"]: row["value"] for row in spark.sql("SHOW TBLPROPERTIES dedup.duplicates").collect()}
before = spark.sql("SELECT count(*) FROM dedup.duplicates VERSION AS OF 0").first()[0]
print(json.dumps([kept, versions, properties["spark_imgdedup.work_dir"], before]))
"""


@pytest.mark.thorough
def test_another_eps_writes_a_new_version_under_the_same_name_and_the_old_one_can_be_read(tmp_path):
    make_tar(tmp_path / "in/a.tar", [("0.jpg", jpeg(1)), ("1.jpg", jpeg(2))])
    make_tar(tmp_path / "in/b.tar", [("0.jpg", jpeg(1)), ("1.jpg", jpeg(3))])

    done = subprocess.run([sys.executable, "-c", RUN, str(tmp_path)], capture_output=True, text=True, timeout=600)

    assert done.returncode == 0, done.stderr[-3000:]
    kept, versions, work_dir, before = json.loads(done.stdout.splitlines()[-1])
    # Each write is two versions: the rows, then the property that says whose they are.
    assert versions == {"embeddings": 2, "duplicates": 4}
    assert kept == [3, 3]
    assert work_dir == str(tmp_path / "work")
    assert before == 1
