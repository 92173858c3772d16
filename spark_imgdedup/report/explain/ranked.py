"""Which of two images ranks before the other, and by which column. No Spark."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spark_imgdedup.config import Config
from spark_imgdedup.config.ranking import DISTANCE
from spark_imgdedup.kernels.ranking import hash_ids
from spark_imgdedup.report.explain.model import Gathered
from spark_imgdedup.stages.preference import RANDOM, preference


def better_of(one: str, other: str, gathered: Gathered, config: Config) -> tuple[str, str]:
    """The image of two that ranks before the other, and why, in words.

    Args:
        one: An id.
        other: Another.
        gathered: What is known of both.
        config: `pairwise` says how images rank.
    """
    must = [gathered.is_in("remove.never", each) for each in (one, other)]
    if must[0] != must[1]:
        return (one, other)[must.index(True)], "remove.never names it"
    rows = {each: dict(gathered.image(each)) for each in (one, other)}
    clustered = all(row.get(DISTANCE) is not None for row in rows.values())
    for each, row in rows.items():
        row[RANDOM] = int(hash_ids([each], config.pairwise.random_state)[0])
        row[config.id_column] = row.get(config.id_column, each)
    for name, ascends in preference(config, with_distances=clustered):
        values = [_present(rows[each].get(name)) for each in (one, other)]
        first = _first(values, ascends)
        if first is not None:
            return (one, other)[first], _in_words(name, values[first], values[1 - first], config)
    return one, "nothing tells them apart"


def _present(value: Any) -> Any:
    return None if value is None or value != value else value  # NaN


def _first(values: list[Any], ascends: bool) -> int | None:
    """Which of two values ranks first; None where they are equal. What is missing ranks last."""
    one, other = values
    if one is None or other is None:
        return None if one is other else int(one is None)
    return None if one == other else int((one > other) == ascends)


def _in_words(name: str, better: Any, worse: Any, config: Config) -> str:
    if name == RANDOM:
        return "by the hash of pairwise.random_state and its id"
    if name == config.id_column:
        return f"its id comes {'first' if str(better) < str(worse) else 'last'}; all else is equal"
    return f"{name} {shown(better)}, the other {shown(worse)}"


def shown(value: Any) -> str:
    """A value of a column in words."""
    if value is None:
        return "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def rank_columns(image_id: str, gathered: Gathered, config: Config) -> Mapping[str, Any]:
    """The columns that the ranking looks at, and their values of an image."""
    row = gathered.image(image_id)
    return {name: row.get(name) for name, _ in config.rank_keys} or {DISTANCE: row.get(DISTANCE)}
