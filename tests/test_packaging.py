"""The wheel and the sdist: built, installed where nothing of the checkout is, and used."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import spark_imgdedup
from spark_imgdedup.preprocess import PACKAGED

ROOT = Path(spark_imgdedup.__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TOOLS = Path(sys.executable).parent

pytestmark = [pytest.mark.packaging, pytest.mark.slow]


def call(*command, **options):
    """What the command prints, without what would let it find the checkout."""
    ours = ("PYTHONPATH", "PYSPARK_PYTHON", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    done = subprocess.run(
        [str(word) for word in command], env=environment, capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """ending -> file: the wheel and the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "hatchling", "build", "-d", folder, cwd=ROOT)
    return {"wheel": next(folder.glob("*.whl")), "sdist": next(folder.glob("*.tar.gz"))}


@pytest.fixture(scope="module", params=["wheel", "sdist"])
def installed(request, built, tmp_path_factory):
    """An environment with the locked versions, and nothing else, into which one of them was installed."""
    folder = tmp_path_factory.mktemp(request.param)
    call(TOOLS / "uv", "venv", "-q", "--python", sys.executable, folder)
    install = TOOLS / "uv", "pip", "install", "-q", "--python", folder / "bin/python"
    call(*install, "--require-hashes", "-r", ROOT / "requirements/run.txt")
    call(*install, "--no-build-isolation", f"{built[request.param]}[local]")  # the lock has the backend
    return folder


def test_the_demo_runs_from_an_empty_folder(installed, tmp_path):
    printed = call(installed / "bin/spark-imgdedup", "demo", cwd=tmp_path)

    assert "planted copies found: 75 of 75" in printed
    assert "false removals: 0" in printed
    where = call(installed / "bin/python", "-c", "import spark_imgdedup; print(spark_imgdedup.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(installed)


def test_the_console_script_and_the_module_are_one_command(installed, tmp_path):
    as_script = call(installed / "bin/spark-imgdedup", "--help", cwd=tmp_path)
    as_module = call(installed / "bin/python", "-m", "spark_imgdedup", "--help", cwd=tmp_path)

    assert as_script.splitlines()[2:] == as_module.splitlines()[2:]  # above stands how it was called


def test_types_reach_the_code_of_users(installed, tmp_path):
    (tmp_path / "theirs.py").write_text(
        "from spark_imgdedup import Config\n"
        "reveal_type(Config().identify.eps)\n"
        "reveal_type(Config().output.path)\n"
        "reveal_type(Config().cluster.max_iter)\n"
    )

    printed = call(
        TOOLS / "mypy",
        "--strict",
        "--python-executable",
        installed / "bin/python",
        "theirs.py",
        cwd=tmp_path,
    )

    assert [line.partition("Revealed type is ")[2] for line in printed.splitlines() if "Revealed" in line] == [
        "\"float | Literal['auto'] | None\"",
        '"str | None"',
        '"int"',
    ]


def test_wheel_and_sdist_hold_the_weights_the_samples_and_their_licences(built):
    with zipfile.ZipFile(built["wheel"]) as wheel, tarfile.open(built["sdist"]) as sdist:
        in_wheel = set(wheel.namelist())
        in_sdist = {name.partition("/")[2] for name in sdist.getnames()}

    weights = [f"spark_imgdedup/models/weights/{name}.onnx" for name in PACKAGED]
    for name in ("spark_imgdedup/py.typed", *weights):
        assert name in in_wheel
        assert name in in_sdist
    assert {f"spark_imgdedup/_sample_shards/{name}" for name in ("truth.csv", "photos-00000.tar")} <= in_wheel
    assert {"examples/shards/truth.csv", "jobs/dedup.py", "README.md", "LICENSE", "tests/conftest.py"} <= in_sdist
    # No environment or cache that lies beside.
    assert not {name for name in in_sdist if re.match(r"\.(?!ci(/|$)|gitignore$)|work/|dist/|spark-", name)}
    licences = f"spark_imgdedup-{PROJECT['version']}.dist-info/licenses"
    assert {f"{licences}/{name}" for name in PROJECT["license-files"]} <= in_wheel
    assert not {name for name in in_wheel if name.startswith(("tests/", "jobs/", "examples/"))}


@pytest.mark.parametrize("extra", sorted(PROJECT["optional-dependencies"]))
def test_every_extra_can_be_installed(built, extra):
    """Resolved against the registry; torch alone would bring 5 GB."""
    call(TOOLS / "uv", "pip", "compile", "-q", "--python-version", "3.11", "-", input=f"{built['wheel']}[{extra}]\n")
