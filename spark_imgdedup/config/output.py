"""Where the new dataset goes, and in which way: written anew, as a part of a Delta table, or by deleting rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from spark_imgdedup.config.values import Count, Location, StorageSection

if TYPE_CHECKING:
    from spark_imgdedup.config.settings import Config


class OutputConfig(StorageSection):
    """Where the dataset without duplicates goes."""

    path: Location | None = Field(
        default=None, description="Folder of the new dataset; must not lie under the input, nor the input under it"
    )
    format: Literal["webdataset", "parquet", "delta", "images"] = Field(
        default="webdataset",
        description="webdataset: tars, bytes verbatim; parquet, delta: (image_id, shard, key, members); images, where "
        "input.format is images: the files under their own names, bytes verbatim, beside a removed.csv",
    )
    mode: Literal["overwrite", "replace_where", "delete"] = Field(
        default="overwrite",
        description="overwrite: the folder is this run's, and written anew; replace_where: rows of a Delta table that "
        "other runs write to as well are replaced; delete: the rows are deleted from the Delta table at input.path",
    )
    replace_where: Location | None = Field(
        default=None,
        description="For mode replace_where: the rows of the table at output.path that this run replaces, as SQL: "
        "\"date = '2026-11-26'\". Every row that it writes must fulfil it",
    )
    repack: Count | None = Field(
        default=None, description="Samples per output tar. Null: one output tar for each input tar, under the same name"
    )


def problems(config: Config) -> Iterator[str]:
    """What is wrong with output.format, output.mode and what belongs to them, one line each."""
    output = config.output
    if output.format == "images" and config.input.given_format not in ("images", "auto"):
        yield (
            f"output.format: images takes loose images, and input.format is {config.input.given_format}. Set it to "
            "images, or the output to webdataset, parquet or delta."
        )
    if output.format == "images" and output.repack is not None:
        yield f"output.repack: {output.repack} samples a tar, but output.format images writes no tars. Leave it out."
    if output.mode != "replace_where" and output.replace_where is not None:
        yield (
            f"output.replace_where: '{output.replace_where}' is for output.mode replace_where, and the mode is "
            f"{output.mode}. Set the mode, or leave replace_where out."
        )
    if output.mode == "replace_where":
        yield from _part(config)
    if output.mode == "delete":
        yield from _deletion(config)


def _part(config: Config) -> Iterator[str]:
    if config.output.replace_where is None:
        yield "output.replace_where: not set, but output.mode is replace_where. Say in SQL which rows are replaced."
    if config.output.format != "delta":
        yield (
            f"output.mode: replace_where needs a Delta table, and output.format is {config.output.format}. Set "
            "output.format to delta, or the mode to overwrite."
        )


def _deletion(config: Config) -> Iterator[str]:
    from spark_imgdedup.files import storage  # not for --help

    given, output = config.input, config.output
    if given.given_format not in ("table", "auto"):  # auto is held against this once it is known
        yield (
            f"output.mode: delete takes rows out of a Delta table, and input.format is {given.given_format}. Set it to "
            "table, or the mode to overwrite."
        )
        return
    if given.path is not None and (len(given.paths) > 1 or storage.is_glob(given.paths[0])):
        yield f"output.mode: delete takes one Delta table, and input.path names {', '.join(given.paths)}. Name one."
        return
    if output.path is not None and (given.path is None or output.path.rstrip("/") != given.paths[0].rstrip("/")):
        yield (
            f"output.path: {output.path} would stay empty, since output.mode delete takes the rows out of input.path. "
            "Leave it out, or set the mode to overwrite."
        )
    if "format" in output.model_fields_set and output.format != "delta":
        yield f"output.format: {output.format} is not what a Delta table can be deleted from. Leave it out."
