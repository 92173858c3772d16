"""Whether the fields that are read from a sample's json have a place to come from and a name to go by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from spark_imgdedup import schemas

if TYPE_CHECKING:
    from spark_imgdedup.config.settings import Config

# Delta has no columns of such names, unless its column mapping is switched on.
_REFUSED_BY_DELTA = set(" ,;{}()\n\t=")


def problems(config: Config) -> Iterator[str]:
    """What is wrong with input.json_fields, input.id_field and remove.match_field, one line each."""
    yield from _misnamed(config)
    yield from _homeless(config)
    if config.remove.match_field is not None and config.remove.ids_path is None and not config.own_embeddings:
        yield (
            f"remove.match_field: '{config.remove.match_field}' says how to read a list of ids, but the duplicates of "
            "this run are image_ids. Set remove.ids_path, or leave match_field out."
        )


def _misnamed(config: Config) -> Iterator[str]:
    names = list(config.input.json_fields)
    tables = (schemas.IMAGES, schemas.EMBEDDINGS, schemas.CLUSTERS, schemas.SIMILARITIES, schemas.DUPLICATES)
    ours = dict.fromkeys((*schemas.column_names(*tables), "dup_count"))
    lower = {name.lower() for name in ours}  # as Spark compares names
    taken = [name for name in names if name.lower() in lower or name.lower().endswith("_score")]
    if taken:
        yield (
            f"input.json_fields: {', '.join(taken)} would take the place of a column of the tables, which have "
            f"{', '.join(ours)} and <name>_score of their own. Give the field another name in the json, or leave it "
            "out; input.id_field and remove.match_field may have any name."
        )
    twice = [name for name in names if Counter(map(str.lower, names))[name.lower()] > 1]
    if twice:
        yield f"input.json_fields: {', '.join(twice)} would be one column: Spark takes no notice of case. Keep one."
    refused = {"`"} | (_REFUSED_BY_DELTA if config.table.format == "delta" else set())
    odd = [name for name in names if refused & set(name)]
    if odd:
        yield (
            f"input.json_fields: '{odd[0]}' can be no column of a {config.table.format} table. Give the field another "
            "name in the json, or leave it out."
        )


def _homeless(config: Config) -> Iterator[str]:
    given = {
        "input.json_fields": ", ".join(config.input.json_fields),
        "input.id_field": config.input.id_field,
        "remove.match_field": config.remove.match_field,
    }
    for key, value in given.items():
        if value and config.input.given_format == "images":
            yield (
                f"{key}: '{value}' needs tars, where a sample has a json, or a table; loose images have neither. Leave "
                "it out, or pack the images with their json into tars and set input.format to webdataset."
            )
