"""shards -> the files of a table: each written by the task that has decoded and embedded what it is of."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from spark_imgdedup.config import Config, InputConfig
from spark_imgdedup.errors import CountsError
from spark_imgdedup.files.loose import ImageFile
from spark_imgdedup.files.parts.counters import Counter, PartsInWork, in_work
from spark_imgdedup.files.parts.packages import Fields, Package, packages_of
from spark_imgdedup.files.parts.part_files import PartForm, Round, keep_only, list_parts, missing_parts, open_round
from spark_imgdedup.files.parts.plan import Part, Plan, Source, Usual, plan_parts
from spark_imgdedup.files.tars.shards import Shard
from spark_imgdedup.models.stream import EmbeddedImage, ImageRecord
from spark_imgdedup.stages.embed import MadeRows
from spark_imgdedup.stages.gpu_tasks import gpu_profile
from spark_imgdedup.stages.local_rows import local_rows
from spark_imgdedup.stages.loose import FEWEST_FILES, iter_loose_images, with_root
from spark_imgdedup.stages.read import iter_images
from spark_imgdedup.stages.tasks import PackedWork, map_packages

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger("spark_imgdedup")

# What a part that is made holds, if there is enough for FEWEST_PARTS: a crash costs no more than it for each task. Most
# tars are larger, and a part by themselves.
USUAL_BYTES = 64 * 2**20
USUAL_FILES = 1024
# Columns whose values hardly ever repeat.
PLAIN = ("embedding", "plain_pixels", "phash", "phash_views", "sha256", "pixel_sha256")
WRITTEN = "name string, n_rows bigint, n_bytes bigint"
# Spark's names of codecs that Arrow calls otherwise.
_CODECS = {"uncompressed": "none", "lz4raw": "lz4", "lz4_raw": "lz4"}
_ARROW_CODECS = ("none", "snappy", "gzip", "brotli", "lz4", "zstd")

Files = Sequence[Shard] | Sequence[ImageFile]


class Target(NamedTuple):
    """Where parts are written, and what tells the settings and models that decide their rows from all others."""

    folder: str  # ours alone; it need not be there
    settings: str


def write_parts(
    spark: SparkSession, files: Files, target: Target, config: Config, *, with_model: bool = True
) -> DataFrame:
    """Leave the embeddings of these files in a folder, as Parquet, and give an empty DataFrame of their schema.

    Only what is not there yet is embedded: new files, and those that have changed. The rows of files that have gone
    go. Nothing else is left in the folder.

    Args:
        spark: The session.
        files: The tars or loose images of the input, sorted by name.
        target: Where they are left.
        config: As for `embed_shards`.
        with_model: As for `embed_shards`.

    Raises:
        TableError: another run writes to the folder.
        CountsError: a part that was written is not there.
    """
    made = MadeRows.of(config, with_model=with_model, fields=config.input.json_fields)
    empty = made.marked(local_rows(spark, [], made.columns))
    source_column = "key" if config.input.format == "images" else "shard"
    form = PartForm(target.settings, made.arrow_schema, empty.schema.json(), source_column, _codec(spark), PLAIN)
    folder, options = target.folder, config.storage_options
    sources = [Source(file.name, file.n_bytes, file.stamp) for file in files]
    plan = _plan(sources, list_parts(folder, form.key, options), config.input)
    _say("embed" if with_model else "hashes", plan)
    keep_only(folder, plan.needed, options)
    wanted = {part.name for part in plan.kept}
    work_left = packages_of(plan, sources, lambda place: _fields(files[place]))
    packages = {form.name(package.sources): package for package in work_left}
    if packages:
        work = _work(open_round(folder, form, options), made, config)
        profile = gpu_profile(spark, config) if with_model else None
        data = [package.pack() for package in packages.values()]
        by_digest = {source.digest: source for source in sources}
        sizes = {name: _size(package, by_digest) for name, package in packages.items()}
        with in_work(folder, PartsInWork(folder, sizes, options, config.input.format == "images")):
            map_packages(spark, data, work, WRITTEN, profile).collect()
        wanted |= packages.keys()
    if gone := missing_parts(folder, wanted, options):
        raise CountsError(
            f"{folder}: of {len(wanted)} parts of the table {len(gone)} are not there, such as {gone[0]}. Does "
            "something else delete there? Run this again: the others are not made again."
        )
    keep_only(folder, wanted, options)
    return empty


def _plan(sources: Sequence[Source], there: Iterable[Part], config: InputConfig) -> Plan:
    if config.format == "images":
        return plan_parts(sources, there, [1] * len(sources), Usual(FEWEST_FILES, USUAL_FILES))
    return plan_parts(sources, there, [source.n_bytes for source in sources], Usual(0, USUAL_BYTES))


def most_parts(files: Files, config: InputConfig) -> int:
    """Of how many parts a table of these files is at most, where none of it is there yet."""
    return -(-len(files) // FEWEST_FILES) if config.format == "images" else len(files)


def _size(package: Package, by_digest: Mapping[bytes, Source]) -> tuple[int, int]:
    """Of how many files a part is, and how many bytes these have."""
    return len(package.sources), sum(by_digest[digest].n_bytes for digest in package.sources)


def _say(step: str, plan: Plan) -> None:
    if not plan.kept and not plan.rewritten:
        return
    copied = f"; {len(plan.rewritten)} are copied from such parts" if plan.rewritten else ""
    log.info("%s: %d of %d parts are there from an earlier run%s", step, len(plan.kept), plan.n_parts, copied)


def _work(one: Round, made: MadeRows, config: Config) -> PackedWork:
    """What a task does with its packages, and the rows that Spark gets."""
    embed = made.work(config)
    settings = with_root(config.input) if config.input.format == "images" else config.input

    def run(packages: Iterator[bytes]) -> Iterator[pa.RecordBatch]:
        for package in map(Package.unpack, packages):
            counter = Counter(one, one.form.name(package.sources))

            def rows_of(files: Iterable[Fields], counter: Counter = counter) -> Iterator[pa.RecordBatch]:
                return embed(_records(files, settings), partial(_count, counter))

            written = package.write(one, rows_of)
            yield pa.RecordBatch.from_pydict({name: [value] for name, value in written._asdict().items()})

    return run


def _count(counter: Counter, rows: Sequence[EmbeddedImage]) -> None:
    failed = sum(row.rejected_because is not None for row in rows)
    counter.add(len(rows), failed, sum(row.image_bytes or 0 for row in rows))


def _fields(file: Shard | ImageFile) -> Fields:
    return astuple(file) if isinstance(file, Shard) else tuple(file)


def _records(files: Iterable[Fields], config: InputConfig) -> Iterator[ImageRecord]:
    if config.format == "images":
        return iter_loose_images((ImageFile(*fields) for fields in files), config)
    return (record for fields in files for record in iter_images(Shard(*fields), config))


def _codec(spark: SparkSession) -> str:
    """The compression that Spark would choose, if Arrow has it; else Spark's own choice."""
    named = (spark.conf.get("spark.sql.parquet.compression.codec", "snappy") or "").lower()
    codec = _CODECS.get(named, named)
    return codec if codec in _ARROW_CODECS else "snappy"
