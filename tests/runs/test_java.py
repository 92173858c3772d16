"""A Java that is missing or too old costs one line, before anything is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from spark_imgdedup.runs import java

OPENJDK = 'openjdk version "{0}" 2024-01-16\nOpenJDK Runtime Environment (build {0}+7)\n'


def run_java_py(folder, *, home=None):
    """java.py as the Makefile runs it: by its path, with the standard library alone."""
    environment = {"PATH": str(folder)} | ({"JAVA_HOME": str(home)} if home else {})
    return subprocess.run(
        [sys.executable, "-I", java.__file__], env=environment, capture_output=True, text=True, check=False
    )


def put_java(folder, says, code=0):
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "java"
    script.write_text(f"#!/bin/sh\n/bin/cat >&2 <<'END'\n{says}\nEND\nexit {code}\n")
    script.chmod(0o755)
    return folder


@pytest.mark.parametrize("version", ["17.0.9", "21", "25.0.1"])
def test_a_java_that_spark_runs_on_is_passed_without_a_word(tmp_path, version):
    done = run_java_py(put_java(tmp_path, OPENJDK.format(version)))

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(("version", "major"), [("1.8.0_392", "8"), ("11.0.21", "11"), ("16.0.2", "16")])
def test_an_older_java_is_named_with_what_to_install(tmp_path, version, major):
    done = run_java_py(put_java(tmp_path, OPENJDK.format(version)))

    assert done.returncode == 1
    assert done.stderr.startswith(f"Spark needs Java 17, found {major} at {tmp_path / 'java'}. Install Java 17")
    assert done.stderr.count("\n") == 1


def test_no_java_at_all_is_one_line(tmp_path):
    done = run_java_py(tmp_path)

    assert done.returncode == 1
    assert done.stderr.startswith("Spark needs Java, and none was found on PATH. Install Java 17")
    assert done.stderr.count("\n") == 1


def test_a_java_that_only_says_how_to_get_one_counts_as_none(tmp_path):
    done = run_java_py(put_java(tmp_path, "Unable to locate a Java Runtime.", code=1))

    assert done.stderr.startswith(f"Spark needs Java, and none was found at {tmp_path / 'java'}.")


def test_a_java_without_a_version_is_quoted_in_one_line(tmp_path):
    done = run_java_py(put_java(tmp_path, "some\nother\nprogram"))

    assert "names no version; it said 'some other program'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_options_that_java_repeats_before_its_version_do_not_matter(tmp_path):
    done = run_java_py(put_java(tmp_path, "Picked up JAVA_TOOL_OPTIONS: -Xmx1g\n" + OPENJDK.format("17.0.9")))

    assert done.returncode == 0


def test_java_home_comes_before_the_path(tmp_path):
    good, old = put_java(tmp_path / "path", OPENJDK.format("17")), put_java(tmp_path / "home/bin", OPENJDK.format("11"))

    assert f"found 11 at {old / 'java'}" in run_java_py(good, home=tmp_path / "home").stderr
    assert "none was found at" in run_java_py(good, home=tmp_path / "nowhere").stderr


def test_a_session_is_refused_with_the_same_line(tmp_path):
    code = "from spark_imgdedup.config import Config; from spark_imgdedup.runs.session import get_session; " + (
        "get_session(Config())"
    )
    environment = {key: value for key, value in os.environ.items() if key != "JAVA_HOME"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "PATH": str(tmp_path), "PYTHONPATH": str(Path(java.__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (
        done.stderr.strip()
        .splitlines()[-1]
        .startswith("spark_imgdedup.errors.ConfigError: Spark needs Java, and none was found on PATH.")
    )
