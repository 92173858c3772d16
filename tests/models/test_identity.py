"""What tells a model from another one of the same spec, without building it."""

from __future__ import annotations

import shutil
import sys

import pytest

from spark_imgdedup.models.identity import class_identity, encoder_identity, pixel_scorer_identity
from spark_imgdedup.preprocess import LITE0, LITE0_INT8

WITH_FINGERPRINT = """
class Encoder:
    fingerprint = "{word}"
    def __init__(self, settings):
        raise MemoryError("it was built")
"""
WITHOUT = """
class Encoder:
    def __init__(self, settings):
        self.fingerprint = "{word}"
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module of that source, as a new process would import it."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(source):
        (tmp_path / "toy_identity.py").write_text(source)
        sys.modules.pop("toy_identity", None)
        shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
        return "toy_identity:Encoder"

    yield write
    sys.modules.pop("toy_identity", None)


def test_a_class_is_known_by_its_own_word_and_not_built(module):
    spec = module(WITH_FINGERPRINT.format(word="one"))

    assert encoder_identity(spec, None) == class_identity(spec, "encoder") == "one"
    assert encoder_identity(module(WITH_FINGERPRINT.format(word="two") + "# a comment"), None) == "two"


def test_a_class_without_a_word_is_known_by_its_source(module):
    one = encoder_identity(module(WITHOUT.format(word="one")), None)

    assert encoder_identity(module(WITHOUT.format(word="two")), None) != one
    assert encoder_identity(module(WITHOUT.format(word="one")), None) == one


def test_what_is_not_on_this_machine_is_not_known(tmp_path):
    assert encoder_identity("only_on_workers:Encoder", None) is None
    assert encoder_identity(f"onnx:{tmp_path}/none.onnx", None) is None
    assert encoder_identity("open_clip:ViT-B-32/openai", None) is None
    assert encoder_identity("open_clip:ViT-B-32/openai", str(tmp_path / "none")) is None
    assert pixel_scorer_identity("only_on_workers:Scorer") is None


def test_the_packaged_encoder_is_known_by_its_weights():
    assert len(encoder_identity(LITE0, None)) == 16
    assert encoder_identity(LITE0, None) != encoder_identity(LITE0_INT8, None)


@pytest.mark.parametrize(
    "form", ["onnx:{}/w.onnx", "torchscript:{}/w.onnx", "open_clip:local-dir:{}", "timm:resnet50@{}/w.onnx"]
)
def test_weights_that_a_spec_names_count_by_what_is_in_them(tmp_path, form):
    spec = form.format(tmp_path)
    (tmp_path / "w.onnx").write_bytes(b"1")
    one = encoder_identity(spec, None)
    (tmp_path / "w.onnx").write_bytes(b"2")
    two = encoder_identity(spec, None)
    (tmp_path / "w.onnx").write_bytes(b"1")

    assert two != one
    assert encoder_identity(spec, None) == one


def test_a_file_at_a_url_counts_by_its_size_and_time_and_is_not_read(tmp_path):
    path = tmp_path / "w.pt"
    spec = f"torchscript:file://{path}"
    assert encoder_identity(spec, None) is None
    path.write_bytes(b"1")
    one = encoder_identity(spec, None)
    path.write_bytes(b"22")

    assert encoder_identity(spec, None) != one


def test_the_weights_of_a_model_dir_count_and_other_files_there_do_not(tmp_path):
    spec = "open_clip:ViT-B-32/openai"
    (tmp_path / "a").mkdir()
    (tmp_path / "a/weights.pt").write_bytes(b"1")
    one = encoder_identity(spec, str(tmp_path))
    (tmp_path / "lock").write_text("x")

    assert encoder_identity(spec, str(tmp_path)) == one
    (tmp_path / "a/weights.pt").write_bytes(b"2")
    assert encoder_identity(spec, str(tmp_path)) != one
