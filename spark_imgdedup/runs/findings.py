"""What counts as a duplicate by the rule and the evidence of the run, and for which image each of them goes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from spark_imgdedup.config import Config
from spark_imgdedup.files import artifacts
from spark_imgdedup.runs.engine import run_step
from spark_imgdedup.runs.groups import Stored, gather_groups, open_groups
from spark_imgdedup.runs.people import People, ask_people
from spark_imgdedup.runs.plan import searched_eps
from spark_imgdedup.runs.sources import searched_images
from spark_imgdedup.runs.tables import Tables
from spark_imgdedup.stages.columns import quoted
from spark_imgdedup.stages.grouping.chains import cut_chains, without_pairs
from spark_imgdedup.stages.grouping.hash_groups import select_by_hash
from spark_imgdedup.stages.grouping.large_groups import Rounds
from spark_imgdedup.stages.grouping.members import reach_at
from spark_imgdedup.stages.grouping.selection import count_that_stay, select_duplicates
from spark_imgdedup.stages.grouping.survivors import exchange, follow_copies, name_survivors
from spark_imgdedup.stages.grouping.sweep import Sweep
from spark_imgdedup.stages.identify import applied_eps, identify_by_hash, identify_duplicates, unite
from spark_imgdedup.stages.thresholds import eps_for_share

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


@dataclass(frozen=True)
class Findings:
    """What `identify` finds.

    Attributes:
        config: The settings with the eps that was applied, null where none was.
        duplicates: Each once.
        people: What was minded of what people have said.
        both_stay: Images that must stay, and repeat another one that must.
    """

    config: Config
    duplicates: DataFrame
    people: People
    both_stay: int = 0


def find_duplicates(tables: Tables, config: Config) -> Findings:
    """The duplicates of a run.

    Raises:
        ConfigError: identify.target_keep_fraction cannot be kept.
        SchemaError: a file of identify.decisions holds something else.
    """
    people = ask_people(tables, config, count=True)
    if config.detect.method == "exact":
        found = _exact(tables, config, people)
        return Findings(_at_eps(config, None), found, people, _copies_that_stay(config, people))
    if config.identify.rule == "semdedup":
        return _by_scores(tables, config, people)
    said = people.store(tables)
    if config.detect.method == "phash":
        found = select_by_hash(searched_images(tables, config), tables.read("near_hashes"), config, said)
        return Findings(_at_eps(config, None), found, people)
    return _by_groups(tables, config, people, said)


def prepare_groups(tables: Tables) -> None:
    """Gather the groups of the run, unless they are there."""
    run_step("groups", gather_groups, tables)


def said_by_people(tables: Tables, config: Config) -> artifacts.Artifact | None:
    """Which images must stay, copies that stand for another one too, and which pairs are different: for tasks."""
    return ask_people(tables, config).store(tables)


def may_go(similarities: DataFrame, tables: Tables, config: Config) -> DataFrame:
    """The rows that people have not held back: none must stay, nor was called different from what it resembles most."""
    people = ask_people(tables, config)
    return _without(without_pairs(similarities, people.apart, config.id_column), people.never, config)


def count_removed_already(tables: Tables, config: Config) -> int:
    """Images that go whatever eps is: exact copies, which are collapsed before the search."""
    return tables.count("copies") if config.collapses_copies else 0


def _by_groups(tables: Tables, config: Config, people: People, said: artifacts.Artifact | None) -> Findings:
    prepare_groups(tables)
    blocks, groups = open_groups(tables, config)
    if config.identify.target_keep_fraction is not None:
        n_gone = count_removed_already(tables, config)
        sweep, most = Sweep(blocks, groups, said), searched_eps(config)
        eps = sweep.eps_for_share(config.identify.target_keep_fraction, most, n_removed_already=n_gone)
        config = _at_eps(config, eps)
    reach = reach_at(applied_eps(config), config)
    parts: list[DataFrame] = []
    rest, stored = groups, Stored(tables)
    if config.identify.rule == "greedy":
        parts, rest = Rounds(blocks, reach, said, stored.store).settle(groups)
    found = select_duplicates(blocks, rest, reach, config.identify.rule, said)
    found = reduce(lambda one, other: one.unionByName(other), parts, found)
    both = 0 if said is None or people.never is None else count_that_stay(blocks, groups, reach, said)
    if people.copies is None:
        return Findings(config, found, people, both)
    both += _copies_that_stay(config, people)
    images = searched_images(tables, config)
    found = stored.store(found)  # it is read twice below
    found = found.unionByName(follow_copies(_without(people.copies, people.never, config), found, images, config))
    instead = people.instead
    return Findings(config, found if instead is None else exchange(found, instead, images, config), people, both)


def _exact(tables: Tables, config: Config, people: People) -> DataFrame:
    assert people.copies is not None
    images = searched_images(tables, config)
    found = follow_copies(_without(people.copies, people.never, config), None, images, config)
    return found if people.instead is None else exchange(found, people.instead, images, config)


def _copies_that_stay(config: Config, people: People) -> int:
    """Exact copies that must stay beside another one that must."""
    if people.never is None or people.copies is None or people.instead is None:
        return 0
    listed = people.copies.count() - _without(people.copies, people.never, config).count()
    return listed - people.instead.count()


def _by_scores(tables: Tables, config: Config, people: People) -> Findings:
    """Rule semdedup: every row goes that resembles a better-ranked one, whatever becomes of that."""
    by_hash = None
    if config.detect.method == "phash":
        rows = searched_images(tables, config)
        found = [identify_by_hash(rows, tables.read("near_hashes"), config)]
        config = _at_eps(config, None)
    else:
        rows = tables.read("similarities")
        if config.uses_hashes:
            ranked = rows.join(searched_images(tables, config).select("image_id", "phash"), "image_id")
            by_hash = identify_by_hash(ranked, tables.read("near_hashes"), config)
        if config.identify.target_keep_fraction is not None:
            config = _at_eps(config, _eps_for_target(rows, by_hash, tables, config))
        found = [identify_duplicates(rows, config), *([] if by_hash is None else [by_hash])]
    id_column = config.id_column
    together = unite(*(without_pairs(each, people.apart, id_column) for each in found), id_column=id_column)
    # Stored, where it is read several times below: Spark plans and computes all that leads to it for each of them.
    stored = Stored(tables)
    together = stored.store(_without(together, people.never, config))
    if people.apart:
        together = stored.store(cut_chains(together, people.apart, id_column))
    named = name_survivors(together, rows, config)
    if people.copies is not None:
        named = stored.store(named)
        copies = _without(people.copies, people.never, config)
        named = named.unionByName(follow_copies(copies, named, searched_images(tables, config), config))
    return Findings(config, named, people)


def _without(rows: DataFrame, never: DataFrame | None, config: Config) -> DataFrame:
    from pyspark.sql import functions as F

    if never is None:
        return rows
    listed = never.select(F.col("image_id").alias("_never"))
    return rows.join(listed, F.col(quoted(config.id_column)).cast("string") == F.col("_never"), "left_anti")


def _eps_for_target(similarities: DataFrame, by_hash: DataFrame | None, tables: Tables, config: Config) -> float:
    n_already = count_removed_already(tables, config)
    if by_hash is not None:  # these go whatever the eps is
        similarities = similarities.join(by_hash.select(quoted(config.id_column)), config.id_column, "left_anti")
        n_already += by_hash.count()
    target = config.identify.target_keep_fraction
    assert target is not None
    return eps_for_share(similarities, target, config, n_removed_already=n_already)


def _at_eps(config: Config, eps: float | None) -> Config:
    chosen: dict[str, float | None] = {"eps": eps} if eps is None else {"eps": eps, "target_keep_fraction": None}
    return config.model_copy(update={"identify": config.identify.model_copy(update=chosen)})
