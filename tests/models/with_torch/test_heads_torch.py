"""Heads in PyTorch files, against the same network built and run by torch itself."""

import os

import numpy as np
import pytest

from spark_imgdedup.errors import ModelError
from spark_imgdedup.models.heads import load_head


@pytest.fixture
def vectors():
    x = np.random.default_rng(0).normal(size=(40, 768))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype("f4")


def aesthetic_mlp():
    """LAION's layers: dropout between them, no activation."""
    from torch import nn

    layers = [nn.Linear(768, 1024), nn.Dropout(0.2), nn.Linear(1024, 128), nn.Dropout(0.2), nn.Linear(128, 64)]
    return nn.Sequential(*layers, nn.Dropout(0.1), nn.Linear(64, 16), nn.Linear(16, 1)).eval()


def nsfw_parts():
    import torch
    from torch import nn

    generator = torch.Generator().manual_seed(1)
    mean = torch.randn(768, generator=generator) * 0.02
    variance = torch.rand(768, generator=generator) * 4e-3 + 4e-4
    linears = [nn.Linear(768, 64), nn.Linear(64, 512), nn.Linear(512, 256), nn.Linear(256, 1)]
    return mean, variance, linears


@pytest.mark.parametrize("wrapper", [None, "state_dict"])
@pytest.mark.parametrize("is_legacy", [False, True])
def test_the_aesthetic_mlp_scores_as_torch_does(tmp_path, vectors, wrapper, is_legacy):
    import torch

    torch.manual_seed(0)
    model = torch.nn.ModuleDict({"layers": aesthetic_mlp()})
    state = model.state_dict() if wrapper is None else {wrapper: model.state_dict(), "epoch": 3}
    torch.save(state, tmp_path / "head.bin", _use_new_zipfile_serialization=not is_legacy)

    head = load_head("aesthetic", tmp_path / "head.bin")

    with torch.inference_mode():
        expected = model["layers"].double()(torch.from_numpy(vectors).double())[:, 0].numpy()
    assert head.score(vectors) == pytest.approx(expected, abs=5.1e-7)
    assert head.shape == (768, 1024, 128, 64, 16, 1)


def test_a_linear_head_scores_as_torch_does(tmp_path, vectors):
    import torch

    model = torch.nn.Linear(768, 1)
    torch.save(model.state_dict(), tmp_path / "head.pth")

    with torch.inference_mode():
        expected = model.double()(torch.from_numpy(vectors).double())[:, 0].numpy()
    assert load_head("aesthetic", tmp_path / "head.pth").score(vectors) == pytest.approx(expected, abs=5.1e-7)


def test_the_nsfw_classifier_scores_as_torch_does(tmp_path, vectors):
    import torch

    torch.manual_seed(0)
    mean, variance, linears = nsfw_parts()
    state = {"norm.mean": mean, "norm.variance": variance}
    for number, linear in enumerate(linears, 1):
        state |= {f"linear_{number}.weight": linear.weight.data, f"linear_{number}.bias": linear.bias.data}
    torch.save(state, tmp_path / "head.pt")

    with torch.inference_mode():
        x = (torch.from_numpy(vectors).double() - mean) / variance.double().sqrt()
        for linear in linears[:-1]:
            x = linear.double()(x).relu()
        expected = linears[-1].double()(x).sigmoid()[:, 0].numpy()
    assert load_head("nsfw", tmp_path / "head.pt").score(vectors) == pytest.approx(expected, abs=5.1e-7)


def test_half_precision_weights_are_read_as_they_are(tmp_path):
    import torch

    weight = torch.linspace(-1, 1, 8, dtype=torch.bfloat16)[None]
    torch.save({"weight": weight, "bias": torch.zeros(1, dtype=torch.float16)}, tmp_path / "head.pth")

    scores = load_head("aesthetic", tmp_path / "head.pth").score(np.eye(8, dtype="f4"))

    assert scores == pytest.approx(weight[0].double().numpy(), abs=5.1e-7)


def test_the_fingerprint_is_that_of_the_same_weights_in_numpy(tmp_path):
    import torch

    state = torch.nn.ModuleDict({"layers": aesthetic_mlp()}).state_dict()
    torch.save(state, tmp_path / "head.pth")
    np.savez(tmp_path / "head.npz", **{name: tensor.numpy() for name, tensor in state.items()})

    heads = [load_head("aesthetic", tmp_path / name) for name in ("head.pth", "head.npz")]

    assert heads[0].fingerprint == heads[1].fingerprint


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_code_in_a_weight_file_is_never_run(tmp_path):
    import torch

    torch.save({"weight": torch.ones(1, 3), "x": Payload(str(tmp_path / "ran"))}, tmp_path / "evil.pth")
    torch.save(torch.nn.Linear(3, 1), tmp_path / "module.pth")

    for name in ("evil.pth", "module.pth"):
        with pytest.raises(ModelError, match="code in a weight file is never run"):
            load_head("aesthetic", tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_a_damaged_or_empty_file_says_so(tmp_path):
    import torch

    torch.save({"weight": torch.ones(1, 3)}, tmp_path / "head.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "head.pth").read_bytes()[:-200])
    torch.save({"epoch": 3}, tmp_path / "none.pth")

    for name, message in [("cut.pth", "cannot be read"), ("none.pth", "holds no tensors")]:
        with pytest.raises(ModelError, match=message):
            load_head("aesthetic", tmp_path / name)
