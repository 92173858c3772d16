"""What a run has left, for Python and notebooks: the counts, the tables as DataFrames, the report and its page."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spark_imgdedup import schemas
from spark_imgdedup.config import Config
from spark_imgdedup.errors import ConfigError, SchemaError, shown, without_credentials
from spark_imgdedup.files import storage
from spark_imgdedup.report.gallery import Gallery, make_gallery
from spark_imgdedup.report.levels import require_eps
from spark_imgdedup.report.page.build import build_fragment
from spark_imgdedup.report.page.write import PAGE
from spark_imgdedup.report.small_tables import eps_frame, score_frame
from spark_imgdedup.report.summary import Summary
from spark_imgdedup.runs.tables import ARTEFACTS, WRITTEN_BY, Tables
from spark_imgdedup.stages.columns import quoted
from spark_imgdedup.stages.identify import similarity_threshold

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import DataFrame

# Characters of a label of a line of the summary, and the lines that a repr shows.
_LABEL = 13
_SHORT = ("read", "duplicates", "removed", "kept", "beware")
# What says of each sample where it lies, the first of them that is there.
_INDICES = ("embeddings", "hashes", "index")


@dataclass(frozen=True, repr=False, eq=False)
class Result:
    """What `run` gives. The tables are those that lie in `work_dir` when they are asked for.

    What a `Summary` has and this has not under the same name can be asked for here: `result.read`, `result.eps`,
    `result.seconds`, `result.breakdowns`.

    Attributes:
        summary: The counts; `summary.removed`, `summary.kept` and `summary.duplicates` are numbers.
        tables: Where the tables of the run lie.
    """

    summary: Summary
    tables: Tables

    def __getattr__(self, name: str) -> Any:
        if name in Summary.__dataclass_fields__:
            return getattr(self.summary, name)
        raise AttributeError(f"'Result' has no attribute '{name}'")

    def __repr__(self) -> str:
        lines = [line for line in self.lines() if line.startswith(_SHORT)]
        page = self._page_as_given
        lines += [f"page         {page}"] if page else []
        return "\n".join(map(shown, [f"Result of {self._config.work_dir}", *lines]))

    def _repr_html_(self) -> str:
        rows = [(line[:_LABEL].strip(), line[_LABEL:]) for line in self.lines()]
        context = {"work_dir": without_credentials(self._config.work_dir), "rows": rows, "page": self._page_as_given}
        return build_fragment("result.html.j2", context)

    @property
    def _config(self) -> Config:
        return self.tables.config

    @property
    def _page_as_given(self) -> str | None:
        """`page` below work_dir as the settings spell it: a notebook that is passed on names no machine's folder."""
        return None if self.page is None else without_credentials(storage.join(self._config.work_dir, PAGE))

    def lines(self) -> Iterator[str]:
        """The summary as the command line prints it."""
        return self.summary.lines()

    def table(self, name: str) -> DataFrame:
        """A table of the run: embeddings, scored, copies, clusters, similarities, duplicates, removed and so on.

        Raises:
            SchemaError: no step has written it.
            ConfigError: there is none of that name.
        """
        known = [each for each in WRITTEN_BY if each not in ARTEFACTS]
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"Did you mean '{near[0]}'?" if near else f"There are {', '.join(known)}."
            raise ConfigError(f"no table of a run is called '{name}'. {hint}")
        return self.tables.read(name)

    @property
    def duplicates(self) -> DataFrame:
        """A row for each image that repeats another: image_id, max_id, cosine_sim_score, found_by, kept_id and more.

        Raises:
            SchemaError: identify has not run.
        """
        return self.tables.read("duplicates")

    @property
    def removed(self) -> DataFrame:
        """A row for each sample that has left the dataset: image_id, shard, key, reason, sha256.

        Raises:
            SchemaError: remove has not run.
        """
        return self.tables.read("removed")

    @property
    def kept(self) -> DataFrame:
        """A row for each sample that has stayed: image_id, shard, key.

        Raises:
            SchemaError: remove has not run, or what it read is gone.
        """
        removed = self.removed
        columns = schemas.column_names(schemas.SAMPLE)
        if self._config.output.format in ("webdataset", "images") and self.tables.has("kept"):
            return self.tables.read("kept").where(schemas.IS_SAMPLE).select(*columns)
        for name in _INDICES:
            if self.tables.has(name):
                samples = self.tables.read(name).where(schemas.IS_SAMPLE).select(*columns)
                return samples.join(removed.select("image_id"), "image_id", "left_anti")
        raise SchemaError(
            f"{self._config.work_dir}: the table of the samples is gone ({', '.join(_INDICES)}), so what stayed is not "
            "known. Run remove again with force=True, or read the output."
        )

    def pairs(self, eps: float | None = None) -> DataFrame:
        """Pairs to look at, in no order.

        Args:
            eps: None: what identify has named, as in `duplicates`. A number: the images whose nearest better-ranked one
                is within this cosine distance, inside or outside of the run's own eps; found_by and kept_id are null
                where the run lets the image stay. Pairs that only hashes or digests found are not among them.

        Returns:
            image_id (with vectors of your own, their id), max_id, cosine_sim_score, found_by, kept_id.

        Raises:
            ConfigError: eps is not in [0, 1).
            SchemaError: identify has not run; with an eps, pairwise.
        """
        name = self._config.id_column
        if eps is None:
            return self.duplicates.select(quoted(name), "max_id", "cosine_sim_score", "found_by", "kept_id")
        require_eps([eps])
        near = self.tables.read("similarities").where(f"cosine_sim_score >= {similarity_threshold(eps)}")
        pairs = near.where("max_id is not null").select(quoted(name), "max_id", "cosine_sim_score")
        if self.tables.has("duplicates"):
            return pairs.join(self.duplicates.select(quoted(name), "found_by", "kept_id"), name, "left")
        kind = dict(pairs.dtypes)["max_id"]
        return pairs.selectExpr("*", "cast(null as string) found_by", f"cast(null as {kind}) kept_id")

    def gallery(self, eps: float | None = None, *, n: int = 8) -> Gallery:
        """The least similar of `pairs(eps)` with their pictures, for a notebook to show.

        Args:
            eps: As for `pairs`.
            n: How many; at most 100.

        Raises:
            ConfigError: input.path is not set, or a number is out of range.
            SchemaError: as `pairs`.
        """
        return make_gallery(self.tables, self.pairs(eps), n)

    def histogram(self) -> pd.DataFrame:
        """How the scores are spread: from, below, rows, share; from 1 down, in bins that are narrower near 1.

        A row of it is of rows of `similarities`; those without a better-ranked row have no score and are left out.

        Raises:
            SchemaError: pairwise has not run.
        """
        return score_frame(self.tables)

    def eps_table(self, levels: Sequence[float] | None = None) -> pd.DataFrame:
        """What each eps would remove by the rule of the run, as `spark_imgdedup.eps_table` gives it.

        Raises:
            ConfigError: a level is not in [0, 1), or none of them can be applied.
            SchemaError: pairwise has not run.
        """
        return eps_frame(self.tables, levels)

    @property
    def report(self) -> dict[str, Any]:
        """What report.json holds: summary, breakdowns, steps.

        Raises:
            SchemaError: it is gone.
        """
        place = self.tables.path("report/report.json")
        try:
            found: dict[str, Any] = json.loads(storage.read_text(place, self._config.storage_options))
        except FileNotFoundError:
            raise SchemaError(f"{place}: no report there. Run step 'report'.") from None
        return found

    @property
    def page(self) -> str | None:
        """Where the page of the report lies; None where none was written."""
        place = self.tables.path(PAGE)
        return place if storage.exists(place, self._config.storage_options) else None
