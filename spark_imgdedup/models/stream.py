"""Encoded images in, unit vectors out: decoding in threads beside the model, in the order of the input."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from spark_imgdedup.errors import ModelError
from spark_imgdedup.kernels.borders import trim_borders
from spark_imgdedup.kernels.bounds import ImageError
from spark_imgdedup.kernels.content import PLAIN_DETAIL, cells, detail, is_grey, plain_pixels
from spark_imgdedup.kernels.hashes import VIEWS, telling_views
from spark_imgdedup.kernels.images import DecodedImage, Jpeg, decode_image
from spark_imgdedup.kernels.vectors import invalid_rows, l2_normalize
from spark_imgdedup.models.base import FEWEST, DecodingEncoder, OverlappingEncoder, PendingLooks
from spark_imgdedup.models.deferred import defer, look

if TYPE_CHECKING:
    from spark_imgdedup.models import Encoder
    from spark_imgdedup.models.scorers import PixelScorer

# float32 models differ in their last bits from one machine to another.
SCORE_DECIMALS = 6
# Encoded images that wait for a thread: three batches of 128 MiB each would not fit a worker.
MAX_WAITING_BYTES = 256 * 2**20

Inputs = tuple[Any, ...]  # one for each model: an array as its preprocess made it, or a Jpeg that it takes
Finish = Callable[[], "list[EmbeddedImage]"]  # waits for the models of a batch


@dataclass(frozen=True)
class ImageRecord:
    """One sample as it was read: encoded bytes, or the reason why there are none."""

    image_id: str
    shard: str | None
    key: str | None
    data: bytes | None
    rejected_because: str | None = None
    error: str | None = None
    fields: tuple[Any, ...] = ()  # of the sample's json, in the order of input.json_fields


@dataclass
class EmbeddedImage:
    """One sample with what its image gave; `vector` is (D,) float32 of unit length, or None with a reason."""

    image_id: str
    shard: str | None
    key: str | None
    rejected_because: str | None = None
    error: str | None = None
    width: int | None = None
    height: int | None = None
    pixels: int | None = None  # width * height: what more of is better
    image_format: str | None = None
    image_bytes: int | None = None
    sha256: str | None = None
    pixel_sha256: str | None = None
    phash: bytes | None = None  # None too where it would say nothing
    phash_views: bytes | None = None  # the other orientations' hashes, one after the other
    trimmed: tuple[int, ...] | None = None  # pixels cut: left, top, right, bottom
    detail: float | None = None  # of what is left, 0 to 1
    plain_pixels: bytes | None = None  # where there is next to no detail
    is_grey: bool | None = None
    scores: dict[str, float] = field(default_factory=dict)  # of pixel scorers, by name
    vector: npt.NDArray[np.float32] | None = None
    fields: tuple[Any, ...] = ()  # as they were read


@dataclass(frozen=True)
class StreamSettings:
    """Sizes that bound memory and never change a result."""

    batch_size: int
    decode_threads: int
    max_pixels: int


@dataclass(frozen=True)
class PixelWork:
    """What is done with each decoded picture. All of it is optional.

    Attributes:
        encoder: Gives the vector.
        scorers: Each gives a score.
        pixel_digest: Whether to take the SHA-256 of the pixels.
        phash_bits: Bits of the perceptual hash; None takes none.
        phash_views: Which other orientations are hashed, a name of `kernels.hashes.VIEWS`.
        trim_borders: Whether the hash and the encoder get the picture without its uniform borders; scorers never do.
        decodes_later: Whether the encoder's device decodes the JPEGs that it takes; of their pixels only the vector,
            colour and detail are told then.
    """

    encoder: Encoder | None = None
    scorers: tuple[PixelScorer, ...] = ()
    pixel_digest: bool = False
    phash_bits: int | None = None
    phash_views: str = "none"
    trim_borders: bool = False
    decodes_later: bool = False

    def prepare(self, row: EmbeddedImage, decoded: DecodedImage) -> Inputs:
        """Put what is seen in the pixels into the row and give what each model wants; runs in a decode thread."""
        whole, row.pixel_sha256 = decoded.image, decoded.pixel_sha256
        trimmed, row.trimmed = trim_borders(whole) if self.trim_borders else (whole, None)
        seen = cells(trimmed)
        row.is_grey, row.detail = is_grey(seen), detail(seen)
        if row.detail < PLAIN_DETAIL:
            row.plain_pixels = plain_pixels(whole)
        turns = VIEWS[self.phash_views]
        if self.phash_bits is not None and (found := telling_views(trimmed, n_bits=self.phash_bits, turns=turns)):
            row.phash, row.phash_views = found[0], found[1] if turns else None
        vectors = () if self.encoder is None else (self.encoder.preprocess(trimmed),)
        return (*vectors, *(scorer.preprocess(whole) for scorer in self.scorers))


def embed_stream(
    records: Iterable[ImageRecord], work: PixelWork, settings: StreamSettings
) -> Iterator[list[EmbeddedImage]]:
    """The records with what `work` makes of their pictures, in order, one list per model call.

    At most three batches of images are held: one in the model, two decoded or waiting. Of encoded images at most
    MAX_WAITING_BYTES wait to be decoded, or one that is larger. Every batch is padded to `batch_size`, and to two
    pictures at least: a model rounds differently for other batch shapes, and no result may depend on where a partition
    ends. An encoder that can work by itself has one batch more: it is given the next before the last is waited for.
    """
    overlap = int(isinstance(work.encoder, OverlappingEncoder))
    begun: deque[Finish] = deque()
    with closing(_begin_batches(records, work, settings)) as batches:
        for finish in batches:
            begun.append(finish)
            if len(begun) > overlap:
                yield begun.popleft()()
        while begun:
            yield begun.popleft()()


def _begin_batches(records: Iterable[ImageRecord], work: PixelWork, settings: StreamSettings) -> Generator[Finish]:
    ahead: deque[Future[tuple[EmbeddedImage, Inputs | None]]] = deque()
    waiting: deque[tuple[int, Future[tuple[EmbeddedImage, Inputs | None]]]] = deque()
    n_waiting = 0
    with ThreadPoolExecutor(settings.decode_threads, thread_name_prefix="decode") as pool:
        try:
            for record in records:
                n_bytes = len(record.data or b"")
                while waiting and n_waiting + n_bytes > MAX_WAITING_BYTES:
                    n_done, future = waiting.popleft()
                    wait((future,))
                    n_waiting -= n_done
                ahead.append(pool.submit(_prepare, record, work, settings.max_pixels))
                waiting.append((n_bytes, ahead[-1]))
                n_waiting += n_bytes
                if len(ahead) >= 3 * settings.batch_size:
                    yield _begin([ahead.popleft() for _ in range(settings.batch_size)], work, settings.batch_size)
            while ahead:
                size = min(settings.batch_size, len(ahead))
                yield _begin([ahead.popleft() for _ in range(size)], work, settings.batch_size)
        finally:  # a consumer that stops early must not wait for images nobody wants
            for future in ahead:
                future.cancel()


def _prepare(record: ImageRecord, work: PixelWork, max_pixels: int) -> tuple[EmbeddedImage, Inputs | None]:
    row = EmbeddedImage(
        *(record.image_id, record.shard, record.key, record.rejected_because, record.error), fields=record.fields
    )
    if record.data is None:
        return row, None
    row.image_bytes = len(record.data)
    row.sha256 = hashlib.sha256(record.data).hexdigest()
    if record.rejected_because is not None:
        return row, None
    try:
        if work.decodes_later and (jpeg := defer(row, record.data, work.encoder, max_pixels)) is not None:
            return row, (jpeg,)
        decoded = decode_image(record.data, max_pixels=max_pixels, with_digest=work.pixel_digest)
    except ImageError as error:
        row.rejected_because, row.error = error.reason, str(error)
        return row, None
    row.width, row.height, row.image_format = decoded.width, decoded.height, decoded.format
    row.pixels = decoded.width * decoded.height
    return row, work.prepare(row, decoded)


def _begin(prepared: list[Future[tuple[EmbeddedImage, Inputs | None]]], work: PixelWork, batch_size: int) -> Finish:
    results = [future.result() for future in prepared]
    rows = [row for row, inputs in results if inputs is not None]
    by_model = list(zip(*(inputs for _, inputs in results if inputs is not None), strict=True))
    finish = _begin_vectors(rows, work.encoder, by_model.pop(0), batch_size) if work.encoder and rows else None
    for scorer, inputs in zip(work.scorers, by_model, strict=False):  # no inputs where no picture could be decoded
        _set_scores(rows, scorer, np.asarray(scorer.score(_padded(inputs, batch_size))))

    def finished() -> list[EmbeddedImage]:
        if finish is not None:
            finish()
        return [row for row, _ in results]

    return finished


def _begin_vectors(
    rows: list[EmbeddedImage], encoder: Encoder, pictures: Inputs, batch_size: int
) -> Callable[[], None]:
    """Start the model; what is given waits for it and completes the rows."""
    if not isinstance(encoder, OverlappingEncoder):
        vectors = encoder.encode(_padded(pictures, batch_size))
        return lambda: _set_vectors(rows, np.asarray(vectors, np.float32))
    if isinstance(encoder, DecodingEncoder):
        pending = encoder.start(pictures, max(FEWEST, batch_size))
        return lambda: _complete(rows, pictures, pending)
    started = encoder.start(pictures, max(FEWEST, batch_size))
    return lambda: _set_vectors(rows, np.asarray(started.result(), np.float32))


def _complete(rows: list[EmbeddedImage], pictures: Inputs, pending: PendingLooks) -> None:
    _set_vectors(rows, np.asarray(pending.result(), np.float32))
    seen = pending.cells()
    for number, (row, picture) in enumerate(zip(rows, pictures, strict=True)):
        if isinstance(picture, Jpeg):
            look(row, picture, seen.get(number))


def _padded(arrays: Inputs, batch_size: int) -> npt.NDArray[Any]:
    batch = np.zeros((max(FEWEST, batch_size), *arrays[0].shape), arrays[0].dtype)
    for place, array in enumerate(arrays):
        batch[place] = array
    return batch


def _set_vectors(rows: list[EmbeddedImage], vectors: npt.NDArray[np.float32]) -> None:
    vectors = vectors[: len(rows)]
    reasons = invalid_rows(vectors)
    usable = [not reason for reason in reasons]
    vectors[usable] = l2_normalize(vectors[usable])
    for row, vector, reason in zip(rows, vectors, reasons, strict=True):
        if reason:
            row.rejected_because, row.error = str(reason), "the model gave a vector that has no direction"
        else:
            row.vector = vector


def _set_scores(rows: list[EmbeddedImage], scorer: PixelScorer, scores: npt.NDArray[Any]) -> None:
    if scores.ndim != 1 or len(scores) < len(rows):
        raise ModelError(
            f"The pixel scorer '{scorer.name}' gave an array of shape {scores.shape} for {len(rows)} pictures. Return "
            "one number for each."
        )
    for row, score in zip(rows, scores.tolist(), strict=False):  # what is beyond the rows is padding
        row.scores[scorer.name] = round(float(score), SCORE_DECIMALS)
