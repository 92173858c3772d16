"""Duplicates to look at: the files of a few of them beside those of the images they repeat, a list, and a page."""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spark_imgdedup.config import Config
from spark_imgdedup.config.shown import shown_paths
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.files import storage, writing
from spark_imgdedup.kernels.bounds import ImageError
from spark_imgdedup.kernels.images import decode_image
from spark_imgdedup.report.page.exported import Exported
from spark_imgdedup.runs.tables import Tables
from spark_imgdedup.stages.columns import quoted
from spark_imgdedup.stages.vectors.samples import Places, save_images

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

COLUMNS = (
    *("number", "image_id", "max_id", "cosine_sim_score", "cluster_id", "found_by", "max_id_is_duplicate_too"),
    *("removed_file", "repeats_file", "problem"),
)
_SUFFIX_OF = {"jpeg": "jpg", "tiff": "tif", "jpeg2000": "jp2"}


@dataclass(frozen=True)
class SampleRequest:
    """Which duplicates to take, and where to.

    Attributes:
        to: A folder that is not there or is empty.
        n: How many.
        seed: Another seed draws others.
        min_score: Only those with cosine_sim_score >= this.
        max_score: Only those with cosine_sim_score <= this.
        lowest: Those with the lowest scores, the most doubtful ones, instead of any.
    """

    to: str
    n: int = 50
    seed: int = 0
    min_score: float | None = None
    max_score: float | None = None
    lowest: bool = False


def export_sample(tables: Tables, request: SampleRequest) -> list[str]:
    """Write NNNN-removed.*, NNNN-repeats.*, pairs.csv and a page of them, and say what was written, in lines.

    Args:
        tables: With the settings of the run; `duplicates` must be there.
        request: What to take.

    Raises:
        ConfigError: there is no dataset to take images from, the folder is not empty, or the scores are no range.
        SchemaError: identify has not run.
    """
    config = _checked(tables.config, request)
    rows, n_found = _draw(tables.read("duplicates"), config, request)
    if not rows:
        return [f"There is no duplicate{_range(request)}, so nothing was written."]
    options = config.storage_options
    folder = tables.path(f"_sample-{uuid.uuid4().hex}")
    try:
        images = _images(tables, config, rows, folder)
        written = [_write_pair(number, row, images, request.to, config) for number, row in enumerate(rows, 1)]
    finally:
        storage.delete(folder, options)
    writing.write_bytes(storage.join(request.to, "pairs.csv"), _as_csv(written), options)
    dataset = shown_paths(config.input.paths)
    exported = Exported(request.to, dataset, n_found, config.input.max_image_pixels, options)
    pages = []
    for name, html in exported.pages(written):
        writing.write_bytes(storage.join(request.to, name), html.encode(), options)
        pages.append(name)
    return list(_in_words(written, n_found, pages, request))


def _checked(config: Config, request: SampleRequest) -> Config:
    """The settings with the id field that the duplicates' ids are values of."""
    if config.input.path is None:
        raise ConfigError(
            "input.path is not set, so there are no images to show. Name the dataset, or open the table "
            f"{Tables(None, config).place('duplicates')} for the ids."
        )
    if request.min_score is not None and request.max_score is not None and request.min_score > request.max_score:
        raise ConfigError(f"--min-score {request.min_score} is above --max-score {request.max_score}. Exchange them.")
    options = config.storage_options
    if storage.list_files(request.to, "", options) if storage.exists(request.to, options) else ():
        raise ConfigError(
            f"--to {request.to} holds files already. Name a folder that does not: nothing is overwritten."
        )
    if config.own_embeddings and config.remove.match_field is not None:
        return config.model_copy(
            update={"input": config.input.model_copy(update={"id_field": config.remove.match_field})}
        )
    return config


def _draw(duplicates: DataFrame, config: Config, request: SampleRequest) -> tuple[list[dict[str, Any]], int]:
    """The pairs, and how many there are to choose from."""
    from pyspark.sql import functions as F

    score, name = F.col("cosine_sim_score"), F.col(quoted(config.id_column))
    found = duplicates
    if request.min_score is not None:
        found = found.where(score >= request.min_score)
    if request.max_score is not None:
        found = found.where(score <= request.max_score)
    # A hash of seed and id: the same pairs for any partitioning.
    drawn = F.xxhash64(F.lit(request.seed), name.cast("string"))
    chosen = found.orderBy(*((score, drawn, name) if request.lowest else (drawn, name))).limit(request.n)
    also = duplicates.select(name.alias("_id"), F.lit("yes").alias("max_id_is_duplicate_too"))
    rows = chosen.join(also, F.col("max_id") == F.col("_id"), "left").collect()
    pairs = [row.asDict() | {"image_id": str(row[config.id_column]), "max_id": str(row["max_id"])} for row in rows]
    return sorted(pairs, key=lambda pair: (pair["cosine_sim_score"], pair["image_id"])), found.count()


@dataclass(frozen=True)
class _Image:
    """A file below the temporary folder and its extension, or why there is none."""

    file: str | None = None
    suffix: str | None = None
    problem: str | None = None


def _images(tables: Tables, config: Config, rows: list[dict[str, Any]], folder: str) -> dict[str, _Image]:
    """The images of the pairs by id, saved below `folder`."""
    ids = frozenset(row[name] for row in rows for name in ("image_id", "max_id"))
    found: dict[str, _Image] = {}
    damage: list[str] = []
    saved = save_images(tables.spark, config, ids, folder, _places(tables, config, ids))
    for row in sorted(saved.collect(), key=lambda row: (row["shard"] or "", row["file"] or "")):
        if row["image_id"] is None:
            damage.append(row["problem"])
        else:
            found.setdefault(row["image_id"], _Image(row["file"], row["suffix"], row["problem"]))
    lost = "; ".join(("not found in the input", *damage))
    return {image_id: found.get(image_id, _Image(problem=lost)) for image_id in ids}


def _places(tables: Tables, config: Config, ids: frozenset[str]) -> Places | None:
    """Where images with ids of a json field lie, from the table that has listed them; None where that is not known."""
    from pyspark.sql import functions as F

    listed = next((name for name in ("embeddings", "hashes") if tables.has(name)), None)
    if config.input.id_field is None or config.own_embeddings or listed is None:
        return None
    places: dict[str, set[str]] = {}
    for row in tables.read(listed).where(F.col("image_id").isin(sorted(ids))).select("shard", "key").collect():
        places.setdefault(row["shard"], set()).add(row["key"])
    return {shard: frozenset(keys) for shard, keys in places.items()}


def _write_pair(
    number: int, row: Mapping[str, Any], images: Mapping[str, _Image], to: str, config: Config
) -> dict[str, Any]:
    """Copy the two files, and give the pair's line of the list."""
    options = config.storage_options
    line = dict.fromkeys(COLUMNS, "") | {name: row[name] for name in COLUMNS if row.get(name) is not None}
    line["number"] = f"{number:04d}"
    problems: list[str] = []
    for role, name in (("removed", "image_id"), ("repeats", "max_id")):
        image = images[row[name]]
        problem = image.problem
        if image.file is not None:
            with storage.open_read(image.file, options) as file:
                data = file.read()
            kind, problem = _decoded(data, config.input.max_image_pixels)
            line[f"{role}_file"] = f"{number:04d}-{role}.{image.suffix or kind}"
            writing.write_bytes(storage.join(to, line[f"{role}_file"]), data, options)
        if problem is not None:
            problems.append(f"{name}: {problem}")
    line["problem"] = "; ".join(problems)
    return line


def _decoded(data: bytes, max_pixels: int) -> tuple[str, str | None]:
    """The extension that the content suggests, and why it is no picture."""
    try:
        found = decode_image(data, max_pixels=max_pixels).format
    except ImageError as error:
        return "bin", str(error)
    return _SUFFIX_OF.get(found, found), None


def _as_csv(lines: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue().encode()


def _in_words(lines: list[dict[str, Any]], n_found: int, pages: list[str], request: SampleRequest) -> Iterator[str]:
    which = "with the lowest scores" if request.lowest else f"drawn with seed {request.seed}"
    which = "all there are" if len(lines) == n_found else which
    yield f"{len(lines):,} of {n_found:,} duplicates{_range(request)}, {which}: {request.to}"
    if len(lines) < request.n:
        yield f"There are no more: {request.n:,} were asked for."
    lost = [line for line in lines if line["problem"]]
    if lost:
        yield f"{len(lost):,} of these pairs lack a picture, e.g. {lost[0]['number']}: {lost[0]['problem']}"
    yield f"See {pages[0]}{f' to {pages[-1]}' if len(pages) > 1 else ''}, and pairs.csv."


def _range(request: SampleRequest) -> str:
    bounds = [
        f"{sign} {score:g}"
        for sign, score in ((">=", request.min_score), ("<=", request.max_score))
        if score is not None
    ]
    return f" with cosine_sim_score {' and '.join(bounds)}" if bounds else ""
