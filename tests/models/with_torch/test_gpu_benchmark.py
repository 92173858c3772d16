"""The benchmark for a GPU, in little on the CPU: it must run on a machine that nobody has tried it on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "gpu" / "run.py"
# Not on a machine that has a GPU and nothing else: the script must not come to need them.
ABSENT = ("pyspark", "open_clip", "timm", "pyarrow", "pandas", "huggingface_hub", "onnxruntime")
PROGRAM = """
import runpy, sys
for name in {absent}:
    sys.modules[name] = None
sys.argv = {arguments}
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(*arguments):
    code = PROGRAM.format(absent=ABSENT, arguments=[str(SCRIPT), *arguments])
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)


def test_it_measures_everything_without_spark_or_a_hub(tmp_path):
    done = run("--smoke", "--threads", "1", "--out", str(tmp_path / "gpu.json"))

    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert set(found) == {"machine", "embedding", "kernels"}
    assert found["machine"]["torch"]
    embedding, kernels = found["embedding"], found["kernels"]
    assert embedding["min_cosine_to_the_cpu_s_resize"] == pytest.approx(1, abs=1e-4)
    assert embedding["min_cosine_of_its_decoding"] == pytest.approx(1, abs=1e-3)
    streams = [value for name, value in embedding.items() if name.startswith("stream")]
    assert len(streams) >= 3
    assert all(each["images_per_s"] > 0 for each in (*streams, embedding["model_alone"]))
    assert kernels["same_bits_as_the_cpu"] == dict.fromkeys(
        ("normalised rows", "assignment", "pairs", "centroids"), True
    )
    assert kernels["pairs"]["resident_rows_per_s"] > 0


def test_parts_that_would_take_too_long_are_left_out_and_said_to_be(tmp_path):
    done = run("--smoke", "--minutes", "0.1", "--out", str(tmp_path / "gpu.json"))

    found = json.loads((tmp_path / "gpu.json").read_text())
    assert done.returncode == 0
    assert [list(found[name]) for name in ("embedding", "kernels")] == [["left_out"], ["left_out"]]


def test_without_a_gpu_it_says_what_works():
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    done = run()

    assert done.returncode == 2
    assert "--smoke needs none" in done.stderr
