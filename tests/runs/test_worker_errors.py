"""Errors of workers in a session that we start: a task is tried once more, and then they are one line."""

from __future__ import annotations

import subprocess
import sys

from tests.tars import jpeg, make_tar

SCRIPT = """
from spark_imgdedup import cli
from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import ModelError
from spark_imgdedup.pipeline import run

def config(model):
    return parse_config({"input": {"path": "in"}, "work_dir": model, "embed": {"model": f"tests.encoders:{model}",
                         "model_dir": "marks"}, "detect": {"prepass": []}, "output": {"path": "o"},
                         "report": {"page": False}})

print("read", run(config("DyingEncoder"), steps=["embed"]).read)
try:
    run(config("UnloadableEncoder"), steps=["embed"])
except ModelError as error:
    print("python:", error, "| from", type(error.__cause__).__name__)
arguments = "embed --set input.path=in --set work_dir=w --set detect.prepass=[] --set embed.model_dir=marks --set"
try:
    cli.main([*arguments.split(), "embed.model=tests.encoders:UnloadableEncoder"])
except SystemExit as ended:
    print("line:", ended)
"""


def test_a_dead_worker_is_replaced_and_an_error_of_ours_comes_back_as_one_line(tmp_path):
    make_tar(tmp_path / "in/a.tar", [("0.jpg", jpeg(1)), ("1.jpg", jpeg(2))])
    (tmp_path / "marks").mkdir()

    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=tmp_path, capture_output=True, text=True, check=True)

    refusal = r"The weights\x1b[31m are not here. Copy them to every worker."
    assert done.stdout.splitlines() == [
        "read 2",
        f"python: {refusal} | from PythonException",
        f"line: ModelError: {refusal}",
    ]
    assert "Python worker exited unexpectedly (crashed)" in done.stderr  # that one was tried again is told
    assert not [line for line in done.stderr.splitlines() if line.startswith("\tat ")]  # but without Java's stack
    assert (tmp_path / "marks/died").exists()
