"""The way of a batch on a device, on the CPU: the arithmetic is the same, and nothing overlaps."""

import logging

import numpy as np
import pytest
from PIL import Image

from spark_imgdedup.errors import DeviceError
from spark_imgdedup.models import EncoderSettings
from spark_imgdedup.models.on_device import encoder as on_device
from spark_imgdedup.models.on_device.encoder import DeviceEncoder, encoder_for
from spark_imgdedup.models.on_device.fixed_shape import FixedShape
from spark_imgdedup.models.on_device.halves import Halves
from spark_imgdedup.models.on_device.resize import fit_into
from spark_imgdedup.models.on_device.transforms import read_transform
from spark_imgdedup.models.preprocess import Fit
from spark_imgdedup.models.torch_encoder import TorchEncoder, TorchParts
from tests.models.fitted import scaled_and_cut

SIZE = 160
EXTREMES = [(1, 1), (2, 3), (700, 9), (9, 700), (1, 2000), (SIZE, SIZE), (2 * SIZE, SIZE), (900, 800), (1300, 1000)]


def noise(width, height, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def transform(resize_mode="shortest", interpolation="bicubic", size=SIZE):
    from open_clip.transform import image_transform

    return image_transform(size, is_train=False, resize_mode=resize_mode, interpolation=interpolation)


@pytest.fixture(scope="module")
def vit():
    import timm
    import torch

    torch.manual_seed(0)
    return timm.create_model("test_vit", pretrained=False, num_classes=0).eval()


def pair(model, how, dim=64, precision="fp32"):
    """The same model behind the CPU's transform, and behind the device's."""
    crops = getattr(how.transforms[1], "size", None) is not None
    settings, parts = EncoderSettings("a model", precision=precision), TorchParts(model, how, dim, crops, "f")
    return TorchEncoder(settings, parts), DeviceEncoder(settings, parts, read_transform(how))


def both_ways(encoders, pictures):
    plain, device = encoders
    expected = plain.encode(np.stack([plain.preprocess(picture) for picture in pictures]))
    return expected, device.start([device.preprocess(picture) for picture in pictures], len(pictures)).result()


def cosines(a, b):
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.mark.parametrize("resize_mode", ["shortest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_vectors_agree_with_those_after_the_transform_on_the_cpu(vit, photographs, resize_mode, interpolation):
    encoders = pair(vit, transform(resize_mode, interpolation))

    for pictures in (photographs, [noise(*size) for size in EXTREMES]):
        expected, found = both_ways(encoders, pictures)
        middle = expected.mean(axis=0)  # what all vectors of a model share says nothing of a picture
        assert cosines(expected, found).min() >= 0.9999
        assert cosines(expected - middle, found - middle).min() >= 0.9995
        assert cosines(expected - middle, np.roll(found - middle, 1, axis=0)).max() < 0.99


@pytest.mark.parametrize("size", EXTREMES, ids=str)
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_pixels_are_pillows_to_a_level(size, interpolation):
    import torch

    picture, fit = noise(*size), Fit(60, 48, squash=False, interpolation=interpolation)
    batch = torch.zeros(1, 3, 48, 48, dtype=torch.uint8)
    picture = fit.limited(picture)
    fit_into(batch, torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1)[None], fit)

    expected = scaled_and_cut(picture, fit)
    difference = np.abs(batch[0].permute(1, 2, 0).numpy().astype(int) - np.asarray(expected).astype(int))

    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.05


def test_a_picture_of_the_right_size_has_the_very_same_vector(vit):
    expected, found = both_ways(pair(vit, transform()), [noise(SIZE, SIZE, seed) for seed in range(3)])

    assert np.array_equal(expected, found)


def test_a_large_picture_is_fitted_before_it_is_copied(vit):
    _, device = pair(vit, transform())

    assert device.preprocess(noise(1100, 1100)).shape == (SIZE, SIZE, 3)
    assert device.preprocess(noise(1000, 1000)).shape == (1000, 1000, 3)
    assert device.preprocess(Image.new("RGB", (1, 500_000))).shape == (32, 1, 3)


def test_rows_keep_their_order_whatever_the_sizes_and_the_batch(vit):
    _, device = pair(vit, transform())
    pictures = [device.preprocess(noise(*size, seed)) for seed, size in enumerate([(9, 5), (4, 4), (9, 5), (30, 40)])]

    together = device.start(pictures, 8).result()
    alone = [device.start([picture], 8).result()[0] for picture in pictures]

    assert np.array_equal(together, np.stack(alone))


def test_what_a_batch_leaves_behind_does_not_reach_the_next(vit):
    seen = []

    def forward(batch):
        seen.append(batch.clone())
        return batch.flatten(1)

    _, device = pair(forward, transform(size=4), dim=48)
    device.start([np.full((4, 4, 3), 255, np.uint8)] * 3, 3).result()
    device.start([np.full((4, 4, 3), 255, np.uint8)], 3).result()
    padding = device.start([np.zeros((4, 4, 3), np.uint8)], 3).result()[0]

    assert np.array_equal(seen[1][1].flatten().numpy(), padding)


def test_encode_is_start_and_result_in_one(vit):
    _, device = pair(vit, transform())
    batch = np.stack([np.asarray(noise(50, 40, seed)) for seed in range(3)])

    assert np.array_equal(device.encode(batch), device.start(list(batch), 3).result())
    assert device.encode(batch[:0]).shape == (0, 64)


def test_a_half_precision_reaches_the_model(vit, photographs):
    import copy

    import torch

    expected, _ = both_ways(pair(vit, transform()), photographs[:4])
    _, rough = both_ways(pair(copy.deepcopy(vit).bfloat16(), transform(), precision="bf16"), photographs[:4])

    assert rough.dtype == np.float32
    assert 0.99 < cosines(expected, rough).min() < 1 - 1e-7
    assert torch.get_default_dtype() == torch.float32


class Memory:
    """A model that runs out of memory above so many rows; each row's vector is the mean of its pixels, by channel."""

    def __init__(self, most):
        self.most, self.sizes = most, []

    def __call__(self, batch):
        import torch

        self.sizes.append(len(batch))
        if len(batch) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return batch.mean(dim=(2, 3))


def test_out_of_memory_the_same_rows_are_taken_in_halves_from_then_on(caplog):
    model = Memory(most=3)
    plain, device = pair(model, transform(size=8), dim=3)
    pictures = [noise(8, 8, seed) for seed in range(10)]
    given = [device.preprocess(picture) for picture in pictures]

    with caplog.at_level(logging.WARNING):
        found = device.start(given, 10).result()
        again = device.start(given[:4], 10).result()

    assert model.sizes == [10, 5, 3, 3, 3, 3, 3, 3]  # each piece is padded to the size that fits
    model.most = 10
    assert found == pytest.approx(plain.encode(np.stack([plain.preprocess(each) for each in pictures])), abs=1e-6)
    assert np.array_equal(again, found[:4])
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "the GPU ran out of memory with 10 images at a time",
        "the GPU ran out of memory with 5 images at a time",
    ]


def test_a_model_with_a_transform_of_its_own_is_halved_too():
    model = Memory(most=4)
    plain, _ = pair(model, transform(size=8), dim=3)
    batch = np.random.default_rng(0).standard_normal((10, 3, 8, 8)).astype(np.float32)

    found = plain.encode(batch)

    assert model.sizes == [10, 5, 3, 3, 3, 3]
    assert found == pytest.approx(batch.mean(axis=(2, 3)), abs=1e-6)


def test_memory_for_less_than_two_pictures_is_an_error_that_says_what_to_do():
    _, device = pair(Memory(most=1), transform(size=8), dim=3)

    with pytest.raises(DeviceError, match=r"for 2 images at a time: CUDA out of memory.*Set embed.precision to bf16"):
        device.start([np.zeros((8, 8, 3), np.uint8)] * 5, 5)


def test_the_memory_of_a_failed_try_is_let_go_before_the_next():
    import gc
    import weakref

    import torch

    class Block:
        pass

    held, alive = [], []

    def work(size):
        block = Block()
        held.append(weakref.ref(block))
        if size > 2:
            raise torch.OutOfMemoryError("full")
        return size

    gc.disable()  # references must suffice
    try:
        size = Halves(lambda: alive.append(held[-1]() is not None)).run(8, work)
    finally:
        gc.enable()

    assert (size, alive) == (2, [False, False])


def test_other_errors_of_a_model_pass():
    def broken(batch):
        raise RuntimeError("a shape that does not fit")

    _, device = pair(broken, transform(size=8), dim=3)

    with pytest.raises(RuntimeError, match="does not fit"):
        device.start([np.zeros((8, 8, 3), np.uint8)], 2)


def test_a_captured_call_is_replayed_on_what_lies_in_its_input():
    import torch

    captures = []

    def capture(forward, pixels):
        captures.append(forward)
        found = forward(pixels)

        def replay():
            found.copy_(forward(pixels))
            return found

        return replay

    pixels = torch.ones(2, 3)
    fixed = FixedShape(lambda batch: 2 * batch, pixels, capture)
    pixels.fill_(4)

    assert fixed.run().tolist() == [[8.0] * 3] * 2
    assert len(captures) == 1


def test_what_cannot_be_captured_runs_without_and_says_so(caplog):
    import torch

    def refuse(forward, pixels):
        raise RuntimeError("operation not permitted when stream is capturing\nmore of it")

    fixed = FixedShape(lambda batch: 2 * batch, torch.ones(1, 2), refuse)

    assert fixed.run().tolist() == [[2.0, 2.0]]
    assert "operation not permitted" in caplog.text
    assert "more of it" not in caplog.text


def test_memory_that_ends_while_capturing_is_told_as_such():
    import torch

    def capture(forward, pixels):
        try:
            raise torch.OutOfMemoryError("full")
        finally:  # as torch ends a capture that has failed
            raise RuntimeError("operation failed due to a previous error during capture")

    with pytest.raises(torch.OutOfMemoryError, match="full"):
        FixedShape(lambda batch: batch, torch.ones(1, 2), capture)


@pytest.mark.parametrize(("resize_mode", "squash"), [("shortest", False), ("squash", True)])
def test_open_clips_transforms_are_read(resize_mode, squash):
    found = read_transform(transform(resize_mode, "bilinear", 224))

    assert found.fit == Fit(224, 224, squash, "bilinear")
    assert found.mean == (0.48145466, 0.4578275, 0.40821073)


@pytest.mark.parametrize(("crop_mode", "squash"), [("center", False), ("squash", True)])
def test_timms_transforms_are_read(crop_mode, squash):
    import timm

    how = timm.data.create_transform((3, 224, 224), crop_pct=0.9, crop_mode=crop_mode, interpolation="bicubic")
    found = read_transform(how)

    assert found.fit == Fit(248, 224, squash, "bicubic")
    assert found.std == pytest.approx((0.229, 0.224, 0.225))


def test_transforms_that_do_anything_else_are_not():
    import timm
    from torchvision import transforms as tv

    others = [
        transform("longest"),
        timm.data.create_transform((3, 224, 224), interpolation="lanczos"),
        timm.data.create_transform((3, 224, 192), interpolation="bicubic"),
        tv.Compose([tv.ToTensor(), tv.Resize(8), tv.CenterCrop(8), tv.Normalize((0, 0, 0), (1, 1, 1))]),
        tv.Compose([tv.Resize(8), tv.CenterCrop(16), tv.ToTensor(), tv.Normalize((0, 0, 0), (1, 1, 1))]),
        tv.Compose([tv.Resize(8), tv.ToTensor(), tv.Normalize((0, 0, 0), (1, 1, 1))]),
        tv.ToTensor(),
    ]

    assert [read_transform(each) for each in others] == [None] * len(others)


def test_only_a_device_resizes_and_only_what_it_can(vit, monkeypatch, caplog):
    monkeypatch.setattr(on_device, "DeviceEncoder", lambda *made_of: "on the device")

    def kind(device, how):
        return encoder_for(EncoderSettings("a model", device=device), TorchParts(vit, how, 64, True, "f"))

    assert isinstance(kind("cpu", transform()), TorchEncoder)
    assert kind("cuda:1", transform()) == "on the device"
    assert isinstance(kind("cuda:1", transform("longest")), TorchEncoder)
    assert "'a model' are resized on the CPU" in caplog.text
