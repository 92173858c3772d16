"""groups -> what goes, where a group is too large for one task: rule `greedy` by rounds, each on all of the cluster.

A round takes the best-ranked rows of a group, the head, and walks through them in one task; then all other rows are
compared with what stays of the head, by as many tasks as they fill. What is left is a smaller group, and the next round
begins. A crowd of 300,000 near-identical rows is gone after one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_imgdedup.config import Config
from spark_imgdedup.files import artifacts, storage, writing
from spark_imgdedup.files.block_reader import BlockReader
from spark_imgdedup.files.blocks import POSITION, BlockIndex, Rows, write_new_block
from spark_imgdedup.kernels.arrays import slices
from spark_imgdedup.kernels.evidence import Pairs, Reach
from spark_imgdedup.stages.gpu_tasks import gpu_profile
from spark_imgdedup.stages.grouping.group_files import BIN_ROWS, GROUP
from spark_imgdedup.stages.grouping.members import Members, rows_of
from spark_imgdedup.stages.grouping.said import Said, must_stay
from spark_imgdedup.stages.grouping.selection import Columns, duplicates_of
from spark_imgdedup.stages.searching.blocks import Blocks
from spark_imgdedup.stages.searching.probes import WRITTEN
from spark_imgdedup.stages.searching.spans import named, ranks_of
from spark_imgdedup.stages.tasks import map_tasks

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

# Rows of a head: what one task walks through.
HEAD_ROWS = 4096
# The folder beside the groups in which rounds leave their files.
ROUNDS = "rounds"
_LEFT = "_left"
_COUNTS = "_counts"

Store = Callable[["DataFrame"], "DataFrame"]


@dataclass(frozen=True)
class Rounds:
    """The rounds of some bins.

    Attributes:
        blocks: What was searched.
        reach: What counts as one image.
        said: What people have said of the images, as `stages.grouping.said` has it.
        store: Stores a DataFrame and gives it back as it is read from there.
    """

    blocks: Blocks
    reach: Reach
    said: artifacts.Artifact | None
    store: Store

    def settle(self, groups: BlockIndex) -> tuple[list[DataFrame], BlockIndex]:
        """What goes of the bins that are too large, by rounds, and all bins with what is left of them.

        Args:
            groups: Bins of whole groups, as `write_groups` wrote them.
        """
        found: list[DataFrame] = []
        while (large := is_large(groups)).any():
            writing.make_folder(storage.join(groups.folder, ROUNDS), self.blocks.config.storage_options)
            bins = np.flatnonzero(large)
            heads = self._keep_heads(groups, bins)
            stored = self.store(self._compare(groups, heads, bins))
            left = {row[_LEFT]: row[_COUNTS] for row in stored.where(f"{_LEFT} is not null").collect()}
            found.append(stored.where(f"{_LEFT} is null").drop(_LEFT, _COUNTS))
            groups = _replaced(groups, bins, left)
        return found, groups

    def _keep_heads(self, groups: BlockIndex, bins: npt.NDArray[np.int64]) -> BlockIndex:
        """What stays of the best-ranked rows of each bin, as blocks; a task a bin."""
        config, reach, said = self.blocks.config, self.reach, self.said
        options, head_rows = config.storage_options, HEAD_ROWS

        def keep(numbers: Iterator[int]) -> Iterator[pa.RecordBatch]:
            known = None if said is None else artifacts.load(said)
            with BlockReader(groups, options) as reader:
                for each in numbers:
                    head, raw = _head(reader, int(bins[each]), head_rows, config, known)
                    members = Members.of(head, raw, config, known)
                    (kept_by,) = members.kept_by("greedy", [reach])
                    kept = np.isin(head[POSITION].to_numpy(), members.thin[POSITION].to_numpy()[kept_by < 0])
                    thin = head.filter(pa.array(kept)).rename_columns(
                        [_plain(name, config) for name in head.column_names]
                    )
                    clusters = np.full(int(kept.sum()), bins[each], np.int64)
                    name, counts = _write(Rows(thin, raw[kept], clusters), groups, options)
                    yield pa.RecordBatch.from_arrays([pa.array([name]), pa.array([counts])], names=["name", "counts"])

        profile = gpu_profile(self.blocks.spark, config)
        rows = map_tasks(self.blocks.spark, len(bins), keep, WRITTEN, profile).collect()
        counts = {row["name"]: row["counts"] for row in rows}
        return BlockIndex.of(groups.folder, counts, groups.n_clusters, groups.dim, groups.dtype)

    def _compare(self, groups: BlockIndex, heads: BlockIndex, bins: npt.NDArray[np.int64]) -> DataFrame:
        """Duplicates of what stays of the heads, and a row for each file of rows that are left."""
        from pyspark.sql import types as T

        config, reach, said = self.blocks.config, self.reach, self.said
        options = config.storage_options
        columns = Columns(self.blocks.id_type, self.blocks.fields, config)
        told = columns.schema()
        schema = T.StructType([*told, T.StructField(_LEFT, T.StringType()), T.StructField(_COUNTS, T.BinaryType())])
        parts = [(int(bin_), *part) for bin_ in bins for part in _parts(groups, int(bin_))]

        def compare(numbers: Iterator[int]) -> Iterator[pa.RecordBatch]:
            known = None if said is None else artifacts.load(said)
            with BlockReader(groups, options) as reader, BlockReader(heads, options) as kept_reader:
                for each in numbers:
                    bin_, *place = parts[each]
                    kept, kept_raw = rows_of(kept_reader, bin_)
                    thin, raw = reader.read([(place[0], place[1], place[2])])[0]
                    new = ~np.isin(thin[POSITION].to_numpy(), kept[POSITION].to_numpy())
                    thin, raw = thin.filter(pa.array(new)), raw[new]
                    together = named(pa.concat_tables([kept, thin.select(kept.column_names)]).combine_chunks(), config)
                    members = Members.of(together, np.concatenate([kept_raw, raw]), config, known)
                    is_kept = np.isin(members.thin[POSITION].to_numpy(), kept[POSITION].to_numpy())
                    kept_by = _first_kept(members, is_kept, reach)
                    gone = members.thin[POSITION].to_numpy()[kept_by >= 0]
                    stay = ~np.isin(thin[POSITION].to_numpy(), gone)
                    left = None
                    if stay.any():
                        rows = Rows(thin.filter(pa.array(stay)), raw[stay], np.full(int(stay.sum()), bin_, np.int64))
                        left = _write(rows, groups, options)
                    found = duplicates_of(members, kept_by, reach, "greedy", config).select(told.names)
                    yield from _told(found.combine_chunks(), left)

        found = map_tasks(self.blocks.spark, len(parts), compare, schema, gpu_profile(self.blocks.spark, config))
        return columns.under_names(found)


def _write(rows: Rows, groups: BlockIndex, options: storage.Options) -> tuple[str, bytes]:
    """Write rows beside the groups; the name of the file there, and its counts."""
    name, counts = write_new_block(storage.join(groups.folder, ROUNDS), rows, groups.n_clusters, options)
    return storage.join(ROUNDS, name), counts


def is_large(groups: BlockIndex) -> npt.NDArray[np.bool_]:
    """Which bins (B,) are more than one task should hold; bins of many small groups are never that large."""
    return np.asarray(groups.sizes > 2 * BIN_ROWS)


def _plain(name: str, config: Config) -> str:
    return "id" if name == config.id_column else name


def _parts(groups: BlockIndex, bin_: int) -> Iterator[tuple[int, int, int]]:
    """(file, row, rows) of a bin, in parts for a task each."""
    for file, row, n_rows in groups.slices(bin_, bin_ + 1):
        for part in slices(n_rows, BIN_ROWS):
            yield file, row + part.start, part.stop - part.start


def _head(
    reader: BlockReader, bin_: int, most: int, config: Config, said: Said | None
) -> tuple[pa.Table, npt.NDArray[np.floating]]:
    """The first rows of a bin, by group and rank."""
    places = list(reader.index.slices(bin_, bin_ + 1))
    thin = named(pa.concat_tables([reader.read_thin(*place) for place in places]).combine_chunks(), config)
    never = must_stay(thin[config.id_column], said)
    order = np.lexsort((ranks_of([thin], config), ~never, thin[GROUP].to_numpy()))
    first = np.sort(order[:most])
    raw, passed = [], 0
    for file, row, n_rows in places:
        low, high = np.searchsorted(first, [passed, passed + n_rows])
        if low < high:
            raw.append(reader.read([(file, row, n_rows)])[0][1][first[low:high] - passed])
        passed += n_rows
    return thin.take(pa.array(first)), np.concatenate(raw)


def _first_kept(members: Members, is_kept: npt.NDArray[np.bool_], reach: Reach) -> npt.NDArray[np.int64]:
    """For each row that is not kept (N,) the best-ranked kept one of its group within reach; -1 for none."""
    found = np.full(len(members.evidence), -1, np.int64)
    kept, others = np.flatnonzero(is_kept), np.flatnonzero(~is_kept & ~members.never)
    for rows in slices(len(others), HEAD_ROWS):
        open_ = others[rows]
        for part in slices(len(kept), HEAD_ROWS):
            pairs = Pairs(members.evidence[open_], members.evidence[kept[part]])
            near = pairs.within(reach) & (members.starts[open_][:, None] == members.starts[kept[part]][None, :])
            goes = near.any(axis=1) & (found[open_] < 0)
            found[open_[goes]] = kept[part][near[goes].argmax(axis=1)]
    return found


def _told(found: pa.Table, left: tuple[str, bytes] | None) -> Iterator[pa.RecordBatch]:
    """Rows of `found`, and one more that names a file of rows that are left."""
    n = len(found)
    yield from _with(found, pa.nulls(n, pa.string()), pa.nulls(n, pa.binary()))
    if left is not None:
        nothing = pa.table({name: pa.nulls(1, found[name].type) for name in found.column_names})
        yield from _with(nothing, pa.array([left[0]]), pa.array([left[1]], pa.binary()))


def _with(found: pa.Table, left: pa.Array, counts: pa.Array) -> list[pa.RecordBatch]:
    batches: list[pa.RecordBatch] = found.append_column(_LEFT, left).append_column(_COUNTS, counts).to_batches()
    return batches


def _replaced(groups: BlockIndex, bins: npt.NDArray[np.int64], left: dict[str, bytes]) -> BlockIndex:
    """The index without those bins, and with the files of what is left of them."""
    counts = groups.counts.copy()
    counts[:, bins] = 0
    new = BlockIndex.of(groups.folder, left, groups.n_clusters, groups.dim, groups.dtype)
    return replace(groups, names=(*groups.names, *new.names), counts=np.concatenate([counts, new.counts]))
