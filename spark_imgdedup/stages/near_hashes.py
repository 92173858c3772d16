"""images -> near_hashes: which perceptual hashes differ in few bits, found by the bands of bits in which they agree.

Hashes cross the JVM packed: as a row for each hash and band, 24,000 images took two cores 24 s in place of 3.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spark_imgdedup import schemas
from spark_imgdedup.errors import SchemaError
from spark_imgdedup.kernels.band_groups import BandGroups
from spark_imgdedup.kernels.bands import expected_recall, plan_bands
from spark_imgdedup.kernels.hashes import Hashes
from spark_imgdedup.stages.partitions import shuffle_partitions
from spark_imgdedup.stages.tasks import map_batches

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

HASH, VIEWS = "phash", "phash_views"
# The hashes of an image: its own and those of seven other orientations.
MOST_HASHES = 8
# Groups travel in that many buckets at least, and a task compares those of several at once, up to so many members.
BUCKETS, BUCKETS_PER_TASK, MEMBERS = 256, 4, 1 << 20
# Hashes that are cut into bands at once: 16 MB of members, however long Spark's Arrow batches were set.
HASHES = 10_000
# A group of more members is a crowd, whose tiles have as many: 3.4e10 pairs, 2 minutes of a core.
CROWD = 1 << 18
# Hashes, about, among which crowds are looked for.
SAMPLED = 1 << 17


def near_hashes(images: DataFrame, *, n_bits: int, radius: int, n_images: int | None = None) -> DataFrame:
    """Pairs of distinct hashes that differ in at most `radius` bits, each pair once: phash_a < phash_b, hamming int.

    Hashes are those of the images as they are and those of their other orientations (phash_views); at least one of a
    pair is of an image as it is. They say nothing of images and of which is preferred, so they hold for any ranking. A
    value that two images share is no pair. All pairs are found up to the lossless_radius of `kernels.bands.plan_bands`;
    `search_recall` tells how many beyond.

    Args:
        images: phash binary of n_bits / 8 bytes, null in rows that have no hash; and, if there is such a column,
            phash_views binary, any number of hashes one after the other.
        n_bits: 64 or 256.
        radius: Hamming distance.
        n_images: As many as there are at most; None counts them.

    Raises:
        SchemaError: the column is missing, or (in the worker) a hash has another length.
        ValueError: n_bits or radius is out of range.
    """
    plan_bands(n_bits, radius)  # refuses numbers out of range
    hashes = _distinct_hashes(images, n_bits)
    n_most = MOST_HASHES * (images.count() if n_images is None else n_images)
    groups = BandGroups(radius, _crowds(hashes, n_bits, radius, n_most) if n_most > CROWD else {})
    member = np.dtype([("group", np.uint64), ("hash", np.uint8, n_bits // 8), ("is_own", np.bool_)])
    # A number of our own: adaptive execution merges small partitions by their bytes, and here cost is their square.
    n_tasks = shuffle_partitions(images)
    n_buckets = max(BUCKETS, BUCKETS_PER_TASK * n_tasks)

    def spread(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for hashes, is_own in _matrices(batches, n_bits):
            rows, numbers = groups.of(hashes)
            members = np.empty(len(rows), member)
            members["group"], members["hash"], members["is_own"] = numbers, hashes[rows], is_own[rows]
            buckets = numbers % np.uint64(n_buckets)
            order = np.argsort(buckets, kind="stable")
            which, starts = np.unique(buckets[order], return_index=True)
            packed = [part.tobytes() for part in np.split(members[order], starts[1:])]
            yield pa.RecordBatch.from_pydict({"bucket": which.astype(np.int32), "members": pa.array(packed)})

    def compare(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for packed in _whole_buckets(batches, MEMBERS * member.itemsize):
            members = np.frombuffer(packed, member)
            hashes = np.ascontiguousarray(members["hash"])
            yield _as_rows(hashes, *groups.near(members["group"].copy(), hashes, members["is_own"]))

    # In the order of buckets, so that a task need not hold all of its own at once.
    packed = map_batches(hashes, spread, "bucket int, members binary")
    packed = packed.repartition(n_tasks, "bucket").sortWithinPartitions("bucket")
    return map_batches(packed, compare, "phash_a binary, phash_b binary, hamming int")


def search_recall(*, n_bits: int, radius: int) -> dict[str, Any]:
    """lossless_radius of the search for near hashes, and beyond it the expected recall at each distance."""
    lossless = plan_bands(n_bits, radius).lossless_radius
    beyond = range(lossless + 1, radius + 1)
    recall = {str(distance): round(expected_recall(n_bits, radius, distance), 4) for distance in beyond}
    return {"lossless_radius": lossless, "expected_recall": recall}


def _distinct_hashes(images: DataFrame, n_bits: int) -> DataFrame:
    """(phash, is_own): each value once, and whether it is that of an image as it is."""
    from pyspark.sql import functions as F

    schemas.require(images, {HASH: "binary"}, stage="detect")
    hashes = images.where(f"{HASH} is not null").select(HASH, F.lit(True).alias("is_own"))
    if VIEWS in images.columns:
        schemas.require(images, {VIEWS: "binary"}, stage="detect")
        size = n_bits // 8
        places = f"sequence(0, (length({VIEWS}) - 1) div {size})"
        views = f"explode(transform({places}, place -> substring({VIEWS}, place * {size} + 1, {size})))"
        turned = images.where(f"length({VIEWS}) > 0").select(F.expr(views).alias(HASH), F.lit(False).alias("is_own"))
        hashes = hashes.unionByName(turned)
    return hashes.groupBy(HASH).agg(F.bool_or("is_own").alias("is_own"))


def _crowds(hashes: DataFrame, n_bits: int, radius: int, n_most: int) -> dict[int, int]:
    """The groups that are crowds by a sample of all hashes, and how many parts each is cut into."""
    one_of = math.ceil(n_most / SAMPLED)

    def count(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        numbers = [BandGroups(radius).of(hashes)[1] for hashes, _ in _matrices(batches, n_bits)]
        found, sizes = np.unique(np.concatenate([np.zeros(0, np.uint64), *numbers]), return_counts=True)
        large = sizes * one_of > CROWD
        parts = -(-sizes[large] * one_of // (CROWD // 2))
        yield pa.RecordBatch.from_pydict({"crowd": found[large].view(np.int64), "parts": parts.astype(np.int32)})

    sample = hashes.where(f"pmod(xxhash64({HASH}), {one_of}) = 0").repartition(1)
    rows = map_batches(sample, count, "crowd bigint, parts int").collect()
    return {row.crowd % 2**64: row.parts for row in rows}


def _matrices(batches: Iterable[pa.RecordBatch], n_bits: int) -> Iterator[tuple[Hashes, np.ndarray]]:
    """(N, B) uint8 and (N,) bool of `_distinct_hashes`, at most HASHES at a time."""
    for batch in batches:
        for start in range(0, batch.num_rows, HASHES):
            part = batch.slice(start, HASHES)
            yield _to_matrix(part.column(0), n_bits), part.column(1).to_numpy(zero_copy_only=False)


def _to_matrix(column: pa.Array, n_bits: int) -> Hashes:
    values = column.to_pylist()
    wrong = next((value for value in values if len(value) * 8 != n_bits), None)
    if wrong is not None:
        raise SchemaError(
            f"Column {HASH} must hold hashes of {n_bits} bits, found one of {len(wrong) * 8}. Set the number of bits "
            "that the images were hashed with, or hash them again."
        )
    return np.frombuffer(b"".join(values), np.uint8).reshape(len(values), n_bits // 8)


def _whole_buckets(batches: Iterable[pa.RecordBatch], n_bytes: int) -> Iterator[bytes]:
    """The members of one bucket after the other, of several together up to n_bytes, from rows sorted by bucket."""
    held: list[bytes] = []
    last, n_held = None, 0
    for batch in batches:
        for bucket, members in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            if bucket != last and n_held > n_bytes:
                yield b"".join(held)
                held, n_held = [], 0
            held.append(members)
            last, n_held = bucket, n_held + len(members)
    if held:
        yield b"".join(held)


def _as_rows(hashes: Hashes, left: np.ndarray, right: np.ndarray, distances: np.ndarray) -> pa.RecordBatch:
    kind = pa.binary(hashes.shape[1])
    one, other = (
        pa.FixedSizeBinaryArray.from_buffers(kind, len(rows), [None, pa.py_buffer(hashes[rows].tobytes())])
        for rows in (left, right)
    )
    one, other = one.cast(pa.binary()), other.cast(pa.binary())
    is_less = pc.less(one, other)
    columns = {"phash_a": pc.if_else(is_less, one, other), "phash_b": pc.if_else(is_less, other, one)}
    return pa.RecordBatch.from_pydict({**columns, "hamming": distances.astype(np.int32)})
