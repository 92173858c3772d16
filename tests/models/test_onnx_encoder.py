"""Graphs from fixtures/, whose embedding is the mean of each channel, and the encoder that comes with the package."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from spark_imgdedup.errors import ModelError
from spark_imgdedup.models import EncoderSettings, Preprocess, load_encoder
from spark_imgdedup.models.cpu import cpu_has_int8, cpuinfo
from spark_imgdedup.models.onnx_encoder import LITE0_CPU_ROWS
from spark_imgdedup.models.preprocess import Fit, to_array
from tests.models.fitted import scaled_and_cut

FIXTURES = Path(__file__).parent / "fixtures"
SMALL = Preprocess(size=8)


def load(name, how=SMALL, **others):
    return load_encoder(EncoderSettings(model=f"onnx:{FIXTURES / name}.onnx", preprocess=how, **others))


def photo(width=300, height=200, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_a_graph_of_bytes_in_nhwc_gets_bytes_in_nhwc():
    encoder = load("bytes_nhwc_288", Preprocess(size=288, layout="NHWC", dtype="uint8", resize="squash"))

    batch = np.stack([encoder.preprocess(Image.new("RGB", (50, 70), colour)) for colour in ((1, 2, 3), (250, 0, 9))])

    assert (batch.shape, batch.dtype, encoder.dim) == ((2, 288, 288, 3), np.uint8, 3)
    assert encoder.encode(batch).tolist() == [[1, 2, 3], [250, 0, 9]]


@pytest.mark.parametrize("n", [0, 1, 3, 4, 5, 9])
def test_a_graph_of_fixed_batch_takes_any_number(n):
    encoder = load("batch_of_4")
    batch = np.random.default_rng(n).random((n, 3, 8, 8), dtype=np.float32)

    embeddings = encoder.encode(batch)

    assert embeddings.shape == (n, 3)
    assert embeddings == pytest.approx(batch.mean(axis=(2, 3)), abs=1e-6)


def test_a_graph_of_open_size_and_dim_is_measured():
    encoder = load("open_dim", Preprocess(size=20, mean=(0.5, 0.5, 0.5), std=(0.5, 0.25, 1.0)))

    assert encoder.dim == 3
    assert encoder.encode(encoder.preprocess(Image.new("RGB", (40, 30), "white"))[None])[0] == pytest.approx(
        [1, 2, 0.5]
    )


def test_a_graph_of_half_floats_is_fed_half_floats():
    encoder = load("half_input")

    embeddings = encoder.encode(encoder.preprocess(Image.new("RGB", (9, 9), "white"))[None])

    assert (embeddings.dtype, embeddings.tolist()) == (np.float32, [[1, 1, 1]])


@pytest.mark.parametrize(
    ("name", "how", "message"),
    [
        ("batch_of_4", Preprocess(size=9), r"takes \[4, 3, 8, 8\], but preprocess makes \(B, 3, 9, 9\)"),
        ("batch_of_4", Preprocess(size=8, layout="NHWC"), r"but preprocess makes \(B, 8, 8, 3\) for layout NHWC"),
        (
            "batch_of_4",
            Preprocess(size=8, dtype="uint8"),
            r"takes tensor\(float\), but embed.preprocess.dtype is uint8",
        ),
        ("bytes_nhwc_288", Preprocess(size=288, layout="NHWC"), r"takes tensor\(uint8\), but .* is float32"),
        ("two_inputs", SMALL, "has 2 inputs, but an image encoder has one"),
        ("no_embedding", SMALL, r"has no output of shape \(B, dim\), only pixels .*, embedding "),
        ("batch_of_4", None, "needs embed.preprocess"),
        ("nothing_here", SMALL, "There is no ONNX file at"),
    ],
)
def test_a_graph_that_does_not_fit_is_refused(name, how, message):
    with pytest.raises(ModelError, match=message):
        load(name, how)


def test_a_file_that_is_no_graph_is_refused(tmp_path):
    (tmp_path / "page.onnx").write_text("<html>")

    with pytest.raises(ModelError, match="cannot be loaded as an ONNX graph"):
        load_encoder(EncoderSettings(model=f"onnx:{tmp_path / 'page.onnx'}", preprocess=SMALL))


def test_a_precision_that_has_no_effect_is_said(caplog):
    with caplog.at_level(logging.WARNING):
        load("batch_of_4", precision="bf16")

    assert "precision bf16 has no effect" in caplog.text


def test_the_fingerprint_names_weights_and_preprocessing_but_not_the_path(tmp_path):
    original = load("batch_of_4")
    copy = tmp_path / "copy.onnx"
    copy.write_bytes((FIXTURES / "batch_of_4.onnx").read_bytes())

    moved = load_encoder(EncoderSettings(model=f"onnx:{copy}", preprocess=SMALL))

    assert moved.fingerprint == original.fingerprint
    assert load("batch_of_4", Preprocess(size=8, interpolation="bilinear")).fingerprint != original.fingerprint
    assert load("open_dim").fingerprint != original.fingerprint


@pytest.fixture(scope="module")
def lite0():
    return load_encoder(EncoderSettings(model="efficientnet-lite0"))


def test_the_default_encoder_sees_that_a_small_change_is_small(lite0):
    original, changed = photo(), photo().resize((150, 100))
    other = Image.fromarray(np.kron(np.indices((10, 15)).sum(axis=0) % 2 * 255, np.ones((20, 20))).astype(np.uint8))
    other = other.convert("RGB")  # a chessboard

    a, b, c = lite0.encode(np.stack([lite0.preprocess(image) for image in (original, changed, other)]))

    assert (lite0.dim, a.shape, a.dtype) == (1280, (1280,), np.float32)
    assert cosine(a, b) > 0.97
    assert cosine(a, c) < 0.5


def test_the_default_encoder_gives_one_image_the_same_embedding_in_any_batch(lite0):
    batch = np.stack([lite0.preprocess(photo(seed=seed)) for seed in range(5)])

    together = lite0.encode(batch)

    for row, image in zip(together, batch, strict=True):
        assert lite0.encode(image[None])[0] == pytest.approx(row, abs=1e-4)


def test_the_default_encoder_takes_few_pictures_at_once_and_gives_the_bits_that_each_few_would(lite0):
    batch = np.stack([lite0.preprocess(photo(seed=seed)) for seed in range(11)])

    few = [lite0.encode(batch[start : start + LITE0_CPU_ROWS]) for start in range(0, len(batch), LITE0_CPU_ROWS)]

    assert np.array_equal(lite0.encode(batch), np.concatenate(few))


@pytest.fixture(scope="module")
def integers():
    if not cpu_has_int8(cpuinfo()):
        pytest.skip("this CPU has no VNNI")
    return load_encoder(EncoderSettings(model="efficientnet-lite0-int8", device="cuda:0"))


def test_vectors_of_integers_are_near_those_of_float32_and_the_same_in_any_batch(lite0, integers):
    batch = np.stack([lite0.preprocess(photo(seed=seed)) for seed in range(9)])
    vectors, close = integers.encode(batch), lite0.encode(batch)

    cosines = (vectors * close).sum(axis=1) / np.linalg.norm(vectors, axis=1) / np.linalg.norm(close, axis=1)
    assert cosines.min() > 0.9
    assert np.array_equal(vectors, np.concatenate([integers.encode(batch[:5]), integers.encode(batch[5:])]))
    assert integers.fingerprint != lite0.fingerprint
    assert integers.dim == lite0.dim


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_levels_are_scaled_as_one_expression_does(layout):
    how = Preprocess(size=32, mean=(0.48, 0.45, 0.4), std=(0.26, 0.27, 0.28), layout=layout)
    levels = to_array(photo(), Preprocess(size=32, dtype="uint8", layout="NHWC"))

    scaled = (levels.astype(np.float32) / np.float32(255) - np.float32(how.mean)) / np.float32(how.std)

    assert np.array_equal(to_array(photo(), how), scaled.transpose(2, 0, 1) if layout == "NCHW" else scaled)


def test_the_default_encoder_refuses_another_preprocessing():
    with pytest.raises(ModelError, match="knows its own preprocessing"):
        load_encoder(EncoderSettings(model="efficientnet-lite0", preprocess=SMALL))


@pytest.mark.parametrize("resize", ["crop", "squash"])
@pytest.mark.parametrize("size", [(1, 4000), (4000, 1), (1, 1), (7, 300), (300, 7)])
def test_pictures_of_any_shape_become_a_square(size, resize):
    array = to_array(Image.new("RGB", size, (255, 0, 0)), Preprocess(size=32, resize=resize, crop_pct=0.875))

    assert array.shape == (3, 32, 32)
    assert array.reshape(3, -1).mean(axis=1).tolist() == [1, 0, 0]


@given(
    width=st.integers(1, 400), height=st.integers(1, 400), seed=st.integers(0, 9), squash=st.booleans(),
    interpolation=st.sampled_from(["bicubic", "bilinear"]), scaled=st.integers(32, 60),
)  # fmt: skip
def test_a_square_is_nearly_that_of_the_scaled_picture(width, height, seed, squash, interpolation, scaled):
    noise = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))
    fit = Fit(scaled, 32, squash, interpolation)

    levels = np.abs(np.asarray(fit.apply(noise), np.int16) - np.asarray(scaled_and_cut(noise, fit), np.int16))

    # Noise is the worst there is: Pillow clips what bicubic overshoots between its passes, in an order of its own.
    assert levels.mean() < 1
    assert levels.max() <= (2 if interpolation == "bilinear" else 40)


@given(width=st.integers(1, 90), height=st.integers(1, 90), pct=st.sampled_from([0.5, 0.875, 1.0]))
def test_layouts_hold_the_same_pixels(width, height, pct):
    image = photo(width, height)

    channels_first = to_array(image, Preprocess(size=16, dtype="uint8", crop_pct=pct))
    channels_last = to_array(image, Preprocess(size=16, dtype="uint8", crop_pct=pct, layout="NHWC"))

    assert np.array_equal(channels_first.transpose(1, 2, 0), channels_last)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"std": (1, 0, 1)}, "std must be above 0"),
        ({"dtype": "uint8", "mean": (0.5, 0.5, 0.5)}, "do not apply to dtype uint8"),
        ({"sise": 3}, "Extra inputs"),
        ({"size": 0}, "greater than or equal to 1"),
        ({"crop_pct": 1.5}, "less than or equal to 1"),
    ],
)
def test_preprocess_settings_that_make_no_sense_are_refused(wrong, message):
    with pytest.raises(ValidationError, match=message):
        Preprocess(**wrong)


def test_onnx_runtimes_telemetry_is_off_and_leaves_nothing_behind(tmp_path):
    code = (
        "from spark_imgdedup.models import EncoderSettings, load_encoder\n"
        "import spark_imgdedup.checkup.libraries as libraries\n"
        "assert libraries.version_of('onnxruntime')[0]\n"
        "load_encoder(EncoderSettings(model='efficientnet-lite0'))\n"
    )
    folders = {name: str(tmp_path / name) for name in ("TMPDIR", "HOME", "XDG_CACHE_HOME")}
    for folder in folders.values():
        Path(folder).mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"} | folders

    subprocess.run([sys.executable, "-c", code], check=True, env=environment)

    assert [file for file in tmp_path.rglob("*") if file.is_file() or file.name == ".ses"] == []
