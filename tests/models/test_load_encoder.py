"""From a spec to an encoder, without torch."""

import pickle
import sys
import threading

import numpy as np
import pytest

from spark_imgdedup.errors import ModelError
from spark_imgdedup.models import (
    Encoder,
    EncoderSettings,
    Preprocess,
    cached_encoder,
    fetch_model,
    load_encoder,
    recommended_eps,
)
from spark_imgdedup.models.base import fingerprint
from spark_imgdedup.models.cpu import cpu_has_bf16, cpu_has_int8

TOY = """
import numpy as np
built = []

class MeanColour:
    def __init__(self, settings):
        built.append(settings)
        self.name, self.dim, self.fingerprint = settings.model, 3, "mean-colour"
    def preprocess(self, image):
        return np.asarray(image, dtype=np.float32)
    def encode(self, batch):
        return batch.mean(axis=(1, 2))

class NoEncoder:
    def __init__(self, settings):
        self.name = "half"

class Failing:
    def __init__(self, settings):
        raise RuntimeError("no licence")
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    (tmp_path / "toy_encoders.py").write_text(TOY)
    (tmp_path / "needs_more.py").write_text("import a_library_that_nobody_has\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("toy_encoders", None)
    sys.modules.pop("needs_more", None)


@pytest.mark.usefixtures("toy")
def test_an_encoder_of_ones_own_is_loaded_by_its_path():
    settings = EncoderSettings(model="toy_encoders:MeanColour", n_threads=2)

    encoder = load_encoder(settings)

    assert isinstance(encoder, Encoder)
    assert encoder.encode(np.ones((2, 4, 4, 3), np.float32)).tolist() == [[1, 1, 1]] * 2
    assert sys.modules["toy_encoders"].built == [settings]


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("toy_encoders:NoEncoder", "is no encoder: it lacks dim, fingerprint, preprocess, encode"),
        ("toy_encoders:Missing", "Module 'toy_encoders' has no 'Missing'"),
        ("toy_encoders:Failing", "failed while it was built: RuntimeError: no licence"),
        ("needs_more:Encoder", "cannot be imported: No module named 'a_library_that_nobody_has'"),
    ],
)
def test_an_encoder_of_ones_own_that_cannot_serve_says_why(spec, message):
    with pytest.raises(ModelError, match=message):
        load_encoder(EncoderSettings(model=spec))


@pytest.mark.parametrize(
    ("spec", "guess"),
    [
        ("efficientnet-lite", "Did you mean 'efficientnet-lite0'"),
        ("openclip:ViT-B-32/openai", "Did you mean 'open_clip:ViT-B-32/openai'"),
        ("ViT-B-32/openai", "Did you mean 'open_clip:ViT-B-32/openai'"),
        ("some/folder/sscd.onnx", "Did you mean "),
        ("some/folder/sscd.torchscript.pt", "Did you mean 'torchscript:some/"),
        ("Timm:resnet18", "Did you mean 'timm:resnet18'"),
        ("no.such.module:Thing", "An encoder is one of"),
    ],
)
def test_an_unknown_spec_names_the_forms_and_the_nearest(spec, guess):
    with pytest.raises(ModelError, match=guess) as caught:
        load_encoder(EncoderSettings(model=spec))

    assert "open_clip:<arch>/<pretrained>" in str(caught.value)


@pytest.mark.usefixtures("toy")
def test_one_process_holds_one_encoder():
    first = EncoderSettings(model="toy_encoders:MeanColour")
    second = EncoderSettings(model="toy_encoders:MeanColour", preprocess=Preprocess(size=9))

    encoder = cached_encoder(first)

    assert cached_encoder(EncoderSettings(model="toy_encoders:MeanColour")) is encoder
    assert cached_encoder(second) is not encoder
    assert cached_encoder(first) is not encoder


@pytest.mark.usefixtures("toy")
def test_threads_that_start_together_build_one_encoder():
    settings = EncoderSettings(model="toy_encoders:MeanColour", n_threads=7)
    barrier, encoders = threading.Barrier(4), []

    def load():
        barrier.wait()
        encoders.append(cached_encoder(settings))

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({id(encoder) for encoder in encoders}) == 1
    assert len(encoders) == 4


def test_settings_travel_to_workers():
    settings = EncoderSettings(model="onnx:a.onnx", preprocess=Preprocess(size=9, mean=(0.1, 0.2, 0.3)))

    assert pickle.loads(pickle.dumps(settings)) == settings


def test_only_measured_encoders_have_an_eps():
    assert recommended_eps("efficientnet-lite0") == recommended_eps("efficientnet-lite0-int8") == 0.22
    assert recommended_eps("open_clip:ViT-L-14-quickgelu/openai") is None


@pytest.mark.parametrize("spec", ["efficientnet-lite0", "onnx:a.onnx", "timm:resnet18@a.pth", "my.module:Encoder"])
def test_an_encoder_that_downloads_nothing_has_nothing_to_fetch(spec, tmp_path):
    assert fetch_model(spec, tmp_path) == []


def test_an_unknown_encoder_cannot_be_fetched(tmp_path):
    with pytest.raises(ModelError, match="There is no encoder 'resnet'"):
        fetch_model("resnet", tmp_path)


def test_large_weights_are_told_apart_without_reading_them_whole(tmp_path):
    size = 65 << 20
    names = []
    for name, offset in (("zeros", None), ("first", 0), ("last", size - 1)):
        path = tmp_path / name
        with path.open("wb") as file:
            file.truncate(size)
            if offset is not None:
                file.seek(offset)
                file.write(b"x")
        names.append(fingerprint({}, [path]))

    assert len(set(names)) == 3
    assert fingerprint({}, [tmp_path / "zeros"]) == names[0]
    assert fingerprint({"kind": "other"}, [tmp_path / "zeros"]) != names[0]


@pytest.mark.parametrize(
    ("cpuinfo", "has_it"),
    [
        ("flags : fpu avx512f avx512_bf16 amx_tile", True),
        ("flags : fpu avx2 avx512f avx512_vnni", False),
        ("Features : fp asimd bf16 i8mm", True),
        ("", True),  # nobody says
    ],
)
def test_whether_a_cpu_has_bf16_is_read_from_what_the_system_says(cpuinfo, has_it):
    assert cpu_has_bf16(cpuinfo) is has_it


@pytest.mark.parametrize(
    ("cpuinfo", "has_it"),
    [
        ("flags : fpu avx2 avx512f avx512_vnni", True),
        ("flags : fpu avx2 avx_vnni", True),
        ("flags : fpu avx2 avx512f avx512bw", False),
        ("Features : fp asimd asimddp", True),
        ("", True),
    ],
)
def test_whether_a_cpu_sums_bytes_without_saturating_is_read_so_too(cpuinfo, has_it):
    assert cpu_has_int8(cpuinfo) is has_it


def test_integers_are_refused_where_a_cpu_would_give_others(monkeypatch):
    monkeypatch.setattr("spark_imgdedup.models.onnx_encoder.cpuinfo", lambda: "flags : fpu avx2")

    with pytest.raises(ModelError, match=r"needs a CPU with VNNI.*Set embed.model to efficientnet-lite0"):
        load_encoder(EncoderSettings(model="efficientnet-lite0-int8"))
