from __future__ import annotations

import hashlib
import io
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from spark_imgdedup.errors import ModelError
from spark_imgdedup.kernels.content import PLAIN_DETAIL, plain_pixels
from spark_imgdedup.models import EncoderSettings, load_encoder, stream
from spark_imgdedup.models.stream import ImageRecord, PixelWork, StreamSettings, embed_stream


def encoder(name="ColourEncoder"):
    return load_encoder(EncoderSettings(f"tests.encoders:{name}"))


def png(number, size=(6, 5)):
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def record(number, data=None):
    return ImageRecord(f"id-{number}", "shard", str(number), data if data is not None else png(number))


def sizes(batch_size=4, decode_threads=2):
    return StreamSettings(batch_size, decode_threads, 10_000)


def flat(batches):
    return [row for batch in batches for row in batch]


def decoders():
    return [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


@pytest.fixture(scope="module")
def pngs():
    return [png(number) for number in range(40)]


@settings(max_examples=40)
@given(st.integers(0, 40), st.integers(1, 9), st.integers(1, 4))
def test_rows_come_back_in_order_whatever_the_sizes(pngs, n, batch_size, decode_threads):
    records = [record(number, pngs[number]) for number in range(n)]

    rows = flat(embed_stream(records, PixelWork(encoder()), sizes(batch_size, decode_threads)))

    assert [row.image_id for row in rows] == [f"id-{number}" for number in range(n)]


@settings(max_examples=20)
@given(st.integers(1, 40), st.integers(1, 9))
def test_the_batch_size_does_not_change_a_vector(pngs, n, batch_size):
    records = [record(number, pngs[number]) for number in range(n)]

    one_call, small_calls = (
        flat(embed_stream(records, PixelWork(encoder()), sizes(size))) for size in (64, batch_size)
    )

    assert [row.vector.tobytes() for row in one_call] == [row.vector.tobytes() for row in small_calls]


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_no_picture_goes_through_a_model_alone(pngs, batch_size):
    seen = []

    class Watched:
        def preprocess(self, image):
            return encoder().preprocess(image)

        def encode(self, batch):
            seen.append(len(batch))
            return encoder().encode(batch)

    rows = flat(embed_stream([record(n, pngs[n]) for n in range(3)], PixelWork(Watched()), sizes(batch_size)))

    assert set(seen) == {max(2, batch_size)}
    assert [row.image_id for row in rows] == ["id-0", "id-1", "id-2"]


def test_a_row_says_what_its_image_is_and_has_a_unit_vector():
    data = png(3, (7, 5))

    (row,) = flat(embed_stream([record(3, data)], PixelWork(encoder()), sizes()))

    assert (row.width, row.height, row.image_format, row.image_bytes) == (7, 5, "png", len(data))
    assert row.sha256 == hashlib.sha256(data).hexdigest()
    assert row.rejected_because is None
    assert row.vector.dtype == np.float32
    assert np.linalg.norm(row.vector.astype(np.float64)) == pytest.approx(1, abs=1e-7)


def test_rows_without_a_usable_image_keep_their_place_and_a_reason():
    records = [
        record(0),
        ImageRecord("id-1", "shard", "1", None, "no_image", "members: txt"),
        record(2, b"\x89PNG\r\n\x1a\n, cut off"),
        record(3, png(3, (200, 200))),
        ImageRecord("id-4", "shard", "4", png(4), "no_id", "no field uid"),
        record(5),
    ]

    rows = flat(embed_stream(records, PixelWork(encoder()), sizes(batch_size=2)))

    assert [row.image_id for row in rows] == [f"id-{number}" for number in range(6)]
    assert [row.rejected_because for row in rows] == [None, "no_image", "unreadable", "too_large", "no_id", None]
    assert [row.vector is not None for row in rows] == [True, False, False, False, False, True]
    assert [row.error is None for row in rows] == [True, False, False, False, False, True]
    assert [row.sha256 is None for row in rows] == [False, True, False, False, False, False]


def test_a_vector_without_a_direction_is_a_reason_and_its_neighbours_are_unharmed():
    def picture(colour):
        file = io.BytesIO()
        Image.new("RGB", (4, 4), colour).save(file, "PNG")
        return file.getvalue()

    colours = ["blue", "red", "black", "green"]
    records = [record(number, picture(colour)) for number, colour in enumerate(colours)]

    rows = flat(embed_stream(records, PixelWork(encoder("BrokenEncoder")), sizes()))

    assert [row.rejected_because for row in rows] == [None, "nan_embedding", "zero_embedding", None]
    assert [row.vector is not None for row in rows] == [True, False, False, True]


@pytest.mark.parametrize("batch_size", [1, 4])
def test_at_most_three_batches_are_read_ahead(pngs, batch_size):
    read = 0

    def reading():
        nonlocal read
        for number, data in enumerate(pngs):
            read += 1
            yield record(number, data)

    given_back, most_ahead = 0, 0
    for batch in embed_stream(reading(), PixelWork(encoder()), sizes(batch_size)):
        most_ahead = max(most_ahead, read - given_back)
        given_back += len(batch)

    assert given_back == read == 40
    assert most_ahead == 3 * batch_size


def test_only_so_many_bytes_of_images_wait_to_be_decoded(monkeypatch):
    class Slow:
        def preprocess(self, image):
            first_wait.wait(0.5)  # until the reader has gone as far as it may
            first_wait.set()
            return np.zeros(1, np.float32)

        def encode(self, batch):
            return np.ones((len(batch), 1), np.float32)

    def records():
        for number in range(20):
            if not first_wait.is_set():
                asked.append(number)
            yield record(number, data)

    data, first_wait, asked = png(0), threading.Event(), []
    monkeypatch.setattr(stream, "MAX_WAITING_BYTES", 3 * len(data))

    rows = flat(embed_stream(records(), PixelWork(Slow()), sizes(batch_size=10)))

    assert [row.image_id for row in rows] == [f"id-{number}" for number in range(20)]
    assert asked == [0, 1, 2, 3]  # three wait, and one is in hand


def test_an_image_of_more_bytes_than_may_wait_is_decoded_alone(monkeypatch):
    monkeypatch.setattr(stream, "MAX_WAITING_BYTES", 10)

    rows = flat(embed_stream(map(record, range(9)), PixelWork(encoder()), sizes()))

    assert [row.vector is not None for row in rows] == [True] * 9


def test_a_model_that_cannot_take_an_image_ends_the_stream_and_its_threads():
    records = [record(number, png(number, (1 if number == 5 else 6, 6))) for number in range(30)]
    stream = embed_stream(records, PixelWork(encoder("RefusingEncoder")), sizes())

    first = next(stream)
    with pytest.raises(ArithmeticError, match="one pixel wide"):
        next(stream)

    assert [row.image_id for row in first] == ["id-0", "id-1", "id-2", "id-3"]
    assert decoders() == []


def test_an_error_of_the_reader_ends_the_stream_and_its_threads(pngs):
    def reading():
        yield record(0, pngs[0])
        raise OSError("the storage is gone")

    with pytest.raises(OSError, match="the storage is gone"):
        list(embed_stream(reading(), PixelWork(encoder()), sizes()))

    assert decoders() == []


def test_a_consumer_that_stops_early_ends_the_threads_and_the_reader(pngs):
    closed = []

    def reading():
        try:
            for number, data in enumerate(pngs):
                yield record(number, data)
        finally:
            closed.append(number)

    records = reading()
    stream = embed_stream(records, PixelWork(encoder()), sizes())
    next(stream)
    stream.close()
    records.close()

    assert decoders() == []
    assert closed == [11]


def test_no_records_give_no_batches():
    assert list(embed_stream([], PixelWork(encoder()), sizes())) == []


class Brightness:
    """The mean of all pixels; wants another shape than the encoder."""

    name = "brightness"
    fingerprint = "brightness 1"

    def preprocess(self, image):
        return np.asarray(image.resize((2, 2)), np.float32)

    def score(self, batch):
        return batch.mean(axis=(1, 2, 3))


def grey(level):
    file = io.BytesIO()
    Image.new("RGB", (6, 5), (level, level, level)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("with_encoder", [True, False])
@pytest.mark.parametrize("batch_size", [2, 8])
def test_scores_hashes_and_vectors_are_those_of_their_own_picture(with_encoder, batch_size):
    records = [record(0, grey(10)), record(1, b"no picture"), record(2, grey(200)), record(3, grey(30))]
    work = PixelWork(encoder() if with_encoder else None, (Brightness(),), pixel_digest=True, phash_bits=64)

    rows = flat(embed_stream(records, work, sizes(batch_size)))

    assert [row.scores for row in rows] == [{"brightness": 10}, {}, {"brightness": 200}, {"brightness": 30}]
    assert [row.vector is not None for row in rows] == [with_encoder and row.rejected_because is None for row in rows]
    assert rows[1].phash is None
    assert rows[1].pixel_sha256 is None
    pixels = bytes([200]) * (6 * 5 * 3)
    assert rows[2].pixel_sha256 == hashlib.sha256(b"RGB 6x5 " + pixels).hexdigest()
    assert rows[2].phash is None  # one colour: its hash would say nothing


def test_a_hash_is_taken_where_it_says_something_of_its_picture():
    stripes = np.tile(np.repeat(np.uint8([[255, 0]]), 16, axis=1), (64, 2))[..., None].repeat(3, axis=2)
    records = [record(n, bytes_of(image)) for n, image in enumerate((scene(), Image.fromarray(stripes)))]

    rows = flat(embed_stream(records, PixelWork(phash_bits=64, phash_views="mirror"), sizes()))

    assert [row.phash is not None for row in rows] == [True, False]
    assert [row.phash_views is not None for row in rows] == [True, False]
    assert rows[1].rejected_because is None


def test_nothing_but_what_was_asked_for_is_taken_from_the_pixels():
    (row,) = flat(embed_stream([record(1)], PixelWork(), sizes()))

    assert (row.phash, row.pixel_sha256, row.vector, row.scores) == (None, None, None, {})
    assert (row.width, row.height, row.image_format) == (6, 5, "png")


def scene(size=64):
    coarse = np.random.default_rng(5).integers(30, 226, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)


def bytes_of(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def test_what_is_seen_in_the_pixels_is_in_the_row():
    framed, flat_red = ImageOps.expand(scene(), (4, 8, 12, 16), "black"), Image.new("RGB", (9, 7), "red")
    work = PixelWork(phash_bits=64, phash_views="turns", trim_borders=True)
    records = [record(n, bytes_of(image)) for n, image in enumerate((scene(), framed, flat_red, scene().convert("L")))]

    bare, bordered, plain, grey_scene = flat(embed_stream(records, work, sizes()))

    assert (bordered.trimmed, bordered.width, bordered.height) == ((4, 8, 12, 16), 80, 88)
    assert (bare.trimmed, plain.trimmed) == (None, None)
    assert (bordered.phash, bordered.phash_views, bordered.detail) == (bare.phash, bare.phash_views, bare.detail)
    assert len(bare.phash_views) == 7 * 8
    assert bare.detail > PLAIN_DETAIL > plain.detail == 0
    assert (bare.plain_pixels, plain.plain_pixels) == (None, plain_pixels(flat_red))
    assert [row.is_grey for row in (bare, bordered, plain, grey_scene)] == [False, False, False, True]


def test_the_encoder_gets_the_picture_without_its_borders_and_a_scorer_the_whole():
    framed = bytes_of(ImageOps.expand(scene(), 12, "black"))

    def row_of(data, trim_borders):
        work = PixelWork(encoder(), (Brightness(),), trim_borders=trim_borders)
        (row,) = flat(embed_stream([record(0, data)], work, sizes(batch_size=1)))
        return row

    whole, trimmed, bare = row_of(framed, False), row_of(framed, True), row_of(bytes_of(scene()), True)

    assert trimmed.vector.tobytes() == bare.vector.tobytes() != whole.vector.tobytes()
    assert trimmed.scores == whole.scores != bare.scores


def test_without_other_orientations_there_are_no_views():
    work = PixelWork(phash_bits=64, phash_views="none")

    (row,) = flat(embed_stream([record(1)], work, sizes()))

    assert (len(row.phash), row.phash_views) == (8, None)


def test_a_scorer_that_gives_too_few_numbers_is_named():
    class OneForAll(Brightness):
        def score(self, batch):
            return batch.mean()

    with pytest.raises(ModelError, match=r"'brightness' gave an array of shape \(\) for 2 pictures"):
        list(embed_stream([record(1), record(2)], PixelWork(scorers=(OneForAll(),)), sizes()))


class Overlapping:
    """Says when it was given a batch and when it was waited for; pictures keep their size."""

    name, dim, fingerprint = "overlapping", 3, "overlapping 1"

    def __init__(self):
        self.said = []

    def preprocess(self, image):
        return np.asarray(image)

    def encode(self, batch):
        raise NotImplementedError

    def start(self, pictures, batch_size):
        number = len([each for each in self.said if each[0] == "start"])
        self.said.append(("start", number, len(pictures), batch_size))
        vectors = np.float32([picture.mean(axis=(0, 1)) + 1 for picture in pictures])

        class Pending:
            def result(_):
                self.said.append(("result", number))
                return vectors

        return Pending()


def test_an_encoder_that_can_has_the_next_batch_before_the_last_is_waited_for():
    watched = Overlapping()
    records = [record(n, png(n, (n + 1, 5))) for n in range(5)]

    rows = flat(embed_stream(records, PixelWork(watched), sizes(batch_size=2)))

    assert watched.said == [
        *(("start", 0, 2, 2), ("start", 1, 2, 2), ("result", 0)),
        *(("start", 2, 1, 2), ("result", 1), ("result", 2)),
    ]
    assert [row.image_id for row in rows] == [f"id-{n}" for n in range(5)]
    assert [row.width for row in rows] == [1, 2, 3, 4, 5]
    for number, row in enumerate(rows):
        colours = np.asarray(Image.open(io.BytesIO(png(number, (number + 1, 5))))).mean(axis=(0, 1)) + 1
        assert row.vector == pytest.approx(colours / np.linalg.norm(colours), abs=1e-6)


def test_one_picture_is_padded_for_it_too():
    watched = Overlapping()

    list(embed_stream([record(0), record(1, b"no picture")], PixelWork(watched), sizes(batch_size=1)))

    assert [each for each in watched.said if each[0] == "start"] == [("start", 0, 1, 2)]


def test_with_it_four_batches_are_read_ahead():
    read, given_back, most_ahead = [], 0, 0
    records = (read.append(n) or record(n) for n in range(20))
    for batch in embed_stream(records, PixelWork(Overlapping()), sizes(batch_size=2)):
        most_ahead = max(most_ahead, len(read) - given_back)
        given_back += len(batch)

    assert (given_back, most_ahead) == (20, 8)


def test_a_device_that_fails_ends_the_stream_and_its_threads(pngs):
    class Failing(Overlapping):
        def start(self, pictures, batch_size):
            if len(self.said) > 1:
                raise ModelError("no memory")
            return super().start(pictures, batch_size)

    with pytest.raises(ModelError, match="no memory"):
        list(embed_stream(map(record, range(30), pngs), PixelWork(Failing()), sizes(batch_size=2)))

    assert decoders() == []
