"""What embedding will take, before a run: the first images of the input are decoded and embedded here, and timed."""

from __future__ import annotations

import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice

import pyarrow.parquet as pq

from spark_imgdedup.config import Config
from spark_imgdedup.errors import ImgDedupError, SchemaError, shown
from spark_imgdedup.files import storage
from spark_imgdedup.files.loose import list_images
from spark_imgdedup.files.tars.shards import Member, list_shards
from spark_imgdedup.gpu import machine_cores, task_device
from spark_imgdedup.models.stream import ImageRecord
from spark_imgdedup.stages.embed import embed_records
from spark_imgdedup.stages.loose import iter_loose_images
from spark_imgdedup.stages.read import iter_records

# Images that are tried, in batches so small that a slow model ends its try soon after these seconds.
IMAGES = 64
SECONDS = 5.0
_BATCH = 8


@dataclass(frozen=True)
class Cost:
    """What a step over all images takes, by a try on some of them.

    Attributes:
        step: Its name.
        images: Of the input; an estimate by bytes unless each has a file of its own.
        tried: Images that were read, decoded and embedded here, in a single thread.
        per_second: Of these; 0 where none could be tried.
        device: Where the model ran: "cpu", or a GPU, "cuda:0".
        seconds: On one core, or on one such GPU; None where it is not known.
        problem: Why it is not known.
    """

    step: str
    images: int = 0
    tried: int = 0
    per_second: float = 0.0
    device: str = "cpu"
    seconds: float | None = None
    problem: str | None = None

    def line(self) -> str:
        """Such as "embed: 11:34:27 of one core, for about 1,100,000 images, 26.4 a second by 56 tried here; …"."""
        if self.seconds is None:
            return f"{self.step}: not known: {self.problem}"
        whole = timedelta(seconds=round(self.seconds))
        by = f"for about {self.images:,} images, {self.per_second:,.1f} a second by {self.tried} tried here"
        if self.device != "cpu":
            return f"{self.step}: {whole} of a GPU such as {self.device} here, {by}"
        cores = machine_cores()
        shared = timedelta(seconds=round(self.seconds / cores))
        return f"{self.step}: {whole} of one core, {by}; {shared} on the {cores} of this machine"


def try_images(step: str, config: Config) -> Cost:
    """Time the work of `step` on the first images of the input, for about five seconds, in this process.

    Args:
        step: `embed`, or `detect` where no model runs.
        config: All of `input`, `embed` and `detect` counts.
    """
    small = config.embed.model_copy(update={"batch_size": min(_BATCH, config.embed.batch_size), "decode_threads": 1})
    alone, with_model = config.model_copy(update={"embed": small}), step == "embed"
    try:
        records, count = _FIRST[config.input.format](config)
        batches = embed_records(islice(records, IMAGES), alone, with_model=with_model, n_threads=1)
        tried, seconds = _timed(batches)
        images = count()
    except (ImgDedupError, OSError) as error:
        return Cost(step, problem=shown(str(error).splitlines()[0]))
    if not tried:
        return Cost(step, problem="the input has too few images to tell by them")
    device = task_device(config.embed.device) if with_model else "cpu"
    return Cost(step, images, tried, round(tried / seconds, 2), device, round(images * seconds / tried, 3))


def _timed(batches: Iterator[Sequence[object]]) -> tuple[int, float]:
    """Images of batches after the first, in which a model warms up, and their seconds."""
    next(batches, None)
    tried, began = 0, time.perf_counter()
    for batch in batches:
        tried += len(batch)
        if time.perf_counter() - began > SECONDS:
            break
    return tried, max(time.perf_counter() - began, 1e-9)


# --- the first images of each kind of input, and how many there are


First = tuple[Iterable[ImageRecord], Callable[[], int]]


def _of_tars(config: Config) -> First:
    shards = list_shards(config.input)
    seen = {"samples": 0, "bytes": 0}

    def records() -> Iterator[ImageRecord]:
        for shard in shards:
            for record, sample in iter_records(shard, config.input):
                seen["samples"] += 1
                seen["bytes"] += sum(map(_bytes_in_tar, sample.members))
                yield record

    def count() -> int:
        return round(sum(shard.n_bytes for shard in shards) * seen["samples"] / max(1, seen["bytes"]))

    return records(), count


def _bytes_in_tar(member: Member) -> int:
    """Its header and its whole blocks."""
    return (1 + -(-member.info.size // tarfile.BLOCKSIZE)) * tarfile.BLOCKSIZE


def _of_files(config: Config) -> First:
    files, _ = list_images(config.input)
    return iter_loose_images(files, config.input), lambda: len(files)


def _of_rows(config: Config) -> First:
    options = config.input.storage_options
    files = [file for path in config.input.paths for file in storage.list_files(path, ".parquet", options)]
    if not files:
        raise SchemaError("no Parquet file is found in the table")
    first, name = files[0], config.input.image_column or "image"
    with storage.open_random(first.url, options) as file:
        table = pq.ParquetFile(file)
        rows = table.metadata.num_rows
        batch = next(table.iter_batches(IMAGES, columns=[name]), None)
    if batch is None or not batch.num_columns:
        raise SchemaError(f"the first file of the table has no rows, or no column '{name}'")
    column = batch.column(0)
    if hasattr(column, "field"):  # Hugging Face's struct, or a path that leads into one
        column = column.field("bytes" if "." not in name else name.rpartition(".")[2])
    records = [ImageRecord(str(n), None, None, data) for n, data in enumerate(column.to_pylist()) if data is not None]
    n_bytes = sum(file.n_bytes for file in files)
    return records, lambda: round(rows * n_bytes / max(1, first.n_bytes))


_FIRST: dict[str, Callable[[Config], First]] = {"webdataset": _of_tars, "images": _of_files, "table": _of_rows}
