"""Runs without torch: JPEGs whose pixels only the encoder's device sees."""

import hashlib
import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from spark_imgdedup.kernels.content import PLAIN_DETAIL, cells
from spark_imgdedup.kernels.images import Jpeg, decode_image
from spark_imgdedup.models.stream import ImageRecord, PixelWork, StreamSettings, embed_stream


def encoded(image, fmt="JPEG", **options):
    buffer = io.BytesIO()
    image.save(buffer, fmt, **options)
    return buffer.getvalue()


def scene(seed=0, size=(96, 80)):
    coarse = np.random.default_rng(seed).integers(30, 226, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def page():
    image = Image.new("RGB", (300, 200), "white")
    ImageDraw.Draw(image).text((20, 20), "Invoice 27", fill="black")
    return image


class Device:
    """Decodes as the CPU does, but for files that it refuses; large ones it does not take."""

    name, dim, fingerprint = "device", 3, "device 1"

    def __init__(self, refuses=()):
        self.refuses, self.given = refuses, []

    def preprocess(self, image):
        return np.asarray(image)

    def encode(self, batch):
        raise NotImplementedError

    def takes(self, jpeg):
        return jpeg.width < 1000

    def start(self, pictures, batch_size):
        self.given += [type(each).__name__ for each in pictures]
        return Decoded(pictures, self.refuses)


class Decoded:
    def __init__(self, pictures, refuses):
        self.pixels, self.looks = [], {}
        for number, each in enumerate(pictures):
            if not isinstance(each, Jpeg):
                self.pixels.append(each)
            elif each.data in refuses:
                self.pixels.append(np.full((1, 1, 3), np.nan))
            else:
                image = decode_image(each.data, max_pixels=10**7).image
                self.pixels.append(np.asarray(image))
                self.looks[number] = np.asarray(cells(image))

    def result(self):
        return np.float32([pixels.mean(axis=(0, 1)) + 1 for pixels in self.pixels])

    def cells(self):
        return self.looks


def embed(data, encoder, *, decodes_later=True, batch_size=4):
    records = [ImageRecord(f"id-{n}", "shard", str(n), each) for n, each in enumerate(data)]
    work = PixelWork(encoder, decodes_later=decodes_later)
    return [row for batch in embed_stream(records, work, StreamSettings(batch_size, 2, 10**6)) for row in batch]


FILES = [
    encoded(scene(0)),
    encoded(scene(1), "PNG"),
    encoded(scene(2).convert("L")),
    encoded(page()),
    encoded(scene(3))[:-400],
    encoded(scene(4, (1200, 700))),
    b"no picture",
    encoded(scene(5).convert("L").convert("RGB")),
]


@pytest.mark.parametrize("batch_size", [2, 8])
def test_rows_are_those_of_pictures_that_the_cpu_decodes(batch_size):
    device = Device()

    later, now = (embed(FILES, device, decodes_later=each, batch_size=batch_size) for each in (True, False))

    assert device.given[:6] == ["Jpeg", "ndarray", "ndarray", "Jpeg", "ndarray", "Jpeg"]
    assert device.given[6:] == ["ndarray"] * 6
    for row, expected in zip(later, now, strict=True):
        assert {**vars(row), "vector": None} == {**vars(expected), "vector": None}
        assert (row.vector is None) == (expected.vector is None)
        assert row.vector is None or row.vector == pytest.approx(expected.vector, abs=1e-6)
    assert later[0].sha256 == hashlib.sha256(FILES[0]).hexdigest()
    assert [row.rejected_because for row in later] == [None] * 4 + ["unreadable", None, "unreadable", None]
    assert later[3].plain_pixels is not None
    assert later[3].detail < PLAIN_DETAIL < later[0].detail
    assert [row.is_grey for row in later] == [False, False, True, True, None, False, None, True]


def test_a_file_that_the_device_and_the_cpu_refuse_has_the_reason_of_the_cpu():
    broken = bytearray(FILES[0])
    place = broken.index(b"\xff\xda") + 2
    broken[place : place + 2] = b"\xff\xff"  # a scan whose header leads past the end
    good = encoded(scene(6))

    rows = embed([bytes(broken), good], Device(refuses={bytes(broken), good}))

    assert rows[0].rejected_because == "unreadable"
    assert "damaged" in rows[0].error
    assert (rows[1].rejected_because, rows[1].detail is None) == ("nan_embedding", False)


def test_only_what_its_device_decodes_is_left_to_an_encoder():
    class Plain:
        def preprocess(self, image):
            return np.asarray(image.resize((2, 2)), np.float32)

        def encode(self, batch):
            return batch.reshape(len(batch), -1) + 1

    (row,) = embed(FILES[:1], Plain())

    assert row.vector is not None
    assert row.detail is not None
