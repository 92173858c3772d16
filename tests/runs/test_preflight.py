"""What cannot succeed is refused before Spark starts: these tests run where there is no Java."""

from __future__ import annotations

import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.registry import _registry as file_systems

from spark_imgdedup.config import parse_config
from spark_imgdedup.counts import ClusterCounts
from spark_imgdedup.errors import ImgDedupError
from spark_imgdedup.pipeline import run
from spark_imgdedup.runs.fingerprints import fingerprint
from spark_imgdedup.runs.preflight import require_ready
from spark_imgdedup.runs.tables import StepRecord, Tables
from tests.tars import jpeg, make_tar

TABLE = {"output": {"path": "o", "format": "parquet"}}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a dataset, a list of ids, a file and a link, to stand in."""
    for name in ("a", "b"):
        make_tar(tmp_path / f"in/{name}.tar", [("0.jpg", jpeg(1))])
    pq.write_table(pa.table({"image_id": ["a/0"]}), tmp_path / "ids.parquet")
    (tmp_path / "in/a").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "nothing").symlink_to(tmp_path / "gone")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings(**others):
    return {"input": {"path": "in"}, "work_dir": "w", "output": {"path": "o"}, "identify": {"eps": 0.1}} | others


def refused(**others):
    """What a run says, and that it has written nothing."""
    with pytest.raises(ImgDedupError) as raised:
        run(parse_config(settings(**others)))
    assert not os.path.lexists("w")
    assert not os.path.lexists("o")
    return f"{type(raised.value).__name__}: {raised.value}"


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ({"output": {"path": "file"}}, "ConfigError: output.path: {here}/file is a file"),
        ({"output": {"path": "file/o"}}, "ConfigError: output.path: {here}/file is a file"),
        ({"output": {"path": "nothing/o"}}, "ConfigError: output.path: {here}/nothing is a link to nothing"),
        ({"work_dir": "file/w"}, "ConfigError: work_dir: {here}/file is a file"),
        ({"input": {"path": "foo://x"}}, "ConfigError: input.path: foo://x: there is no storage foo://"),
        ({"input": {"path": "nowhere"}}, "ConfigError: input.path: there is nothing at nowhere"),
        ({"input": {"path": ["in", "gone"], "root": "."}}, "ConfigError: input.path: there is nothing at gone"),
        (
            TABLE | {"input": {"path": ["in", "in/a"], "format": "table"}},
            "ConfigError: input.path: in/a lies within in",
        ),
        (
            TABLE | {"input": {"path": ["in", "./in/"], "format": "table"}},
            "ConfigError: input.path: in lies within ./in",
        ),
        ({"remove": {"ids_path": "list"}}, "ConfigError: remove.ids_path: there is nothing at list"),
        ({"remove": {"never": ["ids.parquet", "list"]}}, "ConfigError: remove.never: there is nothing at list"),
        ({"cluster": {"embeddings_path": "v"}}, "ConfigError: cluster.embeddings_path: there is nothing at v"),
        (
            {"embed": {"model": "onnx:no.onnx", "preprocess": {"size": 8}}},
            "ModelError: 'onnx:no.onnx': there is nothing",
        ),
        ({"embed": {"model": "onnx:file"}}, "ConfigError: embed.preprocess: 'onnx:file' needs it"),
        (
            {"embed": {"model": "efficientnet-lite9"}},
            "ModelError: There is no encoder 'efficientnet-lite9'. Did you mean",
        ),
        ({"embed": {"model": "tests.encoders:Nope"}}, "ModelError: Module 'tests.encoders' has no 'Nope'"),
        ({"embed": {"model": "nope.module:Mine"}}, "ModelError: There is no encoder 'nope.module:Mine'"),
        ({"embed": {"pixel_scorers": ["tests.scorers:Nope"]}}, "ModelError: Module 'tests.scorers' has no 'Nope'"),
        ({"score": {"aesthetic_head": "no.npz"}}, "ModelError: There is no weight file at 'no.npz'"),
    ],
)
def test_a_setting_that_cannot_work_is_one_line_before_spark(here, others, said):
    assert refused(**others).startswith(said.format(here=here))


def test_everything_that_is_wrong_is_said_at_once(here):
    said = refused(output={"path": "file"}, remove={"ids_path": "list"}, input={"path": "nowhere"})

    assert [line.partition(": there")[0].partition(": /")[0] for line in said.splitlines()] == [
        "ConfigError: input.path",
        "remove.ids_path",
        "output.path",
    ]


@pytest.mark.parametrize(
    ("module", "others"),
    [
        ("torch", {"embed": {"model": "open_clip:ViT-L-14/openai"}}),
        ("onnxruntime", {}),
        ("s3fs", {"input": {"path": "s3://bucket/x"}}),
    ],
)
def test_a_library_that_is_missing_is_named_with_its_extra(here, monkeypatch, module, others):
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    monkeypatch.delitem(file_systems, "s3", raising=False)  # nor asked for by a test before

    assert "pip install 'spark-imgdedup[" in refused(**others)
    assert "not installed" in refused(**others)


def test_what_a_finished_step_needed_may_be_gone(here):
    config = parse_config(
        {
            "cluster": {"embeddings_path": "v"},
            "work_dir": "w",
            "steps": ["cluster", "pairwise"],
            "identify": {"eps": 0.1},
        }
    )
    tables = Tables(None, config)
    for name in ("clusters", "centroids", "blocks"):
        (here / "w" / name).mkdir(parents=True)
    tables.finish(StepRecord("cluster", fingerprint("cluster", config, {}), 1.0, ClusterCounts(1, 1, 1, {})))

    require_ready(["cluster", "pairwise"], tables, config)
    with pytest.raises(ImgDedupError, match="there is nothing at v"):
        require_ready(["cluster", "pairwise"], tables, config, force=True)


# What depends on there being no session yet, in a process of its own, where there is no Java either.
ALONE = """
import sys
from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import ImgDedupError
from spark_imgdedup.pipeline import run

def say(**others):
    given = {"input": {"path": "in"}, "work_dir": "w", "output": {"path": "o"}, "identify": {"eps": 0.1}}
    try:
        run(parse_config(given | others), steps=["embed"])
    except ImgDedupError as error:
        print(error)

say(spark={"spark.master": "bogus"})
sys.modules["torch"] = sys.modules["delta"] = None
say(table={"format": "delta"})
say(embed={"model": "open_clip:a/b"})
say(embed={"model": "open_clip:a/b"}, spark={"spark.remote": "sc://127.0.0.1:1/;token=seen"}, work_dir="in/a.tar")
say()
"""


def test_master_delta_and_java_are_asked_for_where_this_process_would_start_spark(here):
    environment = {name: value for name, value in os.environ.items() if name != "PYSPARK_PYTHON"}
    done = subprocess.run(
        [sys.executable, "-c", ALONE],
        env=environment | {"JAVA_HOME": "/none", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )

    said = iter(done.stdout.splitlines())
    assert next(said).startswith("spark.master: 'bogus' is no master")
    assert next(said).startswith("delta is not installed")
    assert next(said).startswith("torch is not installed")
    assert next(said).startswith("open_clip is not installed")
    assert next(said).startswith(f"work_dir: {here}/in/a.tar is a file")  # a Connect server has libraries of its own
    assert next(said).startswith("Spark needs Java")
    assert list(said) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_a_place_mounted_for_reading_only_is_refused(here):
    (here / "o").mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", "o"], check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        with pytest.raises(ImgDedupError, match=r"output\.path: .*/o cannot be written to"):
            run(parse_config(settings(output={"path": "o/out"})))
    finally:
        subprocess.run(["umount", "o"], check=True)
