"""The package as a zip, as spark-submit --py-files imports it: code and data without a folder to lie in."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import spark_imgdedup
from spark_imgdedup.models import EncoderSettings, load_encoder
from spark_imgdedup.preprocess import PACKAGED

ROOT = Path(spark_imgdedup.__file__).parent.parent


def build(folder):
    spec = importlib.util.spec_from_file_location("build_zip", ROOT / "scripts" / "build_zip.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.build_zip(folder)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return build(tmp_path_factory.mktemp("zip"))


def run_zipped(archive, code, folder):
    """A fresh interpreter that has the package from the zip and from nowhere before it."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(archive)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def test_the_zip_holds_the_whole_package_and_nothing_else(archive):
    names = set(zipfile.ZipFile(archive).namelist())
    weights = (f"spark_imgdedup/models/weights/{name}.onnx" for name in PACKAGED)
    kept = {*weights, "spark_imgdedup/runs/log4j2.properties"}
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "spark_imgdedup").rglob("*.py")}

    assert names >= kept | modules
    assert all(name.startswith("spark_imgdedup/") and "__pycache__" not in name for name in names)


def test_two_builds_of_the_same_sources_are_the_same_bytes(archive, tmp_path):
    assert build(tmp_path).read_bytes() == archive.read_bytes()


def test_the_embedded_encoder_is_read_out_of_the_zip_and_is_the_same_encoder(archive, tmp_path):
    code = (
        "import spark_imgdedup\n"
        "from spark_imgdedup.models import EncoderSettings, load_encoder\n"
        "print(spark_imgdedup.__file__)\n"
        "print(load_encoder(EncoderSettings(model='efficientnet-lite0')).fingerprint)"
    )

    module, fingerprint = run_zipped(archive, code, tmp_path).stdout.split()

    assert module == f"{archive}/spark_imgdedup/__init__.py"
    assert fingerprint == load_encoder(EncoderSettings(model="efficientnet-lite0")).fingerprint


def test_the_demo_says_that_a_zip_has_no_sample_shards(archive, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "spark_imgdedup", "demo"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(archive)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert done.stderr.startswith("ConfigError: no sample shards beside ")


# Spark's own warnings, such as this one on the log level it starts with, are what our settings silence.
def test_a_local_session_finds_its_log_settings_inside_the_zip(archive, tmp_path):
    code = (
        "from spark_imgdedup.config import parse_config\n"
        "from spark_imgdedup.runs.session import get_session\n"
        "spark = get_session(parse_config({'spark': {'spark.master': 'local[1]'}}))\n"
        "print(spark.range(3).count())\n"
        "spark.stop()"
    )

    done = run_zipped(archive, code, tmp_path)

    assert done.stdout.split() == ["3"]
    assert "log4j" not in done.stderr.lower()
    assert "WARN " not in done.stderr
