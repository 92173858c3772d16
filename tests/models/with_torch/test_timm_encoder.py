"""Against timm called directly, on its smallest models with random weights."""

import numpy as np
import pytest

from spark_imgdedup.errors import ModelError
from spark_imgdedup.models import EncoderSettings, fetch_model, load_encoder


@pytest.fixture(params=["test_resnet", "test_vit", "mobilenetv3_small_050"])
def checkpoint(request, tmp_path):
    """Name, model and file: with its classifier, as checkpoints are."""
    import timm
    import torch

    torch.manual_seed(0)
    model = timm.create_model(request.param, num_classes=7).eval()
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    return request.param, model, tmp_path / "weights.pth"


def test_embeddings_equal_timms_own(checkpoint, pictures):
    import timm
    import torch

    name, model, path = checkpoint
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    batch = torch.stack([transform(picture) for picture in pictures])
    with torch.inference_mode():
        expected = model.forward_head(model.forward_features(batch), pre_logits=True).numpy()

    encoder = load_encoder(EncoderSettings(model=f"timm:{name}@{path}"))
    arrays = np.stack([encoder.preprocess(picture) for picture in pictures])

    assert np.array_equal(arrays, batch.numpy())
    assert encoder.encode(arrays) == pytest.approx(expected, abs=1e-5)
    assert encoder.dim == expected.shape[1]


def test_weights_that_were_put_there_by_hand_are_used(tmp_path, pictures):
    import timm
    from safetensors.torch import save_file

    model = timm.create_model("test_resnet")
    folder = tmp_path / model.pretrained_cfg["hf_hub_id"].replace("/", "--")
    folder.mkdir()
    save_file(model.state_dict(), folder / "model.safetensors")

    encoder = load_encoder(EncoderSettings(model="timm:test_resnet", model_dir=str(tmp_path)))

    assert encoder.encode(np.zeros((2, *encoder.preprocess(pictures[0]).shape), np.float32)).shape == (
        2,
        encoder.dim,
    )
    assert fetch_model("timm:test_resnet", tmp_path) == [folder / "model.safetensors"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("timm:test_resnet", r"fetch-model .*timm/test_resnet\.r160_in1k"),
        ("timm:resnet99", "timm has no model 'resnet99'"),
        ("timm:test_resnet@/nowhere.pth", "no checkpoint at '/nowhere.pth'"),
    ],
)
def test_a_model_that_cannot_be_had_says_why(spec, message, tmp_path):
    with pytest.raises(ModelError, match=message):
        load_encoder(EncoderSettings(model=spec, model_dir=str(tmp_path)))


def test_a_checkpoint_of_another_model_is_an_error(tmp_path):
    import timm
    import torch

    torch.save(timm.create_model("test_vit").state_dict(), tmp_path / "vit.pth")

    with pytest.raises(ModelError, match="do not fit 'timm:test_resnet@"):
        load_encoder(EncoderSettings(model=f"timm:test_resnet@{tmp_path / 'vit.pth'}"))
