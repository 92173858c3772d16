"""What a task makes a part of: files whose images it reads, or rows of parts that are there. No Spark."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from spark_imgdedup.files.parts.part_files import Round, Written, copy_rows, write_part
from spark_imgdedup.files.parts.plan import Plan, Source, join_digests, split_digests

Fields = tuple[Any, ...]  # of a file, as its class has them


@dataclass(frozen=True)
class Package:
    """The work of a part.

    Attributes:
        sources: The digests of the files that its rows are of.
        files: The fields of each of these files, where their images are to be read.
        pieces: What `copy_rows` takes, where they are not.
    """

    sources: tuple[bytes, ...]
    files: tuple[Fields, ...] = ()
    pieces: tuple[tuple[str, tuple[str, ...] | None], ...] = ()

    def pack(self) -> bytes:
        """It as few bytes: neighbours have most of their names in common."""
        return zlib.compress(json.dumps([join_digests(self.sources), self.files, self.pieces]).encode())

    @classmethod
    def unpack(cls, data: bytes) -> Package:
        """What `pack` was given."""
        digests, files, pieces = json.loads(zlib.decompress(data))
        return cls(split_digests(digests), tuple(map(tuple, files)), tuple(map(tuple, pieces)))

    def write(self, one: Round, rows_of: Callable[[Iterable[Fields]], Iterator[pa.RecordBatch]]) -> Written:
        """Write the part.

        Args:
            one: The round.
            rows_of: The rows of files, in their order.
        """
        rows = copy_rows(one, self.pieces) if self.pieces else rows_of(self.files)
        return write_part(one, self.sources, rows)


def packages_of(plan: Plan, sources: Sequence[Source], fields: Callable[[int], Fields]) -> Iterator[Package]:
    """The work that a plan leaves.

    Args:
        plan: What becomes of a table.
        sources: Those that it was made of.
        fields: Of the file at a place among them.
    """
    for places in plan.made:
        yield Package(tuple(sources[place].digest for place in places), files=tuple(map(fields, places)))
    for pieces in plan.rewritten:
        digests = (sources[place].digest for piece in pieces for place in piece.places)
        names = ((each, tuple(sources[place].name for place in each.places)) for each in pieces)
        taken = ((each.part.name, None if each.whole else kept) for each, kept in names)
        yield Package(tuple(digests), pieces=tuple(taken))
