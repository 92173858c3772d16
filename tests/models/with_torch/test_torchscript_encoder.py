"""Small TorchScript files that are made here, through the encoder and through the stream of a task."""

from __future__ import annotations

import io
import uuid
import warnings

import fsspec
import numpy as np
import pytest
from PIL import Image

from spark_imgdedup.errors import DeviceError, ModelError
from spark_imgdedup.models import Encoder, EncoderSettings, Preprocess, fetch_model, load_encoder, recommended_eps
from spark_imgdedup.models.identity import encoder_identity
from spark_imgdedup.models.stream import ImageRecord, PixelWork, StreamSettings, embed_stream

# As SSCD wants its pictures, but small.
LIKE_SSCD = Preprocess(
    size=32, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), resize="squash", interpolation="bilinear"
)
DIM = 5
# torch advises other formats; published models have this one.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated:FutureWarning")


def modules():
    """By name: a network that gives (B, 5), and modules that are no encoders."""
    import torch

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.last = torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.Linear(8, DIM)

        def forward(self, images):
            return self.last(torch.relu(self.conv(images)).mean((2, 3)))

    class Both(Network):
        def forward(self, images):
            features = self.conv(images)
            return self.last(features.mean((2, 3))), features

    class Map(Network):
        def forward(self, images):
            return self.conv(images)

    class Whole(torch.nn.Module):
        def forward(self, images):
            return images.mean((2, 3)).reshape(1, -1)

    class Labels(torch.nn.Module):
        def forward(self, images):
            return images.mean((2, 3)).long()

    class Bytes(torch.nn.Module):
        def forward(self, images):
            assert images.dtype == torch.uint8
            return images.float().mean((1, 2))

    return {each.__name__.lower(): each for each in (Network, Both, Map, Whole, Labels, Bytes)}


@pytest.fixture
def saved(tmp_path):
    """Writes a module by name and gives it and its path."""
    import torch

    def save(name, file="model.pt"):
        torch.manual_seed(0)
        module = modules()[name]().eval()
        torch.jit.script(module).save(str(tmp_path / file))
        return module, tmp_path / file

    return save


def load(path, how=LIKE_SSCD, **others):
    return load_encoder(EncoderSettings(model=f"torchscript:{path}", preprocess=how, **others))


def as_png(picture):
    data = io.BytesIO()
    picture.save(data, "PNG")
    return data.getvalue()


def test_embeddings_equal_the_models_own_on_torchvisions_transform(saved, pictures):
    import torch
    from torchvision import transforms

    module, path = saved("network")
    transform = transforms.Compose(
        [
            transforms.Resize([32, 32]),
            transforms.ToTensor(),
            transforms.Normalize(mean=LIKE_SSCD.mean, std=LIKE_SSCD.std),
        ]
    )
    batch = torch.stack([transform(picture) for picture in pictures])
    with torch.inference_mode():
        expected = module(batch).numpy()

    encoder = load(path)
    arrays = np.stack([encoder.preprocess(picture) for picture in pictures])

    assert isinstance(encoder, Encoder)
    assert encoder.dim == DIM
    assert arrays == pytest.approx(batch.numpy(), abs=1e-6)
    assert encoder.encode(arrays) == pytest.approx(expected, abs=1e-5)
    assert encoder.encode(arrays[:0]).shape == (0, DIM)


def test_a_stream_of_images_becomes_unit_vectors_and_bad_ones_have_a_reason(saved, pictures):
    _, path = saved("network")
    encoder = load(path, n_threads=2)
    records = [ImageRecord(str(place), None, None, as_png(picture)) for place, picture in enumerate(pictures)]
    records.insert(3, ImageRecord("bad", None, None, b"no picture"))

    batches = embed_stream(records, PixelWork(encoder=encoder), StreamSettings(4, 2, 10**7))

    rows = [row for batch in batches for row in batch]
    assert [row.image_id for row in rows] == ["0", "1", "2", "bad", "3", "4", "5", "6", "7"]
    assert rows.pop(3).rejected_because is not None
    expected = encoder.encode(np.stack([encoder.preprocess(picture) for picture in pictures]))
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.stack([row.vector for row in rows]) == pytest.approx(expected, abs=1e-5)


def test_one_batch_gives_the_same_bits_the_first_time_and_later(saved, pictures):
    encoder = load(saved("network")[1])
    batch = np.stack([encoder.preprocess(picture) for picture in pictures])

    first, *later = (encoder.encode(batch) for _ in range(5))

    assert all(np.array_equal(first, each) for each in later)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_torch_takes_the_threads_of_the_task(saved, n_threads):
    import torch

    _, path = saved("network")
    torch.set_num_threads(3)

    load(path, n_threads=n_threads)

    assert torch.get_num_threads() == n_threads


def test_a_model_of_bytes_gets_bytes(saved):
    _, path = saved("bytes")
    encoder = load(path, Preprocess(size=8, layout="NHWC", dtype="uint8", resize="squash"), precision="bf16")

    batch = np.stack([encoder.preprocess(Image.new("RGB", (50, 70), colour)) for colour in ((1, 2, 3), (250, 0, 9))])

    assert encoder.encode(batch).tolist() == [[1, 2, 3], [250, 0, 9]]


def test_a_half_precision_gives_nearly_the_same(saved, pictures):
    _, path = saved("network")
    full, half = load(path), load(path, precision="bf16")
    batch = np.stack([full.preprocess(picture) for picture in pictures])

    assert half.encode(batch).dtype == np.float32
    assert half.encode(batch) == pytest.approx(full.encode(batch), abs=0.03)


def test_a_file_at_a_url_is_the_same_encoder_as_that_file_here(saved, pictures):
    _, path = saved("network")
    url = f"memory://{uuid.uuid4().hex}/model.pt"
    with fsspec.open(url, "wb") as file:
        file.write(path.read_bytes())

    here, there = load(path), load(url)

    batch = np.stack([here.preprocess(picture) for picture in pictures])
    assert np.array_equal(here.encode(batch), there.encode(batch))
    assert here.fingerprint == there.fingerprint
    with pytest.raises(ModelError, match=r"There is no model file at 'memory://nothing/model\.pt'"):
        load("memory://nothing/model.pt")


def test_weights_and_preprocessing_name_the_encoder_and_the_path_does_not(saved):
    _, path = saved("network")
    moved = path.with_name("moved.pt")
    moved.write_bytes(path.read_bytes())
    _, other = saved("map", "other.pt")

    assert load(path).fingerprint == load(moved).fingerprint
    assert load(path, LIKE_SSCD.model_copy(update={"size": 40})).fingerprint != load(path).fingerprint
    assert encoder_identity(f"torchscript:{path}", None) != encoder_identity(f"torchscript:{other}", None)


@pytest.mark.parametrize(
    ("name", "how", "message"),
    [
        ("both", LIKE_SSCD, r"gives tuple for float32 of shape \(2, 3, 32, 32\), but an encoder gives floats"),
        ("map", LIKE_SSCD, r"gives a tensor of shape \(2, 8, 15, 15\)"),
        ("whole", LIKE_SSCD, r"gives a tensor of shape \(1, 6\) .* for any number of pictures"),
        ("labels", LIKE_SSCD, r"gives torch\.int64"),
        ("network", Preprocess(size=32, layout="NHWC"), r"does not take float32 of shape \(2, 32, 32, 3\) .* channels"),
        ("network", Preprocess(size=32, dtype="uint8"), r"does not take uint8 of shape .* Set embed\.preprocess"),
        ("network", None, "needs embed.preprocess"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_in_one_line(saved, name, how, message):
    with pytest.raises(ModelError, match=message) as caught:
        load(saved(name)[1], how)

    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_torchscript_is_refused_in_one_line(saved, tmp_path):
    import torch

    module, _ = saved("network")
    torch.save(module.state_dict(), tmp_path / "weights.pt")
    (tmp_path / "page.pt").write_text("<html>")
    (tmp_path / "empty.pt").touch()

    for file in ("weights.pt", "page.pt", "empty.pt"):
        with pytest.raises(ModelError, match=r"cannot be loaded as TorchScript: .* torch\.jit\.save wrote") as caught:
            load(tmp_path / file)
        assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="There is no model file at"):
        load(tmp_path / "nothing.pt")


def test_loading_says_nothing_of_what_torch_advises(saved):
    _, path = saved("network")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(path)


def test_it_has_no_preset_and_nothing_to_fetch(tmp_path):
    assert recommended_eps("torchscript:a.pt") is None
    assert fetch_model("torchscript:a.pt", tmp_path) == []


def test_a_device_that_torch_lacks_is_an_error(saved):
    import torch

    _, path = saved("network")
    if torch.cuda.is_available():
        assert load(path, device="cuda:0").dim == DIM
    else:
        with pytest.raises(DeviceError, match="sees no CUDA"):
            load(path, device="cuda:0")
