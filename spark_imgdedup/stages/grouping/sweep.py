"""groups -> what each of many eps would remove, by the rule of the run: no model and no search is run again.

Under `greedy` and `components` the sets of two eps are not nested: what goes at one may stay for others at another.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_imgdedup.errors import ConfigError
from spark_imgdedup.files import artifacts
from spark_imgdedup.files.blocks import BlockIndex
from spark_imgdedup.kernels.ranking import hash_ids
from spark_imgdedup.stages.grouping.members import Members, map_members, reach_at
from spark_imgdedup.stages.grouping.said import SEED
from spark_imgdedup.stages.identify import similarity_threshold
from spark_imgdedup.stages.searching.blocks import Blocks
from spark_imgdedup.stages.thresholds import EpsLevel, Pair

# Levels tried at a time.
_LEVELS = 32
# The counts of a row that names a pair.
_NOTHING = dict.fromkeys(("n_removed", "n_new", "n_groups", "largest"), 0)


@dataclass(frozen=True)
class Sweep:
    """The groups of a run, for questions about many eps.

    Attributes:
        blocks: What was searched.
        groups: What `write_groups` wrote.
        said: What people have said of the images, as `stages.grouping.said` has it.
    """

    blocks: Blocks
    groups: BlockIndex
    said: artifacts.Artifact | None = None

    def survey(self, levels: Sequence[float], *, n_pairs: int = 0) -> tuple[EpsLevel, ...]:
        """What `select_duplicates` would remove at each level, by ascending eps; one Spark job.

        `n_new` and `pairs` are of rows that go at a level and stay at the one before it.

        Args:
            levels: Values of eps, in any order.
            n_pairs: Pairs to draw for each level, by a hash of their ids.
        """
        ordered = sorted(set(levels))
        removed, new, groups, largest = np.zeros((4, len(ordered)), np.int64)
        drawn: list[list[tuple[int, Pair]]] = [[] for _ in ordered]
        for row in self._count(ordered, n_pairs):
            place = row["place"]
            removed[place] += row["n_removed"]
            new[place] += row["n_new"]
            groups[place] += row["n_groups"]
            largest[place] = max(largest[place], row["largest"])
            if row["id"] is not None:
                drawn[place].append((row["draw"], Pair(row["id"], row["max_id"], row["cosine_sim_score"])))
        lows = map(similarity_threshold, ordered)
        pairs = (tuple(_highest_first(each, n_pairs)) for each in drawn)
        sizes = (each.tolist() for each in (groups, largest))
        return tuple(map(EpsLevel, ordered, lows, removed.tolist(), new.tolist(), pairs, *sizes))

    def eps_for_share(self, target: float, most: float, *, n_removed_already: int = 0) -> float:
        """An eps, to 6 decimals, that leaves at least the share `target` of all rows; a few Spark jobs.

        The largest such one, where more goes at every larger eps; that is nearly so.

        Args:
            target: The share to keep, in (0, 1), taken as the decimal it is written as.
            most: The largest eps that the groups were gathered for.
            n_removed_already: Rows that go whatever eps is, and are not in the blocks.

        Raises:
            ConfigError: eps 0 leaves less.
        """
        n_rows = int(self.blocks.index.sizes.sum()) + n_removed_already
        # As the decimal: 0.55 * 100 is 55.00000000000001 in binary, which asks for 56 rows.
        may_go = n_rows - math.ceil(Fraction(str(target)) * n_rows) - n_removed_already
        low, high = 0, round(most * 1e6)
        while True:
            steps = np.unique(np.linspace(low, high, _LEVELS).round().astype(np.int64)).tolist()
            goes = [level.n_removed for level in self.survey([step / 1e6 for step in steps])]
            if goes[0] > may_go:
                raise _too_many(target, n_rows, n_removed_already + goes[0])
            last = next((place for place, n in enumerate(goes) if n > may_go), len(goes)) - 1
            if last == len(goes) - 1 or steps[last + 1] - steps[last] <= 1:
                return float(steps[last] / 1e6)
            low, high = steps[last], steps[last + 1]

    def _count(self, ordered: list[float], n_pairs: int) -> list[dict[str, Any]]:
        """Rows of counts and of drawn pairs, for each bin and level."""
        config, rule = self.blocks.config, self.blocks.config.identify.rule
        reaches = [reach_at(eps, config) for eps in ordered]
        id_type = self.blocks.id_type.simpleString()

        def count(members: Members) -> Iterator[pa.Table]:
            ids = members.thin[config.id_column]
            before = np.zeros(len(ids), dtype=bool)
            for place, kept_by in enumerate(members.kept_by(rule, reaches)):
                new = np.flatnonzero((kept_by >= 0) & ~before)
                counts = {"n_removed": int((kept_by >= 0).sum()), "n_new": len(new)} | _group_sizes(kept_by)
                yield _row(place, counts, ids.slice(0, 0), ids.slice(0, 0))
                chosen, draws = _drawn(ids, new, n_pairs)
                cosines = members.evidence.cosines(chosen, members.evidence, kept_by[chosen])
                for nth, one in enumerate(chosen.tolist()):
                    pair = ids.slice(one, 1), ids.slice(int(kept_by[one]), 1)
                    yield _row(place, _NOTHING, *pair, draws[nth : nth + 1], cosines[nth : nth + 1])
                before = kept_by >= 0

        schema = (
            "place int, n_removed bigint, n_new bigint, n_groups bigint, largest bigint, "
            f"draw bigint, id {id_type}, max_id {id_type}, "
            "cosine_sim_score double"
        )
        rows = map_members(self.blocks, self.groups, count, schema, self.said).collect()
        return [row.asDict() for row in rows]


def _group_sizes(kept_by: npt.NDArray[np.int64]) -> dict[str, int]:
    """How many images stay for others, and how many are in the largest of these groups; a group lies in one bin."""
    _, sizes = np.unique(kept_by[kept_by >= 0], return_counts=True)
    return {"n_groups": len(sizes), "largest": int(sizes.max()) + 1 if len(sizes) else 0}


def _row(  # noqa: PLR0913  # a row's columns
    place: int,
    counts: Mapping[str, int],
    id_: pa.ChunkedArray,
    max_id: pa.ChunkedArray,
    draw: npt.NDArray[np.int64] | None = None,
    cosine: npt.NDArray[np.float64] | None = None,
) -> pa.Table:
    one = [None] * (1 - len(id_))
    return pa.table(
        {
            "place": pa.array([place], pa.int32()),
            **{name: pa.array([n], pa.int64()) for name, n in counts.items()},
            "draw": pa.array([None] if draw is None else draw, pa.int64()),
            "id": pa.array([*id_.to_pylist(), *one], id_.type),
            "max_id": pa.array([*max_id.to_pylist(), *one], id_.type),
            "cosine_sim_score": pa.array([None] if cosine is None else cosine, pa.float64(), from_pandas=True),
        }
    )


def _drawn(
    ids: pa.ChunkedArray, new: npt.NDArray[np.int64], n: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """At most n of these rows, by a hash of their ids, and the hashes."""
    if not n or not len(new):
        return new[:0], new[:0]
    draws = hash_ids(ids.take(pa.array(new)).to_pylist(), SEED).view(np.int64)
    first = np.argsort(draws)[:n]
    return new[first], draws[first]


def _highest_first(drawn: list[tuple[int, Pair]], n: int) -> list[Pair]:
    chosen = [pair for _, pair in sorted(drawn, key=lambda each: each[0])[:n]]
    return sorted(chosen, key=lambda pair: (-pair.cosine_sim_score, str(pair.id)))


def _too_many(target: float, n_rows: int, n_gone: int) -> ConfigError:
    stay = n_rows - n_gone
    return ConfigError(
        f"identify.target_keep_fraction: {target} cannot be kept: of {n_rows:,} rows {n_gone:,} go at eps 0 already, "
        f"as exact copies or by their hashes, so only {stay:,} stay ({stay / n_rows:.2%}). Lower it to "
        f"{stay * 10_000 // n_rows / 10_000:g}, or set identify.eps: 0 instead."
    )
