"""The job for vectors of one's own, as a process of its own, where no library of models can be imported."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import spark_imgdedup
from tests.tars import make_tar, members_of

ROOT = Path(spark_imgdedup.__file__).parent.parent
MODEL_LIBRARIES = ("torch", "torchvision", "open_clip", "timm", "onnxruntime")
# Python imports sitecustomize when it starts, in Spark's workers too. None makes an import fail.
REFUSE = f"""
import os, sys

sys.modules.update(dict.fromkeys({MODEL_LIBRARIES!r}))
open(os.path.join(os.environ["REFUSED_IN"], str(os.getpid())), "w").close()
"""


def run_job(folder, *arguments):
    refusing = folder / "refusing"
    (folder / "refused-in").mkdir(exist_ok=True)
    refusing.mkdir(exist_ok=True)
    (refusing / "sitecustomize.py").write_text(REFUSE)
    environment = {
        **os.environ,
        "PYTHONPATH": f"{refusing}{os.pathsep}{ROOT}",
        "PYSPARK_PYTHON": sys.executable,
        "REFUSED_IN": str(folder / "refused-in"),
    }
    return subprocess.run(
        [sys.executable, str(ROOT / "jobs/dedup_embeddings.py"), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_these_tests_run_where_torch_is_not_installed():
    assert importlib.util.find_spec("torch") is None
    assert importlib.util.find_spec("open_clip") is None


@pytest.mark.slow
def test_clips_in_tars_are_deduplicated_without_any_library_of_models(tmp_path):
    members = [(f"{name}.mp4", name.encode() * 100) for name in ("one", "other", "again")]
    make_tar(tmp_path / "clips/a.tar", members)
    ids = pa.array(["a/one", "a/other", "a/again"])
    (tmp_path / "mine").mkdir()
    pq.write_table(
        pa.table({"id": ids, "embedding": [[1.0, 0, 0], [0, 1.0, 0], [2.0, 0, 0]]}), tmp_path / "mine/0.parquet"
    )
    settings = {
        "input": {"path": "clips"},
        "output": {"path": "out"},
        "cluster": {"embeddings_path": "mine", "n_clusters": 2},
        "pairwise": {"which_to_keep": "easy"},
        "spark": {"spark.master": "local[1]", "spark.sql.shuffle.partitions": 1},
    }
    (tmp_path / "clips.yaml").write_text(yaml.safe_dump(settings))

    done = run_job(tmp_path, "--config", "clips.yaml")

    assert done.returncode == 0, done.stderr[-3000:]
    assert "removed      duplicate 1" in done.stdout
    # Equally near their centroid: the lower id stays, and 'a/again' is below 'a/one'.
    assert members_of(tmp_path / "out/a.tar") == members[1:]
    assert len(list((tmp_path / "refused-in").iterdir())) > 1  # the driver and its workers


def test_without_vectors_the_job_says_what_it_needs(tmp_path):
    done = run_job(tmp_path, "--set", "input.path=clips")

    assert done.returncode == 2
    assert done.stderr.startswith("ConfigError: cluster.embeddings_path is not set. Name the table of your vectors")
