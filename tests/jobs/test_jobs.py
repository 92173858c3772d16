"""The files of jobs/ as a user submits them: the real spark-submit, two tiny tars, two cores."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyspark
import pytest
import yaml

import spark_imgdedup
from tests.tars import jpeg, make_tar, members_of

ROOT = Path(spark_imgdedup.__file__).parent.parent
SPARK_SUBMIT = Path(pyspark.__file__).parent / "bin/spark-submit"


# spark-submit gives both streams of the Python process on its standard output.
def submit(job, folder, *arguments, options=()):
    """Run a job of ours from another folder, as on a machine where the package is installed."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_HOME": str(SPARK_SUBMIT.parents[1]),
    }
    ours = ("--master", "local[2]", "--conf", "spark.ui.enabled=false")
    return subprocess.run(
        [str(SPARK_SUBMIT), *ours, *options, str(ROOT / "jobs" / job), *map(str, arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Two tars with one copy between them, and the settings of a run."""
    folder = tmp_path_factory.mktemp("submitted")
    make_tar(folder / "data/a.tar", [("0.jpg", jpeg(1)), ("1.jpg", jpeg(2))])
    make_tar(folder / "data/b.tar", [("0.jpg", jpeg(1)), ("1.jpg", jpeg(3))])
    settings = {
        "input": {"path": "data"},
        "output": {"path": "out"},
        "embed": {"model": "tests.encoders:ColourEncoder"},
        "cluster": {"n_clusters": 1},
        "identify": {"eps": 0.01},
        "spark": {"spark.sql.shuffle.partitions": 2},
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump(settings))
    return folder


def test_the_name_of_an_application_is_that_of_spark_submit(tmp_path):
    script = tmp_path / "name.py"
    script.write_text(
        "from spark_imgdedup.config import Config\n"
        "from spark_imgdedup.runs.session import get_session\n"
        "print('called', get_session(Config()).conf.get('spark.app.name'))\n"
    )

    assert "called images of monday" in submit(script, tmp_path, options=("--name", "images of monday")).stdout


@pytest.mark.slow
def test_jobs_run_under_spark_submit(dataset):
    whole = submit("dedup.py", dataset, "--config", "mine.yaml")

    assert whole.returncode == 0, whole.stderr[-3000:]
    assert "removed      duplicate 1" in whole.stdout
    assert "kept         3 samples in out" in whole.stdout
    assert sum(len(members_of(tar)) for tar in (dataset / "out").glob("*.tar")) == 3

    one_step = submit("identify.py", dataset, "--config", "mine.yaml", "--set", "identify.eps=0.0")

    assert one_step.returncode == 0, one_step.stderr[-3000:]
    assert "1 duplicates by greedy at eps 0.0" in one_step.stdout


def test_a_mistake_is_one_line_and_an_exit_code_for_the_scheduler(dataset):
    done = submit("dedup.py", dataset, "--config", "mine.yaml", "--set", "embed.modell=x")

    assert done.returncode == 2
    assert "ConfigError: --set: unknown key 'embed.modell'. Did you mean 'embed.model'?" in done.stdout
    assert "Traceback" not in done.stdout
