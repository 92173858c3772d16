"""Against open_clip called directly, on a CLIP small enough to be made here."""

import json

import numpy as np
import pytest

from spark_imgdedup.errors import DeviceError, ModelError
from spark_imgdedup.models import EncoderSettings, Preprocess, fetch_model, load_encoder

TINY = {
    "embed_dim": 24,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 50, "width": 32, "heads": 2, "layers": 1},
}
TRANSFORM = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4], "interpolation": "bicubic", "resize_mode": "shortest"}


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory):
    """A folder in open_clip's own format, with random weights."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("tiny_clip")
    torch.manual_seed(0)
    save_file(open_clip.CLIP(**TINY).state_dict(), folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY, "preprocess_cfg": TRANSFORM}))
    return folder


def load(folder, **others):
    return load_encoder(EncoderSettings(model=f"open_clip:local-dir:{folder}", **others))


def embed(encoder, pictures):
    return encoder.encode(np.stack([encoder.preprocess(picture) for picture in pictures]))


def test_embeddings_equal_open_clips_own(tiny_clip, pictures):
    import open_clip
    import torch

    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{tiny_clip}")
    batch = torch.stack([transform(picture) for picture in pictures])
    with torch.inference_mode():
        expected = model.eval().encode_image(batch).numpy()

    encoder = load(tiny_clip)

    assert np.array_equal(np.stack([encoder.preprocess(picture) for picture in pictures]), batch.numpy())
    assert embed(encoder, pictures) == pytest.approx(expected, abs=1e-5)
    assert encoder.dim == 24


def test_a_half_precision_gives_nearly_the_same_vectors_as_float32(tiny_clip, pictures):
    exact = embed(load(tiny_clip), pictures)

    for precision in ("bf16", "fp16"):
        rough = embed(load(tiny_clip, precision=precision), pictures)
        cosines = (exact * rough).sum(axis=1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(rough, axis=1)
        assert rough.dtype == np.float32
        assert cosines.min() > 0.99
        assert not np.array_equal(rough, exact)


def test_torch_is_held_to_the_threads_of_the_task(tiny_clip):
    import torch

    load(tiny_clip, n_threads=1)

    assert torch.get_num_threads() == 1


def test_the_text_tower_is_left_out(tiny_clip):
    import open_clip

    whole = sum(p.numel() for p in open_clip.CLIP(**TINY).parameters())
    kept = sum(p.numel() for p in load(tiny_clip)._parts.forward.__self__.parameters())

    assert kept < whole
    assert kept - sum(p.numel() for p in open_clip.CLIP(**TINY).visual.parameters()) <= 1  # logit_scale


def test_strips_are_cut_before_they_are_enlarged(tiny_clip):
    from PIL import Image

    assert load(tiny_clip).preprocess(Image.new("RGB", (1, 500_000))).shape == (3, 32, 32)


def test_the_fingerprint_follows_weights_and_transform(tiny_clip, tmp_path):
    config = json.loads((tiny_clip / "open_clip_config.json").read_text())
    weights = (tiny_clip / "open_clip_model.safetensors").read_bytes()
    (tmp_path / "open_clip_model.safetensors").write_bytes(weights)
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    copied = load(tmp_path).fingerprint
    config["preprocess_cfg"]["interpolation"] = "bilinear"
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))

    assert copied == load(tiny_clip).fingerprint
    assert load(tmp_path).fingerprint != copied


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("open_clip:ViT-L-14/openai", r"without QuickGELU, but .* with it. Use open_clip:ViT-L-14-quickgelu/openai"),
        (
            "open_clip:ViT-B-32-quickgelu/laion2b_s34b_b79k",
            "has no weights 'laion2b_s34b_b79k'|Use open_clip:ViT-B-32/",
        ),
        ("open_clip:ViT-L-15/openai", "no architecture 'ViT-L-15'. Did you mean .*ViT-L-14"),
        ("open_clip:ViT-L-14-quickgelu/opnai", "no weights 'opnai' for ViT-L-14-quickgelu.*Its tags: openai"),
        ("open_clip:ViT-L-14", "lacks its weights"),
        ("open_clip:local-dir:/nowhere", "no folder in open_clip's format"),
    ],
)
def test_a_spec_that_cannot_be_right_is_refused_before_anything_is_loaded(spec, message, tmp_path):
    with pytest.raises(ModelError, match=message):
        load_encoder(EncoderSettings(model=spec, model_dir=str(tmp_path)))


def test_weights_that_are_not_in_the_folder_are_named_and_not_downloaded(tmp_path):
    settings = EncoderSettings(model="open_clip:ViT-L-14-quickgelu/openai", model_dir=str(tmp_path))

    with pytest.raises(ModelError, match=r"fetch-model .*vit_large_patch14_clip_224\.openai.*open_clip_model\.saf"):
        load_encoder(settings)
    assert list(tmp_path.iterdir()) == []


def test_weights_that_were_put_there_by_hand_are_used(tmp_path, pictures):
    """The smallest architecture that has published weights, with random ones in their place."""
    import open_clip
    from safetensors.torch import save_file

    arch, tag = "RN50-quickgelu", "openai"
    repo = open_clip.get_pretrained_cfg(arch, tag)["hf_hub"].strip("/")
    folder = tmp_path / repo.replace("/", "--")
    folder.mkdir()
    model, _, transform = open_clip.create_model_and_transforms(arch)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")

    encoder = load_encoder(EncoderSettings(model=f"open_clip:{arch}/{tag}", model_dir=str(tmp_path)))

    assert encoder.dim == 1024
    assert np.array_equal(encoder.preprocess(pictures[0]), transform(pictures[0]).numpy())
    assert fetch_model(f"open_clip:{arch}/{tag}", tmp_path) == [folder / "open_clip_model.safetensors"]


def test_weights_that_do_not_fit_are_an_error(tiny_clip, tmp_path):
    other = {**TINY, "embed_dim": 25}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": other, "preprocess_cfg": TRANSFORM}))
    (tmp_path / "open_clip_model.safetensors").write_bytes((tiny_clip / "open_clip_model.safetensors").read_bytes())

    with pytest.raises(ModelError, match="cannot be loaded"):
        load(tmp_path)


def test_a_folder_without_weights_is_an_error(tiny_clip, tmp_path):
    (tmp_path / "open_clip_config.json").write_text((tiny_clip / "open_clip_config.json").read_text())

    with pytest.raises(ModelError, match="has no weights"):
        load(tmp_path)


def test_a_hub_that_cannot_be_reached_says_what_to_copy_where(tmp_path, monkeypatch):
    import huggingface_hub.constants as hub_constants

    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", True)

    with pytest.raises(ModelError, match=r"timm/vit_large_patch14_clip_224\.openai, file .*copy the file by hand to"):
        fetch_model("open_clip:ViT-L-14-quickgelu/openai", tmp_path)


def test_settings_that_would_be_ignored_are_refused(tiny_clip):
    with pytest.raises(ModelError, match="knows its own preprocessing"):
        load(tiny_clip, preprocess=Preprocess())


def test_a_device_that_torch_lacks_is_an_error(tiny_clip):
    import torch

    if torch.cuda.is_available():
        assert load(tiny_clip, device="cuda:0").encode(np.zeros((1, 3, 32, 32), np.float32)).shape == (1, 24)
    else:
        with pytest.raises(DeviceError, match="sees no CUDA"):
            load(tiny_clip, device="cuda:0")
