"""What counts as a duplicate by the rule and the evidence of the run, and for which image each of them goes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from spark_imgdedup.config import Config
from spark_imgdedup.files import artifacts
from spark_imgdedup.runs.engine import run_step
from spark_imgdedup.runs.groups import Stored, gather_groups, open_groups, store_never
from spark_imgdedup.runs.plan import searched_eps
from spark_imgdedup.runs.sources import searched_embeddings, searched_images
from spark_imgdedup.runs.tables import Tables
from spark_imgdedup.stages.hash_groups import select_by_hash
from spark_imgdedup.stages.identify import applied_eps, identify_by_hash, identify_duplicates, unite
from spark_imgdedup.stages.large_groups import Rounds
from spark_imgdedup.stages.members import reach_at
from spark_imgdedup.stages.remove import read_ids, select_ids
from spark_imgdedup.stages.selection import count_that_stay, select_duplicates
from spark_imgdedup.stages.survivors import exchange, follow_copies, name_survivors, stand_in
from spark_imgdedup.stages.sweep import Sweep
from spark_imgdedup.stages.thresholds import eps_for_share

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


@dataclass(frozen=True)
class Findings:
    """What `identify` finds.

    Attributes:
        config: The settings with the eps that was applied, null where none was.
        duplicates: Each once.
        both_stay: Images that must stay, and repeat another one that must.
    """

    config: Config
    duplicates: DataFrame
    both_stay: int = 0


def find_duplicates(tables: Tables, config: Config) -> Findings:
    """The duplicates of a run.

    Raises:
        ConfigError: identify.target_keep_fraction cannot be kept.
    """
    never = never_ids(tables, config)
    if config.detect.method == "exact":
        found = _exact(tables, config, never)
        return Findings(_at_eps(config, None), found, _copies_that_stay(tables, config, never))
    if config.identify.rule == "semdedup":
        return _by_scores(tables, config, never)
    instead = _stand_ins(tables, config, never)
    stays = kept_hashes(tables, config)
    if config.detect.method == "phash":
        near = tables.read("near_hashes")
        return Findings(_at_eps(config, None), select_by_hash(searched_images(tables, config), near, config, stays))
    return _by_groups(tables, config, (never, instead, stays))


def prepare_groups(tables: Tables) -> None:
    """Gather the groups of the run, unless they are there."""
    run_step("groups", gather_groups, tables)


def kept_hashes(tables: Tables, config: Config) -> artifacts.Artifact | None:
    """The ids of remove.never, and of images that stay in the place of a copy named there, as tasks look them up."""
    never = never_ids(tables, config)
    if never is None:
        return None
    return store_never(tables, config, _with_survivors(never, _stand_ins(tables, config, never)))


def count_removed_already(tables: Tables, config: Config) -> int:
    """Images that go whatever eps is: exact copies, which are collapsed before the search."""
    return tables.read("copies").count() if config.collapses_copies else 0


def never_ids(tables: Tables, config: Config) -> DataFrame | None:
    """The distinct ids of remove.never as text, in a column image_id; None where there are none to mind."""
    paths = config.remove.never_paths
    if not paths:
        return None
    return select_ids(read_ids(tables.spark, paths, config.remove.id_field, config.storage_options), "image_id")


def _by_groups(
    tables: Tables, config: Config, kept: tuple[DataFrame | None, DataFrame | None, artifacts.Artifact | None]
) -> Findings:
    never, instead, stays = kept
    prepare_groups(tables)
    blocks, groups = open_groups(tables, config)
    if config.identify.target_keep_fraction is not None:
        n_gone = count_removed_already(tables, config)
        sweep, most = Sweep(blocks, groups, stays), searched_eps(config)
        eps = sweep.eps_for_share(config.identify.target_keep_fraction, most, n_removed_already=n_gone)
        config = _at_eps(config, eps)
    reach = reach_at(applied_eps(config), config)
    parts: list[DataFrame] = []
    rest, stored = groups, Stored(tables)
    if config.identify.rule == "greedy":
        parts, rest = Rounds(blocks, reach, stays, stored.store).settle(groups)
    found = select_duplicates(blocks, rest, reach, config.identify.rule, stays)
    found = reduce(lambda one, other: one.unionByName(other), parts, found)
    both = 0 if stays is None else count_that_stay(blocks, groups, reach, stays)
    if not config.collapses_copies:
        return Findings(config, found, both)
    both += _copies_that_stay(tables, config, never)
    images, copies = searched_images(tables, config), tables.read("copies")
    left = copies if never is None else _without(copies, never, config)
    found = stored.store(found)  # it is read twice below
    found = found.unionByName(follow_copies(left, found, images, config))
    return Findings(config, found if instead is None else exchange(found, instead, images, config), both)


def _exact(tables: Tables, config: Config, never: DataFrame | None) -> DataFrame:
    images, copies = searched_images(tables, config), tables.read("copies")
    if never is None:
        return follow_copies(copies, None, images, config)
    found = follow_copies(_without(copies, never, config), None, images, config)
    return exchange(found, stand_in(copies, never, config), images, config)


def _copies_that_stay(tables: Tables, config: Config, never: DataFrame | None) -> int:
    """Exact copies that must stay beside another one that must."""
    if never is None:
        return 0
    copies = tables.read("copies")
    listed = copies.count() - _without(copies, never, config).count()
    return listed - stand_in(copies, never, config).count()


def _by_scores(tables: Tables, config: Config, never: DataFrame | None) -> Findings:
    """Rule semdedup: every row goes that resembles a better-ranked one, whatever becomes of that."""
    rows = searched_embeddings(tables, config)
    by_hash = by_bytes = None
    if config.detect.method == "phash":
        images = searched_images(tables, config)
        found = [identify_by_hash(images, tables.read("near_hashes"), config)]
        config = _at_eps(config, None)
        rows = images
    else:
        similarities = tables.read("similarities")
        if config.uses_hashes:
            ranked = similarities.join(searched_images(tables, config).select("image_id", "phash"), "image_id")
            by_hash = identify_by_hash(ranked, tables.read("near_hashes"), config)
        if config.identify.target_keep_fraction is not None:
            config = _at_eps(config, _eps_for_target(similarities, by_hash, tables, config))
        rows = similarities
        found = [identify_duplicates(similarities, config), *([] if by_hash is None else [by_hash])]
    together = unite(*found, id_column=config.id_column)
    if never is not None:
        together = _without(together, never, config)
    named = name_survivors(together, rows, config)
    if config.collapses_copies:
        images, copies = searched_images(tables, config), tables.read("copies")
        by_bytes = follow_copies(copies if never is None else _without(copies, never, config), named, images, config)
    return Findings(config, named if by_bytes is None else named.unionByName(by_bytes))


def _stand_ins(tables: Tables, config: Config, never: DataFrame | None) -> DataFrame | None:
    if never is None or not config.collapses_copies:
        return None
    return stand_in(tables.read("copies"), never, config)


def _with_survivors(never: DataFrame, instead: DataFrame | None) -> DataFrame:
    """The ids that must stay, and those that stay in the place of a copy of theirs."""
    return never if instead is None else never.unionByName(instead.selectExpr("cast(survivor as string) image_id"))


def _without(rows: DataFrame, never: DataFrame, config: Config) -> DataFrame:
    from pyspark.sql import functions as F

    listed = never.select(F.col("image_id").alias("_never"))
    return rows.join(listed, F.col(config.id_column).cast("string") == F.col("_never"), "left_anti")


def _eps_for_target(similarities: DataFrame, by_hash: DataFrame | None, tables: Tables, config: Config) -> float:
    n_already = count_removed_already(tables, config)
    if by_hash is not None:  # these go whatever the eps is
        similarities = similarities.join(by_hash.select(config.id_column), config.id_column, "left_anti")
        n_already += by_hash.count()
    target = config.identify.target_keep_fraction
    assert target is not None
    return eps_for_share(similarities, target, config, n_removed_already=n_already)


def _at_eps(config: Config, eps: float | None) -> Config:
    return config.model_copy(update={"identify": config.identify.model_copy(update={"eps": eps})})
