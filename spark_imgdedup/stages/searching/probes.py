"""blocks -> copies: rows that are compared in other clusters than their home, as blocks sorted by those clusters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_imgdedup.files import artifacts, storage, writing
from spark_imgdedup.files.block_reader import BlockReader
from spark_imgdedup.files.blocks import BlockIndex, Rows, rows_per_file, write_new_block
from spark_imgdedup.gpu import task_device, to_device
from spark_imgdedup.kernels.arrays import slices
from spark_imgdedup.kernels.probes import Copies, margin_copies, nearest_copies
from spark_imgdedup.kernels.vectors import UnitRows
from spark_imgdedup.stages.gpu_tasks import gpu_profile
from spark_imgdedup.stages.searching.blocks import Blocks
from spark_imgdedup.stages.tasks import map_tasks

Numbers = npt.NDArray[np.int64]

WRITTEN = "name string, counts binary"


@dataclass(frozen=True)
class Plan:
    """Where rows are compared.

    Attributes:
        probes: home, nearest (in `n_nearest` clusters), margin (with `alpha`) or all.
        n_nearest: For nearest.
        alpha: For margin.
    """

    probes: Literal["home", "nearest", "margin", "all"]
    n_nearest: int = 1
    alpha: float = 0.0

    @property
    def copies(self) -> bool:
        """Whether rows are compared in other clusters than their home."""
        return self.probes in ("nearest", "margin")

    @property
    def is_lossless(self) -> bool:
        """Whether every pair within eps is compared, by proof."""
        return self.probes == "all" or (self.probes == "margin" and self.alpha >= 1)

    def __str__(self) -> str:
        return {"nearest": f"{self.n_nearest} nearest", "margin": f"margin {self.alpha:g}"}.get(
            self.probes, self.probes
        )


def copies_of(plan: Plan, rows: UnitRows, home: Numbers, centroids: UnitRows, eps: float) -> Copies:
    """The rows (M,) and clusters (M,) of the copies that a plan makes."""
    if plan.probes == "nearest":
        return nearest_copies(rows, home, centroids, n_nearest=plan.n_nearest)
    return margin_copies(rows, home, centroids, eps=eps, alpha=plan.alpha)


def write_copies(blocks: Blocks, plan: Plan, eps: float, folder: str) -> BlockIndex:
    """Write the copies that `plan` makes of the rows of `blocks` below `folder`; one Spark job, a task for each file.

    A copy into a cluster without home members would meet nobody and is left out.
    """
    index, config = blocks.index, blocks.config
    most = rows_per_file(index.dim, index.dtype)
    options, centroids, inhabited = config.storage_options, blocks.centroids, index.sizes > 0

    def copied(reader: BlockReader, file: int, cents: UnitRows) -> Iterator[Rows]:
        for thin, raw in reader.bands(file):
            home = thin["cluster_id"].to_numpy().astype(np.int64)
            rows = UnitRows.normalized(to_device(raw, task_device(config.pairwise.device)))
            places, clusters = copies_of(plan, rows, home, cents, eps)
            lives = inhabited[clusters]
            places, clusters = places[lives], clusters[lives]
            for part in slices(len(places), most):  # a wide margin makes many copies of every row
                chosen = thin.take(pa.array(places[part]))
                chosen = chosen.append_column("searched_in", pa.array(clusters[part], pa.int32()))
                yield Rows(chosen, raw[places[part]], clusters[part])

    def write(numbers: Iterator[int]) -> Iterator[pa.RecordBatch]:
        cents = UnitRows.of(to_device(artifacts.load(centroids), task_device(config.pairwise.device)))
        with BlockReader(index, options) as reader:
            for file in numbers:
                found = copied(reader, file, cents)
                yield from write_piles(found, folder, index, index.n_clusters, options)

    writing.make_folder(folder, options)
    profile = gpu_profile(blocks.spark, config)
    rows = map_tasks(blocks.spark, len(index.names), write, WRITTEN, profile).collect()
    counts = {row["name"]: row["counts"] for row in rows}
    return BlockIndex.of(folder, counts, index.n_clusters, index.dim, index.dtype)


def write_piles(
    found: Iterable[Rows], folder: str, index: BlockIndex, n_clusters: int, options: storage.Options
) -> Iterator[pa.RecordBatch]:
    """Write what was found in files of their size, of vectors as those of `index`; name and counts of each."""
    most, pile, n = rows_per_file(index.dim, index.dtype), list[Rows](), 0

    def write() -> pa.RecordBatch:
        name, counts = write_new_block(folder, Rows.concat(pile), n_clusters, options)
        return pa.RecordBatch.from_arrays([pa.array([name]), pa.array([counts])], names=["name", "counts"])

    for rows in found:
        pile.append(rows)
        n += len(rows)
        if n >= most:
            yield write()
            pile, n = [], 0
    if n:
        yield write()
