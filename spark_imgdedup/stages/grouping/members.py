"""groups -> members: the images of some groups in rank order, with what is known of them, as a task holds them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_imgdedup.config import Config
from spark_imgdedup.files import artifacts
from spark_imgdedup.files.block_reader import BlockReader
from spark_imgdedup.files.blocks import BlockIndex
from spark_imgdedup.gpu import task_device, to_device
from spark_imgdedup.kernels.content import PLAIN_BYTES
from spark_imgdedup.kernels.evidence import Evidence, Hashes, Plain, Reach
from spark_imgdedup.kernels.parting import set_apart
from spark_imgdedup.kernels.selection import join, keep_first, keep_greedily
from spark_imgdedup.kernels.vectors import UnitRows
from spark_imgdedup.stages.gpu_tasks import gpu_profile
from spark_imgdedup.stages.grouping.group_files import GROUP
from spark_imgdedup.stages.grouping.said import Flags, Said, apart_in, must_stay
from spark_imgdedup.stages.identify import similarity_threshold
from spark_imgdedup.stages.kept_columns import matrix, plain_names
from spark_imgdedup.stages.searching.blocks import Blocks
from spark_imgdedup.stages.searching.spans import named, ranks_of
from spark_imgdedup.stages.tasks import map_tasks

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import StructType


def reach_at(eps: float | None, config: Config) -> Reach:
    """What counts as one image at this eps, with the hashes that the settings let join; None is hashes alone."""
    detect = config.detect
    by_hash = config.compares_hashes
    return Reach(
        min_cosine=None if eps is None else similarity_threshold(eps),
        radius=detect.phash_radius if by_hash else None,
        agreeing_radius=detect.agreeing_radius if by_hash and eps is not None else None,
        agreeing_cosine=detect.agreeing_cosine,
    )


@dataclass(frozen=True)
class Members:
    """The images of some groups, best-ranked first in each group.

    Attributes:
        thin: Their columns.
        evidence: What is known of them.
        starts: (N,) the first of each one's group.
        never: (N,) whether they stay whatever they resemble; these come first in their groups.
    """

    thin: pa.Table
    evidence: Evidence
    starts: npt.NDArray[np.int64]
    never: Flags

    @classmethod
    def of(cls, thin: pa.Table, raw: npt.NDArray[Any] | None, config: Config, said: Said | None = None) -> Members:
        """Put rows in order: thin columns with `group`, their vectors (N, D) if there are any, what was said."""
        labels, never = thin[GROUP].to_numpy(), must_stay(thin[config.id_column], said)
        order = np.lexsort((ranks_of([thin], config), ~never, labels))
        thin, labels = thin.take(pa.array(order)), labels[order]
        vectors = None
        if raw is not None:
            vectors = UnitRows.normalized(to_device(raw[order], task_device(config.pairwise.device)))
        evidence = Evidence(len(order), vectors, *_seen(thin, config), apart_in(thin[config.id_column], said))
        return cls(thin, evidence, np.searchsorted(labels, labels).astype(np.int64), never[order])

    def kept_by(self, rule: str, reaches: Sequence[Reach]) -> list[npt.NDArray[np.int64]]:
        """For each reach (N,): -1 for images that stay, else the one that stays for them."""
        if rule == "greedy":
            return keep_greedily(self.evidence, self.starts, reaches, self.never)
        joined = ((reach, join(self.evidence, self.starts, reach)) for reach in reaches)
        return [keep_first(set_apart(self.evidence, found, reach), self.never) for reach, found in joined]


MembersWork = Callable[[Members], Iterator[pa.Table]]


def map_members(
    blocks: Blocks, groups: BlockIndex, work: MembersWork, schema: StructType | str, said: artifacts.Artifact | None
) -> DataFrame:
    """The rows of the tables that `work` makes of the `Members` of each bin, in tasks of their own."""
    config = blocks.config

    def run(numbers: Iterator[int]) -> Iterator[pa.RecordBatch]:
        known = None if said is None else artifacts.load(said)
        with BlockReader(groups, config.storage_options) as reader:
            for number in numbers:
                if not groups.sizes[number]:
                    continue
                thin, raw = rows_of(reader, number)
                for table in work(Members.of(named(thin, config), raw, config, known)):
                    yield from table.combine_chunks().to_batches()

    return map_tasks(blocks.spark, groups.n_clusters, run, schema, gpu_profile(blocks.spark, config))


def rows_of(reader: BlockReader, bin_: int) -> tuple[pa.Table, npt.NDArray[Any]]:
    """The rows of a bin that has some: their thin columns, and their vectors (N, D) as stored."""
    parts = reader.read(reader.index.slices(bin_, bin_ + 1))
    thin = pa.concat_tables([part for part, _ in parts]).combine_chunks()
    return thin, np.concatenate([vectors for _, vectors in parts])


def _seen(thin: pa.Table, config: Config) -> tuple[Hashes | None, Plain | None]:
    """Hashes and pixels as matrices; None where the run has none."""
    if not config.compares_hashes:
        return None, None
    names = plain_names(config.searched_columns)
    own, views, pixels = (thin[names[name]].combine_chunks() for name in ("phash", "phash_views", "plain_pixels"))
    width = config.detect.phash_bits // 8
    known = own.is_valid().to_numpy(zero_copy_only=False)
    n_views = max((len(value) for value in views.to_pylist() if value), default=0) // width
    is_plain = pixels.is_valid().to_numpy(zero_copy_only=False)
    hashes = Hashes(matrix(own, width), matrix(views, n_views * width).reshape(len(own), n_views, width), known)
    return hashes, Plain(matrix(pixels, PLAIN_BYTES), is_plain)
