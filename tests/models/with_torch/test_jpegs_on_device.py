"""JPEGs that a device decodes, on the CPU: torchvision's libjpeg stands in for nvJPEG."""

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from spark_imgdedup.kernels.content import cells, detail
from spark_imgdedup.kernels.images import decode_image, peek_jpeg
from spark_imgdedup.models import EncoderSettings
from spark_imgdedup.models.base import DecodingEncoder
from spark_imgdedup.models.on_device import transfer
from spark_imgdedup.models.on_device.encoder import DeviceEncoder
from spark_imgdedup.models.on_device.jpegs import decode_jpegs, upright
from spark_imgdedup.models.on_device.resize import cells_of
from spark_imgdedup.models.on_device.transforms import read_transform
from spark_imgdedup.models.stream import ImageRecord, PixelWork, StreamSettings, embed_stream
from spark_imgdedup.models.torch_encoder import TorchParts

# torchvision 0.29 advises TorchCodec in place of its decoders.
pytestmark = pytest.mark.filterwarnings("ignore:.*TorchCodec:DeprecationWarning")

CPU = torch.device("cpu")
SIZE = 32


def encoded(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **{"quality": 92, **options})
    return buffer.getvalue()


def turned(image, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(image, exif=exif)


def peek(data):
    return peek_jpeg(data, max_pixels=10**8)


def decoded(data):
    return decode_image(data, max_pixels=10**8).image


def damaged(data):
    """A file that looks whole, and whose quantisation table is not there."""
    place = data.index(b"\xff\xdb")
    length = int.from_bytes(data[place + 2 : place + 4], "big")
    return data[:place] + data[place + 2 + length :]


@pytest.fixture(scope="module")
def encoder():
    from open_clip.transform import image_transform

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * SIZE * SIZE, 24)).eval()
    how = image_transform(SIZE, is_train=False)
    return DeviceEncoder(EncoderSettings("a model"), TorchParts(model, how, 24, True, "f"), read_transform(how))


def cosines(a, b):
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_pixels_are_those_of_the_file(photographs):
    files = [encoded(picture) for picture in photographs]

    found = decode_jpegs([peek(data) for data in files], CPU)

    for pixels, data in zip(found, files, strict=True):
        difference = np.abs(pixels.permute(1, 2, 0).numpy().astype(int) - np.asarray(decoded(data)).astype(int))
        assert difference.mean() < 0.5


def test_what_the_decoder_refuses_costs_no_other_file(photographs):
    files = [encoded(picture) for picture in photographs[:5]]
    files[2] = damaged(files[2])

    found = decode_jpegs([peek(data) for data in files], CPU)

    assert [pixels is None for pixels in found] == [False, False, True, False, False]
    assert decode_jpegs([], CPU) == []


def test_memory_that_ends_is_not_taken_for_a_damaged_file(monkeypatch, photographs):
    def full(*_, **__):
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr("torchvision.io.decode_jpeg", full)

    with pytest.raises(torch.OutOfMemoryError):
        decode_jpegs([peek(encoded(photographs[0]))] * 2, CPU)


@pytest.mark.parametrize("turn", [None, *Image.Transpose])
def test_a_picture_is_turned_as_pillow_turns_it(turn):
    stored = np.random.default_rng(0).integers(0, 256, (3, 5, 3), np.uint8)
    image = Image.fromarray(stored)

    found = upright(torch.from_numpy(stored).permute(2, 0, 1), turn).permute(1, 2, 0)

    assert np.array_equal(found.numpy(), np.asarray(image if turn is None else image.transpose(turn)))


def test_vectors_are_those_of_decoded_pictures_in_their_order(encoder, photographs, monkeypatch):
    monkeypatch.setattr(transfer, "MOST_PIXELS", 150_000)  # two or three pictures by a call
    files = [turned(picture, number % 8 + 1) for number, picture in enumerate(photographs)]
    files += [encoded(photographs[0], subsampling=0)] * 4
    pixels = [encoder.preprocess(decoded(data)) for data in files]
    mixed = [peek(data) if number % 3 else pixels[number] for number, data in enumerate(files)]

    batch = encoder.start(mixed, len(files))
    expected = encoder.start(pixels, len(files)).result()
    found, seen = batch.result(), batch.cells()

    assert cosines(found, expected).min() > 0.9999
    assert cosines(np.roll(found, 1, axis=0)[1:9], expected[1:9]).max() < 0.99
    assert sorted(seen) == [number for number in range(len(files)) if number % 3]
    for number, look in seen.items():
        upright_pixels = torch.from_numpy(np.asarray(decoded(files[number])).copy()).permute(2, 0, 1)
        assert np.abs(look.astype(int) - cells_of(upright_pixels[None])[0].numpy().astype(int)).mean() < 1


def test_a_file_that_nobody_can_decode_is_a_row_of_nan(encoder, photographs):
    good = encoded(photographs[0])

    batch = encoder.start([peek(good), peek(damaged(good)), peek(good)], 4)
    vectors = batch.result()

    assert np.isnan(vectors).all(axis=1).tolist() == [False, True, False]
    assert np.array_equal(vectors[0], vectors[2])
    assert sorted(batch.cells()) == [0, 2]


def test_what_only_the_device_refuses_is_decoded_by_the_cpu_and_said_once(encoder, photographs, monkeypatch, caplog):
    files = [peek(encoded(picture)) for picture in photographs[:3]]
    monkeypatch.setattr(transfer, "decode_jpegs", lambda jpegs, device: [None] * len(jpegs))

    batch = encoder.start(files, 3)
    expected = encoder.start([encoder.preprocess(decoded(each.data)) for each in files], 3).result()

    assert np.array_equal(batch.result(), expected)
    assert batch.cells() == {}
    monkeypatch.setattr(encoder._transfer, "_has_said", False)
    caplog.clear()
    for _ in range(2):
        encoder.start(files, 3)
    assert [record.getMessage() for record in caplog.records] == [
        "cpu refuses 3 of 3 JPEGs: the CPU decodes these, and later ones"
    ]


def test_halved_batches_keep_their_looks(photographs):
    from open_clip.transform import image_transform

    def small(batch):
        if len(batch) > 2:
            raise torch.OutOfMemoryError("full")
        return batch.mean(dim=(2, 3))

    how = image_transform(SIZE, is_train=False)
    halving = DeviceEncoder(EncoderSettings("a model"), TorchParts(small, how, 3, True, "f"), read_transform(how))
    files = [peek(encoded(picture)) for picture in photographs[:5]]

    batch = halving.start(files, 5)

    assert batch.result().shape == (5, 3)
    seen = batch.cells()
    assert [seen[number].tobytes() for number in range(5)] == [
        halving.start([each], 2).cells()[0].tobytes() for each in files
    ]


def test_detail_in_the_cells_of_a_device_is_near_that_of_the_cpu(photographs):
    for picture in photographs:
        look = cells_of(torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1)[None])[0].numpy()

        assert detail(Image.fromarray(look)) == pytest.approx(detail(cells(picture)), abs=0.04)


@pytest.mark.parametrize("size", [(640, 480), (100, 333), (64, 64), (65, 63), (3, 5), (1, 1), (320, 242)], ids=str)
def test_cells_are_those_of_pillows_box_to_a_level(size):
    stored = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)

    found = cells_of(torch.from_numpy(stored).permute(2, 0, 1)[None])[0].numpy().astype(int)

    expected = np.asarray(Image.fromarray(stored).resize((64, 64), Image.Resampling.BOX)).astype(int)
    assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize(
    ("size", "takes"),
    [((640, 480), True), ((2048, 2048), True), ((2049, 2048), False), ((4100, 200), False), ((33, 1), False)],
)
def test_large_files_and_strips_are_left_to_the_cpu(encoder, size, takes):
    assert encoder.takes(peek(encoded(Image.new("RGB", size)))) is takes


def test_the_stream_gives_the_same_rows_whoever_decodes(encoder, photographs):
    page = Image.new("RGB", (300, 200), "white")
    ImageDraw.Draw(page).text((20, 20), "Invoice 27", fill="black")
    files = [*(encoded(picture) for picture in photographs), encoded(page), damaged(encoded(photographs[0])), b"none"]

    def rows(*, decodes_later):
        records = [ImageRecord(f"id-{n}", None, None, data) for n, data in enumerate(files)]
        work = PixelWork(encoder, decodes_later=decodes_later)
        return [row for batch in embed_stream(records, work, StreamSettings(4, 1, 10**7)) for row in batch]

    later, now = rows(decodes_later=True), rows(decodes_later=False)

    assert isinstance(encoder, DecodingEncoder)
    assert [row.rejected_because for row in later] == [row.rejected_because for row in now]
    assert [row.rejected_because for row in later[-2:]] == ["unreadable"] * 2
    for name in ("image_id", "width", "height", "pixels", "image_format", "sha256", "is_grey", "plain_pixels"):
        assert [getattr(row, name) for row in later] == [getattr(row, name) for row in now], name
    usable = [number for number, row in enumerate(now) if row.vector is not None]
    assert min(float(later[number].vector @ now[number].vector) for number in usable) > 0.9999
