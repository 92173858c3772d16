"""Which output tars are filled from which input tars. No Spark, no files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from spark_imgdedup.files.tars.shards import Shard


@dataclass(frozen=True)
class Part:
    """One tar to write: its name without .tar, and how many samples it takes (None: all there are)."""

    name: str
    n_samples: int | None = None
    mark: str = ""  # with which its temporary name begins, where another run may take it up


@dataclass(frozen=True)
class CopyTask:
    """What one task does: read these shards in order, pass over `skip` kept samples, fill these parts."""

    shards: tuple[Shard, ...]
    parts: tuple[Part, ...]
    skip: int = 0

    @property
    def is_repack(self) -> bool:
        """True where samples of several shards may meet in one tar, and so carry their shard's name."""
        return self.parts[0].n_samples is not None


def plan_copies(shards: Iterable[Shard], n_kept: Mapping[str, int], repack: int | None) -> list[CopyTask]:
    """One task for each input shard, or, with `repack`, one for all the output tars that begin in the same input shard.

    So a shard is read at most twice, however small the output tars are, and no image is ever shuffled.

    Args:
        shards: The input, in order.
        n_kept: Samples that stay, by shard name.
        repack: Samples per output tar; None keeps the input's division.
    """
    ordered = list(shards)
    if repack is None:
        return [CopyTask((shard,), (Part(shard.name),)) for shard in ordered]
    total = sum(n_kept.get(shard.name, 0) for shard in ordered)
    if total == 0:  # one tar for the members of no sample, and for readers that expect a tar
        return [CopyTask(tuple(ordered), (Part("000000", 0),))]
    tasks: list[CopyTask] = []
    before = 0  # kept samples in the shards already passed
    for place, shard in enumerate(ordered):
        after = before + n_kept.get(shard.name, 0)
        numbers = range(-(-before // repack), -(-after // repack))
        if numbers:
            end = min(numbers[-1] * repack + repack, total)
            parts = tuple(Part(f"{n:06d}", min(repack, total - n * repack)) for n in numbers)
            covering = _covering(ordered[place if tasks else 0 :], n_kept, end - before)
            tasks.append(CopyTask(covering, parts, numbers[0] * repack - before))
        before = after
    return tasks


def _covering(shards: list[Shard], n_kept: Mapping[str, int], n_samples: int) -> tuple[Shard, ...]:
    """The first shards that hold `n_samples` kept samples together, and those without any that follow.

    A shard of which no sample stays is read all the same: it may hold members of no sample.
    """
    chosen: list[Shard] = []
    for shard in shards:
        if n_samples <= 0 and n_kept.get(shard.name, 0):
            break
        chosen.append(shard)
        n_samples -= n_kept.get(shard.name, 0)
    return tuple(chosen)
