"""Encoded images in, unit vectors out: decoding in threads beside the model, in the order of the input."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from spark_imgdedup.kernels.images import ImageError, decode_image
from spark_imgdedup.kernels.vectors import invalid_rows, l2_normalize

if TYPE_CHECKING:
    from spark_imgdedup.models import Encoder


@dataclass(frozen=True)
class ImageRecord:
    """One sample as it was read: encoded bytes, or the reason why there are none."""

    image_id: str
    shard: str | None
    key: str | None
    data: bytes | None
    rejected_because: str | None = None
    error: str | None = None


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
    image_format: str | None = None
    image_bytes: int | None = None
    sha256: str | None = None
    vector: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True)
class StreamSettings:
    """Sizes that bound memory and never change a result."""

    batch_size: int
    decode_threads: int
    max_pixels: int


def embed_stream(
    records: Iterable[ImageRecord], encoder: Encoder, settings: StreamSettings
) -> Iterator[list[EmbeddedImage]]:
    """The records with their vectors, in order, one list per model call.

    At most three batches of images are held: one in the model, two decoded or waiting. Every batch is padded to
    `batch_size`: a model rounds differently for other batch shapes, and no result may depend on where a partition ends.
    """
    ahead: deque[Future[tuple[EmbeddedImage, npt.NDArray[Any] | None]]] = deque()
    with ThreadPoolExecutor(settings.decode_threads, thread_name_prefix="decode") as pool:
        try:
            for record in records:
                ahead.append(pool.submit(_prepare, record, encoder, settings.max_pixels))
                if len(ahead) >= 3 * settings.batch_size:
                    yield _embed([ahead.popleft() for _ in range(settings.batch_size)], encoder, settings.batch_size)
            while ahead:
                size = min(settings.batch_size, len(ahead))
                yield _embed([ahead.popleft() for _ in range(size)], encoder, settings.batch_size)
        finally:  # a consumer that stops early must not wait for images nobody wants
            for future in ahead:
                future.cancel()


def _prepare(record: ImageRecord, encoder: Encoder, max_pixels: int) -> tuple[EmbeddedImage, npt.NDArray[Any] | None]:
    row = EmbeddedImage(record.image_id, record.shard, record.key, record.rejected_because, record.error)
    if record.data is None:
        return row, None
    row.image_bytes = len(record.data)
    row.sha256 = hashlib.sha256(record.data).hexdigest()
    if record.rejected_because is not None:
        return row, None
    try:
        decoded = decode_image(record.data, max_pixels=max_pixels)
    except ImageError as error:
        row.rejected_because, row.error = error.reason, str(error)
        return row, None
    row.width, row.height, row.image_format = decoded.width, decoded.height, decoded.format
    return row, encoder.preprocess(decoded.image)


def _embed(
    prepared: list[Future[tuple[EmbeddedImage, npt.NDArray[Any] | None]]], encoder: Encoder, batch_size: int
) -> list[EmbeddedImage]:
    results = [future.result() for future in prepared]
    inputs = [(row, array) for row, array in results if array is not None]
    if inputs:
        batch = np.zeros((batch_size, *inputs[0][1].shape), inputs[0][1].dtype)
        for place, (_, array) in enumerate(inputs):
            batch[place] = array
        vectors = np.asarray(encoder.encode(batch), np.float32)[: len(inputs)]
        reasons = invalid_rows(vectors)
        usable = [not reason for reason in reasons]
        vectors[usable] = l2_normalize(vectors[usable])
        for (row, _), vector, reason in zip(inputs, vectors, reasons, strict=True):
            if reason:
                row.rejected_because, row.error = str(reason), "the model gave a vector that has no direction"
            else:
                row.vector = vector
    return [row for row, _ in results]
