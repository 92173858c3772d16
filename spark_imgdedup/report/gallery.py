"""A few pairs with their pictures, for a notebook: small pictures that stand in the cell itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spark_imgdedup.errors import ConfigError
from spark_imgdedup.report.page.build import build_fragment
from spark_imgdedup.report.page.model import KINDS
from spark_imgdedup.report.page.thumbnails import Thumbnails
from spark_imgdedup.stages.columns import quoted
from spark_imgdedup.stages.vectors.samples import show_images

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from spark_imgdedup.runs.tables import Tables

MOST_PAIRS = 100
# Pixels of the longer side on the screen.
_WIDTH = 180
# Bytes of a picture as a file: a notebook is a text file that people commit.
_MOST_BYTES = 6_000


@dataclass(frozen=True)
class Shown:
    """A picture as a data URI, or why there is none."""

    id: str
    uri: str | None
    problem: str


@dataclass(frozen=True)
class Row:
    """The image that is ranked better, the other one, and what the run says of the two."""

    better: Shown
    other: Shown
    score: str
    verdict: str


@dataclass(frozen=True)
class Gallery:
    """Pairs with pictures. A notebook shows them side by side; as text they are lines.

    Attributes:
        rows: The pairs, the least similar first.
        n_found: How many there were to choose from.
    """

    rows: tuple[Row, ...]
    n_found: int

    def __repr__(self) -> str:
        lines = (f"{row.score}  {row.other.id}  {row.better.id}  {row.verdict}" for row in self.rows)
        return "\n".join([f"{len(self.rows):,} of {self.n_found:,} pairs, the least similar first", *lines])

    def _repr_html_(self) -> str:
        return build_fragment("gallery.html.j2", {"rows": self.rows, "n_found": self.n_found, "width": _WIDTH})


def make_gallery(tables: Tables, pairs: DataFrame, n: int) -> Gallery:
    """The n least similar of these pairs; the same ones every time.

    Args:
        tables: Of the run, whose input has the pictures.
        pairs: What `Result.pairs` gives.
        n: At most 100.

    Raises:
        ConfigError: input.path is not set, or n is out of range.
    """
    config = tables.config
    if not 1 <= n <= MOST_PAIRS:
        raise ConfigError(f"n is from 1 to {MOST_PAIRS}, got {n}. For more pairs: spark_imgdedup.sample.")
    if config.input.path is None:
        raise ConfigError("input.path is not set, so there are no pictures to show. Name the dataset.")
    if config.own_embeddings and config.remove.match_field is not None:
        config = config.with_(**{"input.id_field": config.remove.match_field})
    name = config.id_column
    order = ("cosine_sim_score", quoted(name))
    found = [row.asDict() for row in pairs.orderBy(*order).limit(n).collect()]
    ids = frozenset(str(row[each]) for row in found for each in (name, "max_id"))
    small = Thumbnails(_MOST_BYTES, config.input.max_image_pixels)
    rows = show_images(tables.spark, config, ids, small).collect() if ids else []
    shown = {row["image_id"]: Shown(row["image_id"], row["shown"], row["problem"] or "") for row in rows}
    return Gallery(tuple(_row(each, shown, name) for each in found), pairs.count())


def _row(pair: Mapping[str, Any], shown: Mapping[str, Shown], name: str) -> Row:
    better, other = (
        shown.get(image_id, Shown(image_id, None, "not found in the input"))
        for image_id in (str(pair["max_id"]), str(pair[name]))
    )
    score = pair["cosine_sim_score"]
    verdict = "stays at the eps of the run"
    if pair["found_by"] is not None:
        verdict = f"{KINDS.get(pair['found_by'], (pair['found_by'], ''))[0]}: goes"
    return Row(better, other, "" if score is None else f"{score:.6f}", verdict)
